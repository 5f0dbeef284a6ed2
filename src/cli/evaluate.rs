//! Flags of `unet3d evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::evaluate::{EvaluationKind, EvaluationPlan};

use super::{Usage, Verbosity, number};

#[derive(Args, Debug)]
pub struct Evaluate {
    /// A prediction, or a folder of them: probabilities or classes, label images, or
    /// tables of names.
    #[arg(value_name = "PREDICTIONS")]
    pub predictions: PathBuf,
    /// The truth, or a folder with a file of the same name for each prediction.
    #[arg(value_name = "TRUTH")]
    pub truth: PathBuf,
    /// What the predictions are (default: judged by the first of them).
    #[arg(long, value_enum)]
    pub kind: Option<KindName>,
    /// Other predictions of the same volumes, to be compared with these.
    #[arg(long, value_name = "PREDICTIONS")]
    pub against: Option<PathBuf>,
    /// Folder for summary.json and scores.csv (default: the working directory).
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// Also write a page with tables, curves and slices, which needs no other file.
    #[arg(long, value_name = "HTML")]
    pub report: Option<PathBuf>,
    /// Files of which the report shows slices, from the worst on.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub report_files: usize,
    /// Raw images, for the slices of the report.
    #[arg(long, value_name = "FILE|DIR")]
    pub raw: Option<PathBuf>,
    /// Data set with the raw image, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub raw_dataset: String,
    /// Data set with the predictions, in HDF5 files (default: predictions, or instances).
    #[arg(long, value_name = "NAME")]
    pub prediction_dataset: Option<String>,
    /// Data set with the truth, in HDF5 files (default: label, labels or instances).
    #[arg(long, value_name = "NAME")]
    pub truth_dataset: Option<String>,
    /// A single channel, or with --channels-apart every one, holds where its probability
    /// exceeds this.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.5, value_parser = number)]
    pub threshold: f64,
    /// Compare every channel by itself with that of the truth, in place of the likeliest
    /// class (for networks with a sigmoid).
    #[arg(long)]
    pub channels_apart: bool,
    /// Take every label of the truth above 0 as class 1.
    #[arg(long, conflicts_with = "channels_apart")]
    pub binary: bool,
    /// Score class 0 too, if there are several.
    #[arg(long)]
    pub background: bool,
    /// Leave out voxels with this label in the truth; negative ones are left out always.
    #[arg(long, value_name = "LABEL", allow_negative_numbers = true)]
    pub ignore: Option<i64>,
    /// Leave out surface distances, which take most of the time.
    #[arg(long)]
    pub no_distances: bool,
    /// Size of a voxel along z, y and x (default: what the files tell, else 1).
    #[arg(long, value_name = "Z,Y,X", value_delimiter = ',', num_args = 1, value_parser = number)]
    pub voxel_size: Option<Vec<f64>>,
    /// Names of the classes from the first scored one on.
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',', num_args = 1)]
    pub class_names: Vec<String>,
    /// Names: leave out human labels of less confidence.
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = number)]
    pub min_confidence: f64,
    /// Draws of the bootstrap from which the intervals come.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub bootstrap: usize,
    /// Where the random numbers of the bootstrap begin.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Threads: files that are scored at a time (default: all cores).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub verbosity: Verbosity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    Semantic,
    Instances,
    Names,
}

impl From<KindName> for EvaluationKind {
    fn from(name: KindName) -> EvaluationKind {
        match name {
            KindName::Semantic => EvaluationKind::Semantic,
            KindName::Instances => EvaluationKind::Instances,
            KindName::Names => EvaluationKind::Names,
        }
    }
}

impl Evaluate {
    /// The plan for predictions of a kind.
    ///
    /// # Errors
    /// Flags that have no meaning for the kind.
    pub fn plan(&self, kind: EvaluationKind) -> Result<EvaluationPlan, Usage> {
        let spacing = match self.voxel_size.as_deref() {
            None => None,
            Some(&[z, y, x]) if z > 0.0 && y > 0.0 && x > 0.0 => Some([z, y, x]),
            Some(_) => {
                return Err(Usage("--voxel-size is three numbers above 0: z,y,x".into()));
            }
        };
        let only_semantic = [
            ("--channels-apart", self.channels_apart),
            ("--binary", self.binary),
            ("--background", self.background),
            ("--no-distances", self.no_distances),
            ("--voxel-size", spacing.is_some()),
            ("--class-names", !self.class_names.is_empty()),
        ];
        if kind != EvaluationKind::Semantic
            && let Some((flag, _)) = only_semantic.iter().find(|(_, given)| *given)
        {
            return Err(Usage(format!("{flag} is for --kind semantic, not {}", kind.name())));
        }
        let only_volumes = [
            ("--raw", self.raw.is_some()),
            ("--ignore", self.ignore.is_some()),
            ("--prediction-dataset", self.prediction_dataset.is_some()),
            ("--truth-dataset", self.truth_dataset.is_some()),
        ];
        if kind == EvaluationKind::Names
            && let Some((flag, _)) = only_volumes.iter().find(|(_, given)| *given)
        {
            return Err(Usage(format!("{flag} has no meaning for tables of names")));
        }
        Ok(EvaluationPlan {
            kind,
            prediction_dataset: self.prediction_dataset.clone(),
            truth_dataset: self.truth_dataset.clone(),
            threshold: self.threshold,
            channels_apart: self.channels_apart,
            binary: self.binary,
            background: self.background,
            ignored: self.ignore,
            distances: !self.no_distances,
            spacing,
            min_confidence: self.min_confidence,
            class_names: self.class_names.clone(),
        })
    }
}
