//! Prediction: patches out, stitching, writing.
//!
//! A [`PredictionPlan`] is what the configuration says, a [`PredictionRun`] is that
//! plan with files to predict. The run is a pipeline of stages joined by bounded
//! channels. Three threads work on consecutive files: one reads and normalises
//! patches ([`reader`]), one runs the network and adds its outputs up ([`device`]),
//! one compresses and writes finished planes ([`writer`]). So the device waits for a
//! file only when none could be ready, and memory holds two inputs and one stack of
//! planes, whatever the number of files. A file that fails in any stage is reported,
//! the others go on.

mod device;
mod embeddings;
mod error;
mod existing;
mod files;
mod images;
mod output;
mod performance;
mod plan;
mod predictors;
mod preview;
mod reader;
mod run;
mod shared;
mod stage;
mod way_back;
mod writer;

pub use device::DeviceNetwork;
pub use embeddings::{Clustering, RegionSpec, Stitched};
pub use error::StageError;
pub use existing::{INPUT, standing_of};
pub use files::FilePair;
pub use images::{ImagePlan, predict_images};
pub use output::OutputSpec;
pub use plan::{PredictionPlan, RawInput, TilingSpec};
pub use predictors::{PREDICTORS, Predictor};
pub use run::{Outcome, PredictionRun, Selection};
pub use stage::{ResultSink, ResultStage};
