//! Predictors: how the patches of a volume are read. One a file.

mod lazy;
mod standard;

use lazy::LAZY;
use standard::STANDARD;

use crate::config::{Entry, Kind, Parameter, Registry};
use crate::volume::Access;

use super::output::OUTPUT_KEYS;

/// A predictor that `predictor.name` can choose.
pub struct Predictor {
    pub name: &'static str,
    pub meaning: &'static str,
    /// The keys that no other predictor has.
    pub parameters: &'static [Parameter],
    /// Where the volume is while it is predicted; `None`: where `loaders.dataset` has it.
    pub access: Option<Access>,
}

impl Entry for Predictor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }
}

/// All predictors.
pub static PREDICTORS: Registry<Predictor> = Registry {
    kind: "predictor",
    name: Parameter::text("name", "StandardPredictor", "how volumes are read"),
    entries: &[&STANDARD, &LAZY],
    shared: SHARED,
    refused: &[(
        "EmbeddingsPredictor",
        "needs a network with several heads, which there is none of",
    )],
};

/// The keys that all predictors take.
const SHARED: &[Parameter] = &[
    Parameter::per_axis("patch_halo", &[4, 8, 8], "voxels cut from each side of a patch"),
    Parameter::choice(
        "blending",
        "average",
        &["average", "gaussian"],
        "how patches that overlap are weighted",
    ),
    Parameter::custom(
        "tta",
        &[Kind::Words(&["z", "y", "x"])],
        "average over flips along these axes, as in [y, x]",
    ),
    OUTPUT_KEYS[0],
    OUTPUT_KEYS[1],
    OUTPUT_KEYS[2],
    OUTPUT_KEYS[3],
    OUTPUT_KEYS[4],
    OUTPUT_KEYS[5],
];
