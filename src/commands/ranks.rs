//! On which ranks a training runs, and who starts them.

use std::env;
use std::time::Duration;

use anyhow::{Result, bail};
use log::LevelFilter;

use crate::cli::{self, Usage};
use crate::config::Tree;
use crate::distributed::{Group, Place, Ranks};
use crate::runtime::signals::{Stopped, on_signals};
use crate::train::TrainingPlan;

use super::CommandSettings;

/// Runs a training: in this process alone, as the rank that the environment says this one is,
/// or in processes that this one starts and waits for. `work` gets the group and the number of
/// the rank on its machine.
///
/// # Errors
/// Flags that contradict the environment, ranks that do not meet, and what `work` fails of on
/// any rank.
pub fn on_ranks(args: &cli::Train, work: impl FnOnce(&Group, usize) -> Result<()>) -> Result<()> {
    let Some(place) = Place::of_environment()? else {
        return match processes(args)? {
            1 => work(&Group::alone(), 0),
            count => start(args, count),
        };
    };
    if let Some(count) = args.processes.filter(|count| usize::from(*count) != place.size) {
        bail!(Usage(format!(
            "--processes {count} contradicts the environment, which says that this is one of {} \
             processes",
            place.size
        )));
    }
    if let Some(count) = place.local_size
        && args.common.flags.threads.is_none()
        && env::var_os("OMP_NUM_THREADS").is_none()
    {
        tch::set_num_threads(threads_of_each(count));
    }
    let group = Group::meet(&place, Duration::from_secs(u64::from(args.rank_timeout)))?;
    match work(&group, place.local_rank) {
        Ok(()) => group.end().map_err(|error| group.conclude(error)),
        Err(error) if error.is::<Stopped>() => {
            // All of them stop alike, and the checkpoint is there.
            let _ = group.end();
            Err(error)
        }
        Err(error) => Err(group.conclude(error)),
    }
}

/// How many processes of this machine are to train: as asked, or one for each GPU.
fn processes(args: &cli::Train) -> Result<usize> {
    if let Some(count) = args.processes {
        return Ok(usize::from(count));
    }
    let tree = Tree::read(&args.common.config, &args.common.flags.overrides)?;
    let settings = silently(|| CommandSettings::open(&tree, &args.common.flags));
    // What is wrong is said when the run begins.
    Ok(settings.map_or(1, |settings| settings.device.processes()))
}

/// Starts the processes of a run on this machine, and waits for them.
fn start(args: &cli::Train, count: usize) -> Result<()> {
    // A configuration that cannot be read is one error, not one of each process.
    let tree = Tree::read(&args.common.config, &args.common.flags.overrides)?;
    silently(|| {
        let settings = CommandSettings::open(&tree, &args.common.flags)?;
        TrainingPlan::read(&settings.top).map(|_| ())
    })?;
    // Those of the flag are of each process, and among its arguments.
    let threads = args.common.flags.threads.is_none().then(|| threads_of_each(count));
    let more: Vec<_> = threads.map(|threads| format!("--threads={threads}")).into_iter().collect();
    let stop = on_signals()?;
    Ranks::start(count, &more)?.wait(&stop)
}

/// Threads of each of so many processes of this machine.
fn threads_of_each(count: usize) -> i32 {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    (tch::get_num_threads() / count).max(1)
}

/// Runs `work`, whose messages the ranks will give.
fn silently<T>(work: impl FnOnce() -> T) -> T {
    let level = log::max_level();
    log::set_max_level(LevelFilter::Off);
    let result = work();
    log::set_max_level(level);
    result
}
