//! `CropToFixed`: patches of a fixed height and width.

use anyhow::Result;
use ndarray::Array4;

use super::stream::RandomSource;
use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::{Parameter, Section};
use crate::map_values;
use crate::resample::mirror_index;
use crate::volume::Volume;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "CropToFixed",
    class: TransformClass::Geometric,
    meaning: "Cuts `size` out of y and x of a volume (D, H, W), from a random corner or the \
              middle; where the volume is smaller, it is mirrored outwards without repeating the \
              edge.",
    parameters: &[SIZE, CENTERED],
    build: |section| Ok(Box::new(CropToFixed::read(section, false))),
};

pub(super) const SIZE: Parameter =
    Parameter::integers("size", &[256, 256], "height and width in voxels")
        .within(1.0, 65536.0)
        .of_length(2);
pub(super) const CENTERED: Parameter = Parameter::flag("centered", false, "cut out the middle");

/// Draws the corner in y, then in x, each uniform in [0, size − crop).
pub(super) struct CropToFixed {
    size: [usize; 2],
    centered: bool,
    /// Whether volumes may have channels.
    takes_channels: bool,
}

impl CropToFixed {
    pub(super) fn read(section: &Section<'_>, takes_channels: bool) -> Self {
        CropToFixed {
            size: wanted(&section.integers(SIZE.name)),
            centered: section.flag(CENTERED.name),
            takes_channels,
        }
    }
}

fn wanted(size: &[i64]) -> [usize; 2] {
    [size[0] as usize, size[1] as usize]
}

impl Transform for CropToFixed {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let [_, height, width] = volume.size();
        let mut source = |wanted: usize, n: usize| -> Vec<usize> {
            let start = match n.checked_sub(wanted) {
                None | Some(0) => -(((wanted - n) / 2) as isize),
                Some(surplus) if self.centered => (surplus / 2) as isize,
                Some(surplus) => stream.index(surplus) as isize,
            };
            (start..start + wanted as isize).map(|i| mirror_index(i, n)).collect()
        };
        let rows = source(self.size[0], height);
        let columns = source(self.size[1], width);
        let values = map_values!(&volume.values, a => {
            let (channels, depth, _, _) = a.dim();
            let shape = (channels, depth, rows.len(), columns.len());
            Array4::from_shape_fn(shape, |(c, z, y, x)| a[(c, z, rows[y], columns[x])])
        });
        Ok(Volume { values, has_channels: volume.has_channels })
    }

    fn output_shape(&self, mut input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        if !self.takes_channels {
            input.wants_3d()?;
        }
        let [height, width] = self.size;
        for size in &mut input.sizes {
            *size = [size[0], height, width];
        }
        Ok(input)
    }
}
