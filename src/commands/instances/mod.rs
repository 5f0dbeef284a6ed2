//! `unet3d instances`: numbered regions of every prediction.

mod images;
mod job;
mod section;
mod stage;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, bail};
use indicatif::ProgressBar;
use log::{error, info};

use crate::cli::{self, Usage};
use crate::instances::InstancesPlan;
use crate::instances::partners::{predictions, shown};
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::runtime::threads;

use images::Resources;
use job::{Job, check_jobs};
pub use section::INSTANCES;
pub use stage::stage;

/// Makes a label image and a table for each prediction.
pub fn instances(options: &cli::Instances, reporter: &Reporter) -> Result<()> {
    let plan = options.plan()?;
    let threads = match options.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let mut inputs = predictions(&options.predictions)?;
    if let Some(shard) = options.shard {
        let mut index = 0..;
        inputs.retain(|_| index.next().is_some_and(|index| shard.takes(index)));
        info!("{shard}: {} prediction(s)", inputs.len());
    }
    let single = inputs.len() == 1;
    for (flag, place) in
        [("--raw", &options.raw), ("--mask", &options.mask), ("--seeds", &options.seeds)]
    {
        if let Some(place) = place.as_ref().filter(|place| !single && place.is_file()) {
            bail!(Usage(format!(
                "{flag} {} is one image for {} predictions: name a folder of images",
                shown(place),
                inputs.len()
            )));
        }
    }
    let mut jobs: Vec<Job> = inputs.into_iter().map(|input| Job::new(input, options)).collect();
    check_jobs(&jobs, options)?;
    if options.skip_existing {
        let before = jobs.len();
        jobs.retain(|job| !job.is_up_to_date(options));
        info!("{} of {before} prediction(s) have their result already", before - jobs.len());
    }

    let stop = on_signals()?;
    let bar = reporter.bar(jobs.len() as u64, "predictions");
    let results = run_all(&jobs, options, &plan, threads, &stop, &bar);
    bar.finish_and_clear();
    let done = results.iter().flatten().count();
    let failed: Vec<&String> =
        results.iter().flatten().filter_map(|result| result.as_ref().err()).collect();
    if jobs.len() > 1 {
        failed.iter().for_each(|text| error!("{text}"));
    }
    if done < jobs.len() {
        bail!(Stopped(format!(
            "stopped by a signal: {done} prediction(s) are done, {} are left; `--skip-existing` \
             goes on",
            jobs.len() - done
        )));
    }
    match &failed[..] {
        [] => Ok(()),
        [only] if jobs.len() == 1 => bail!("{only}"),
        failed => {
            let texts: Vec<&str> = failed.iter().map(|text| text.as_str()).collect();
            Err(anyhow!(
                "{} of {} prediction(s) failed:\n  {}",
                failed.len(),
                jobs.len(),
                texts.join("\n  ")
            ))
        }
    }
}

/// How each job ended, `None` for those that a signal has kept from beginning.
///
/// Several predictions are worked on at a time, since reading, cutting and writing one has
/// parts that take a single thread; they share threads and memory.
fn run_all(
    jobs: &[Job],
    options: &cli::Instances,
    plan: &InstancesPlan,
    threads: usize,
    stop: &AtomicBool,
    bar: &ProgressBar,
) -> Vec<Option<Result<u32, String>>> {
    let at_once = threads.min(jobs.len()).max(1);
    let resources =
        Resources { threads: (threads / at_once).max(1), memory: (options.memory << 20) / at_once };
    threads::map(jobs.iter().collect(), at_once, |job: &Job| {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let name = shown(&job.input);
        bar.set_message(name.clone());
        let result = job.run(options, plan, resources).map_err(|fault| {
            let text = format!("{fault:#}");
            // Most errors name the file themselves.
            if text.contains(&name) { text } else { format!("{name}: {text}") }
        });
        if let Ok(count) = result {
            info!("{}: {count} region(s)", shown(&job.outputs()[0]));
        }
        bar.inc(1);
        Some(result)
    })
}
