//! The command line: flags and what they mean together.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::runtime::shard::Shard;

mod evaluate;
mod export;
mod instances;
mod naming;
mod swap;
mod volumes;

pub use evaluate::Evaluate;
pub use export::{Export, ExportFormat, WeightsFormat};
pub use instances::{Instances, Layout};
pub use naming::{MakeLabelInput, NameCells};
pub use volumes::{Channels, CompressionKind, Convert, Crop, Info, Lengths, ZarrVersion};

/// Trains 3D U-Nets and runs them on microscopy volumes.
#[derive(Debug, Parser)]
#[command(name = "unet3d", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network; checkpoints and logs go to trainer.checkpoint_dir.
    Train(Train),
    /// Predict every input file; writes <stem>_predictions beside each.
    Predict(Predict),
    /// Read a configuration and its data, report, and run nothing.
    Check(Check),
    /// Turn labelled images into files to train on, or images into files to predict.
    MakeTrainingData(MakeTrainingData),
    /// Turn predicted probabilities into numbered regions and a table of them.
    Instances(Instances),
    /// Give every region of an image the name that fits best.
    NameCells(NameCells),
    /// Crop an image and its regions to the file that a labelling network reads.
    MakeLabelInput(MakeLabelInput),
    /// Score predictions against truth: classes, objects or names.
    Evaluate(Evaluate),
    /// Write a volume, or a part of it, in another format.
    Convert(Convert),
    /// Say what volumes, predictions, checkpoints and configurations are.
    Info(Info),
    /// Print what a key of the configuration means, or a loss, transform or network.
    Explain(Explain),
    /// Print the completions of a shell.
    Completions(Completions),
    /// Write the man pages.
    Man(Man),
    /// Make a configuration and a checkpoint of a model package of bioimage.io.
    Import(Import),
    /// Write a network with its weights for other programs: a model package of bioimage.io,
    /// TorchScript or ONNX.
    Export(Export),
}

/// Flags that do not go together; the program ends as clap ends it for wrong usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// How much a command without a configuration says.
#[derive(Args, Clone, Copy, Debug)]
pub struct Verbosity {
    /// More messages.
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Warnings and errors only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// What every command with a configuration takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[command(flatten)]
    pub flags: RunFlags,
}

/// The flags that commands with a configuration share, besides its file.
#[derive(Args, Clone, Debug)]
pub struct RunFlags {
    /// Override a key, as in --set trainer.iters=100; may be repeated.
    #[arg(long = "set", value_name = "KEY=YAML")]
    pub overrides: Vec<String>,
    /// cpu, cuda or cuda:N, in place of the configuration's `device`.
    #[arg(long)]
    pub device: Option<String>,
    /// Threads of the network's computations (default: all cores).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// More messages.
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Warnings and errors only.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args, Debug)]
pub struct Train {
    #[command(flatten)]
    pub common: Common,
    /// Go on from last_checkpoint.pytorch of trainer.checkpoint_dir if it exists.
    #[arg(long, value_parser = ["auto"])]
    pub resume: Option<String>,
    /// Start afresh where an earlier run left checkpoints: they and its logs are
    /// moved to a dated folder within trainer.checkpoint_dir.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// Train with so many processes of this machine, each with batches of its own (default:
    /// one for each visible GPU, or one).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub processes: Option<u16>,
    /// Seconds that a process waits for the others before the run ends with an error.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub rank_timeout: u32,
}

#[derive(Args, Debug)]
#[command(after_long_help = "Examples:\n  unet3d predict --config predict.yaml\n  \
unet3d predict --checkpoint best_checkpoint.pytorch images/ --output predictions/")]
pub struct Predict {
    /// The configuration file (YAML).
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "checkpoint",
        conflicts_with_all = ["checkpoint", "inputs"]
    )]
    pub config: Option<PathBuf>,
    /// Predict with this checkpoint of `unet3d train` as it was trained: network,
    /// normalization, voxel size and patches are those in it. No configuration is needed.
    #[arg(long, value_name = "FILE", requires = "inputs")]
    pub checkpoint: Option<PathBuf>,
    /// Files, folders or patterns to predict, with --checkpoint.
    #[arg(value_name = "INPUT", requires = "checkpoint")]
    pub inputs: Vec<PathBuf>,
    /// Folder for the results (default: beside each input).
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub flags: RunFlags,
    /// Leave out inputs whose result exists and is whole, made by this version from
    /// the same input with the same settings and checkpoint.
    #[arg(long)]
    pub skip_existing: bool,
    /// Take a share of the files: I/N (from 1), or slurm in a job array.
    #[arg(long, value_name = "I/N|slurm", value_parser = parse_shard)]
    pub shard: Option<Shard>,
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub common: Common,
    /// Do not open the data files.
    #[arg(long)]
    pub no_data: bool,
    /// Train for two iterations, and forecast how long the run will take.
    #[arg(long, conflicts_with = "no_data")]
    pub time: bool,
}

#[derive(Args, Debug)]
#[command(after_long_help = "Examples:\n  unet3d explain trainer.iters\n  \
unet3d explain patch_halo\n  unet3d explain DiceLoss")]
pub struct Explain {
    /// A key, with its sections or without (trainer.iters, iters), or a name that a key
    /// takes (DiceLoss).
    #[arg(value_name = "KEY")]
    pub word: String,
}

#[derive(Args, Debug)]
#[command(after_long_help = "Examples:\n  \
unet3d completions bash > ~/.local/share/bash-completion/completions/unet3d\n  \
unet3d completions zsh > ~/.zfunc/_unet3d\n  \
unet3d completions fish > ~/.config/fish/completions/unet3d.fish")]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub struct Man {
    /// Folder for the pages.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Args, Debug)]
pub struct MakeTrainingData {
    /// Folder of raw images of any format that is read, or one image.
    #[arg(long, value_name = "DIR")]
    pub raw: PathBuf,
    /// Folder of label images of the same names: 0 unlabeled, 1 foreground,
    /// 2 background, 3 gap between cells. Without it, files to predict are made.
    #[arg(long, value_name = "DIR")]
    pub label: Option<PathBuf>,
    /// Labels number the cells from 1, and 0 is background, as Cellpose, napari and
    /// Fiji save them: where cells touch, a layer of gap is made.
    #[arg(long, requires = "label")]
    pub instances: bool,
    /// Folder for the files that are made, one for each image.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Data set with the image, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub raw_dataset: String,
    /// Data set with the labels, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub label_dataset: String,
    /// Weight of foreground voxels.
    #[arg(long, value_name = "WEIGHT", default_value_t = 6.0, value_parser = weight)]
    pub foreground: f64,
    /// Weight of gap voxels.
    #[arg(long, value_name = "WEIGHT", default_value_t = 10.0, value_parser = weight)]
    pub gap: f64,
    /// Multiply the weight of a gap voxel by 1 + the foreground voxels next to it.
    #[arg(long)]
    pub scale_gaps: bool,
    /// How often the weight of background halves with each voxel from the
    /// foreground, within a slice.
    #[arg(long, value_name = "HALVINGS", default_value_t = 0.36, value_parser = number)]
    pub decay_xy: f64,
    /// The same from slice to slice.
    #[arg(long, value_name = "HALVINGS", default_value_t = 1.0, value_parser = number)]
    pub decay_z: f64,
}

#[derive(Args, Debug)]
pub struct Import {
    /// The package: rdf.yaml, the folder that holds it, or a zip archive.
    #[arg(value_name = "PACKAGE")]
    pub package: PathBuf,
    /// Folder for predict.yaml and weights.pytorch (default: <name>_imported).
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    Shard::parse(text).map_err(|error| format!("{error:#}"))
}

/// A weight that is finite in float32, also when it is counted several times.
fn weight(text: &str) -> Result<f64, String> {
    match number(text)? {
        weight if weight <= 1e30 => Ok(weight),
        _ => Err("a weight of at most 1e30 is needed".into()),
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..f64::INFINITY).contains(&value) => Ok(value),
        _ => Err("a number from 0 upwards is needed".into()),
    }
}

impl Command {
    /// None for commands that run without a configuration.
    pub fn flags(&self) -> Option<&RunFlags> {
        match self {
            Command::Train(args) => Some(&args.common.flags),
            Command::Predict(args) => Some(&args.flags),
            Command::Check(args) => Some(&args.common.flags),
            Command::Export(args) => Some(&args.common.flags),
            Command::MakeTrainingData(_)
            | Command::Instances(_)
            | Command::NameCells(_)
            | Command::MakeLabelInput(_)
            | Command::Evaluate(_)
            | Command::Convert(_)
            | Command::Info(_)
            | Command::Explain(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Import(_) => None,
        }
    }

    /// Whether the user asked for more messages, or for fewer.
    pub fn verbosity(&self) -> Verbosity {
        match (self.flags(), self) {
            (Some(flags), _) => Verbosity { verbose: flags.verbose, quiet: flags.quiet },
            (None, Command::Instances(options)) => options.verbosity,
            (None, Command::NameCells(options)) => options.verbosity,
            (None, Command::MakeLabelInput(options)) => options.verbosity,
            (None, Command::Evaluate(options)) => options.verbosity,
            (None, Command::Convert(options)) => options.verbosity,
            (None, Command::Info(options)) => options.verbosity,
            _ => Verbosity { verbose: false, quiet: false },
        }
    }
}
