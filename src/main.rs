//! Flags, logging, exit codes; calls one command.

use std::process::ExitCode;

use log::LevelFilter;

use unet3d::cli::{Cli, Command, Usage};
use unet3d::commands;
use unet3d::config::ConfigError;
use unet3d::distributed::{Differs, Ended, Failed, Place, PlaceError, UNTOLD, die_with_parent};
use unet3d::ffi::tensor::end_at_once;
use unet3d::format;
use unet3d::runtime::report::{Reporter, fail};
use unet3d::runtime::signals::{STOPPED, Stopped, fail_instead_of_sigxfsz};
use unet3d::runtime::surroundings;

/// Exit code of a run that failed.
const FAILED: u8 = 1;
/// Exit code of wrong usage or configuration; clap uses it too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    end_at_once();
    if let Err(error) = die_with_parent() {
        fail(&error.to_string());
        return ExitCode::from(FAILED);
    }
    if let Err(error) = surroundings::without_hdf5_variables() {
        fail(&error.to_string());
        return ExitCode::from(FAILED);
    }
    surroundings::on_large_stack(run)
}

fn run() -> ExitCode {
    let cli = Cli::of_process();
    let level = match cli.command.verbosity() {
        asked if asked.verbose => LevelFilter::Debug,
        asked if asked.quiet => LevelFilter::Warn,
        _ => LevelFilter::Info,
    };
    // A place that cannot be read is an error of the command.
    let place = match &cli.command {
        Command::Train(_) => Place::of_environment().ok().flatten(),
        _ => None,
    };
    let rank = place.as_ref().map_or(0, |place| place.rank);
    let reporter = Reporter::start_rank(level, rank);
    if let Some(threads) = cli.command.flags().and_then(|flags| flags.threads) {
        tch::set_num_threads(i32::from(threads));
    }
    surroundings::allow_many_files();
    let ready = fail_instead_of_sigxfsz().and_then(|()| format::start());
    let result = ready.and_then(|()| match &cli.command {
        Command::Train(args) => commands::train(args, &reporter),
        Command::Predict(args) => commands::predict(args, &reporter),
        Command::Check(args) => commands::check(args),
        Command::MakeTrainingData(options) => commands::make_training_data(options, &reporter),
        Command::Instances(options) => commands::instances(options, &reporter),
        Command::NameCells(options) => commands::name_cells(options),
        Command::MakeLabelInput(options) => commands::make_label_input(options),
        Command::Evaluate(options) => commands::evaluate(options, &reporter),
        Command::Convert(options) => commands::convert(options, &reporter),
        Command::Info(options) => commands::info(options),
        Command::Explain(options) => commands::explain(options),
        Command::Completions(options) => commands::completions(options),
        Command::Man(options) => commands::man(options),
        Command::Import(options) => commands::import(options),
        Command::Export(args) => commands::export(args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(Ended(code)) = error.downcast_ref() {
                return ExitCode::from(*code);
            }
            if error.is::<Stopped>() {
                if rank == 0 {
                    log::warn!("{error:#}");
                }
                return ExitCode::from(STOPPED);
            }
            if error.downcast_ref::<Failed>().is_some_and(|failed| failed.told) {
                let watched = place.is_some_and(|place| place.watched);
                return ExitCode::from(if watched { UNTOLD } else { FAILED });
            }
            fail(&format!("{error:#}"));
            let usage = error.chain().any(|cause| {
                cause.is::<ConfigError>()
                    || cause.is::<Usage>()
                    || cause.is::<PlaceError>()
                    || cause.is::<Differs>()
            });
            ExitCode::from(if usage { USAGE } else { FAILED })
        }
    }
}
