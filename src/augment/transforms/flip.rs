//! `RandomFlip`: mirrors a volume along random axes.

use anyhow::Result;

use super::stream::Draw;
use super::{Class, Entry, IndexMap, Scope, Transform};
use crate::config::Parameter;
use crate::volume::Volume;

pub(super) static ENTRY: Entry = Entry {
    name: "RandomFlip",
    class: Class::Geometric,
    meaning: "Mirrors each of the axes z, y, x with probability 1 − `axis_prob`.",
    parameters: &[Parameter::probability(
        "axis_prob",
        0.5,
        "an axis is mirrored when a uniform number exceeds this",
    )],
    build: |section| Ok(Box::new(RandomFlip { axis_prob: section.number("axis_prob") })),
    signature: |_, input| Ok(input),
};

/// Draws one uniform number for each of z, y, x.
struct RandomFlip {
    axis_prob: f64,
}

impl Transform for RandomFlip {
    fn apply(&self, volume: Volume, scope: &Scope<'_>) -> Result<Volume> {
        Ok(self.map(scope).apply(volume))
    }

    fn index_map(&self, scope: &Scope<'_>) -> Option<IndexMap> {
        Some(self.map(scope))
    }
}

impl RandomFlip {
    fn map(&self, scope: &Scope<'_>) -> IndexMap {
        let mut stream = scope.stream();
        (0..3).fold(IndexMap::IDENTITY, |map, axis| {
            if stream.uniform() > self.axis_prob { map.flipped(axis) } else { map }
        })
    }
}
