//! `RgbToLabel`: one label for each colour.

use anyhow::Result;
use ndarray::Array4;

use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::volume::{Element, Values, Volume};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "RgbToLabel",
    class: TransformClass::Conversion,
    meaning: "Colours (H, W, 3) become the labels 65536 r + 256 g + b, (1, H, W).",
    parameters: &[],
    build: |_| Ok(Box::new(RgbToLabel)),
};

struct RgbToLabel;

impl Transform for RgbToLabel {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let [height, width, _] = volume.size();
        let Values::I64(colours) = volume.cast(Element::I64).values else {
            unreachable!("the volume was cast");
        };
        Ok(Volume::plain(Array4::from_shape_fn((1, 1, height, width), |(_, _, y, x)| {
            65536 * colours[(0, y, x, 0)] + 256 * colours[(0, y, x, 1)] + colours[(0, y, x, 2)]
        })))
    }

    fn output_shape(&self, mut input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        input.wants_3d()?;
        for size in &mut input.sizes {
            if size[2] != 3 {
                return Err(format!("works on colours (H, W, 3), but here it gets {size:?}").into());
            }
            *size = [1, size[0], size[1]];
        }
        Ok(input.with_element(Element::I64))
    }
}
