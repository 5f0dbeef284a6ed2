//! `LazyPredictor`: the volume stays in its file.

use super::{Predictor, standard};
use crate::volume::Access;

pub(super) static PREDICTOR: Predictor = Predictor {
    name: "LazyPredictor",
    meaning: "reads volumes row of patches by row of patches, for those larger than memory",
    parameters: standard::KEYS,
    whole_images: false,
    access: Some(Access::File),
    read: standard::read,
};
