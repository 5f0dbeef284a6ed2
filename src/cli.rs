//! The command line: flags and what they mean together.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::shard::Shard;

use crate::commands::make_training_data;

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
    /// Predict every input file; writes <stem>_predictions.h5 beside each.
    Predict(Predict),
    /// Read a configuration and its data, report, and run nothing.
    Check(Check),
    /// Turn labelled images into files to train on: raw, label and weight.
    MakeTrainingData(make_training_data::Options),
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
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
}

#[derive(Args, Debug)]
pub struct Predict {
    #[command(flatten)]
    pub common: Common,
    /// Leave out inputs whose result exists, made by this version with the same
    /// settings and checkpoint.
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
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    Shard::parse(text).map_err(|error| format!("{error:#}"))
}

impl Command {
    /// None for commands that run without a configuration.
    pub fn common(&self) -> Option<&Common> {
        match self {
            Command::Train(args) => Some(&args.common),
            Command::Predict(args) => Some(&args.common),
            Command::Check(args) => Some(&args.common),
            Command::MakeTrainingData(_) => None,
        }
    }
}
