//! `LazyPredictor`: the volume stays in its file.

use super::Predictor;
use crate::volume::Access;

pub(super) static LAZY: Predictor = Predictor {
    name: "LazyPredictor",
    meaning: "reads volumes row of patches by row of patches, for those larger than memory",
    parameters: &[],
    access: Some(Access::File),
};
