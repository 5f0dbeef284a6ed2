//! `RandomRotate90`: quarter turns in a random plane.

use anyhow::Result;

use super::affine::PLANES;
use super::stream::RandomSource;
use super::{
    IndexMap, ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape,
};
use crate::config::{Parameter, Section};
use crate::volume::Volume;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomRotate90",
    class: TransformClass::Geometric,
    meaning: "Turns the volume by 0 to 3 quarter turns in a random plane. An odd number of them \
              swaps the sizes of two axes.",
    parameters: &[
        Parameter::planes("axes", &[[1, 2]], "planes to choose from; null: all three"),
        Parameter::flag("force_180", false, "only half turns, which keep the shape"),
    ],
    build: |section| {
        Ok(Box::new(RandomRotate90 {
            planes: planes(section),
            force_180: section.flag("force_180"),
        }))
    },
};

/// Draws the plane (an index into `axes`), then the number of quarter turns
/// 0…3, or 0 or 1 half turns.
pub(super) struct RandomRotate90 {
    pub planes: Vec<[usize; 2]>,
    pub force_180: bool,
}

fn planes(section: &Section<'_>) -> Vec<[usize; 2]> {
    if section.is_null("axes") {
        return PLANES.to_vec();
    }
    section.maybe_planes("axes").unwrap_or_default()
}

impl Transform for RandomRotate90 {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        Ok(self.map(context).apply(volume))
    }

    fn index_map(&self, context: &TransformContext<'_>) -> Option<IndexMap> {
        Some(self.map(context))
    }

    fn output_shape(&self, mut input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        if self.force_180 {
            return Ok(input);
        }
        for size in input.sizes.clone() {
            for &[a, b] in &self.planes {
                let mut turned = size;
                turned.swap(a, b);
                if !input.sizes.contains(&turned) {
                    input.sizes.push(turned);
                }
            }
        }
        Ok(input)
    }
}

impl RandomRotate90 {
    fn map(&self, context: &TransformContext<'_>) -> IndexMap {
        let mut stream = context.stream();
        let plane = self.planes[stream.index(self.planes.len())];
        let turns = if self.force_180 { 2 * stream.index(2) } else { stream.index(4) };
        (0..turns).fold(IndexMap::IDENTITY, |map, _| map.turned(plane))
    }
}
