//! `RandomFlip`: mirrors a volume along random axes.

use anyhow::Result;

use super::stream::RandomSource;
use super::{IndexMap, Transform, TransformClass, TransformContext, TransformEntry};
use crate::config::Parameter;
use crate::volume::Volume;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomFlip",
    class: TransformClass::Geometric,
    meaning: "Mirrors each of the axes z, y, x with probability 1 − `axis_prob`.",
    parameters: &[Parameter::probability(
        "axis_prob",
        0.5,
        "an axis is mirrored when a uniform number exceeds this",
    )],
    build: |section| Ok(Box::new(RandomFlip { axis_prob: section.number("axis_prob") })),
};

/// Draws one uniform number per axis z, y, x.
struct RandomFlip {
    axis_prob: f64,
}

impl Transform for RandomFlip {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        Ok(self.map(context).apply(volume))
    }

    fn index_map(&self, context: &TransformContext<'_>) -> Option<IndexMap> {
        Some(self.map(context))
    }
}

impl RandomFlip {
    fn map(&self, context: &TransformContext<'_>) -> IndexMap {
        let mut stream = context.stream();
        (0..3).fold(IndexMap::IDENTITY, |map, axis| {
            if stream.uniform() > self.axis_prob { map.flipped(axis) } else { map }
        })
    }
}
