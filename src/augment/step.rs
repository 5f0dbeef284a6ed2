//! A transform at its position in a list.

use std::collections::HashMap;

use super::{TRANSFORMS, Transform, TransformEntry};
use crate::config::{ConfigError, Node};
use crate::volume::VolumeShape;

/// A transform at its position in a list.
pub struct TransformStep {
    pub entry: &'static TransformEntry,
    /// The section that describes it.
    pub node: Node,
    pub transform: Box<dyn Transform>,
    /// Number of transforms of the same name before it in the list.
    pub occurrence: u32,
}

impl TransformStep {
    /// Reads one item of a list. `seen` counts the previous transforms by name.
    pub fn read(
        item: &Node,
        seen: &mut HashMap<&'static str, u32>,
    ) -> Result<TransformStep, ConfigError> {
        let (entry, section) = TRANSFORMS.open(item)?;
        let transform = (entry.build)(&section)?;
        let count = seen.entry(entry.name).or_insert(0);
        let occurrence = *count;
        *count += 1;
        Ok(TransformStep { entry, node: item.clone(), transform, occurrence })
    }

    /// The shape of the result for volumes of the shape `input`, with each size once.
    ///
    /// # Errors
    /// Why such volumes cannot be transformed, at the place of the key.
    pub fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ConfigError> {
        let mut output = self.transform.output_shape(input).map_err(|error| match error.key {
            Some(key) => self.node.error_at(key, error.message),
            None => self.node.error(error.message),
        })?;
        output.sizes.sort_unstable();
        output.sizes.dedup();
        Ok(output)
    }
}
