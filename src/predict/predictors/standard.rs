//! `StandardPredictor`: the volume is held as the data set class holds it.

use super::Predictor;

pub(super) static STANDARD: Predictor = Predictor {
    name: "StandardPredictor",
    meaning: "reads each volume into memory, unless `loaders.dataset` reads on demand",
    parameters: &[],
    access: None,
};
