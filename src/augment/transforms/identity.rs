//! `Identity`: leaves volumes unchanged.

use anyhow::Result;

use super::{Transform, TransformClass, TransformContext, TransformEntry};
use crate::volume::{Volume, Voxels};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "Identity",
    class: TransformClass::Conversion,
    meaning: "Hands the volume on as it is.",
    parameters: &[],
    build: |_| Ok(Box::new(Identity)),
};

struct Identity;

impl Transform for Identity {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        Ok(volume)
    }

    fn apply_voxels(&self, volume: Voxels, _: &TransformContext<'_>) -> Result<Voxels> {
        Ok(volume)
    }
}
