//! `unet3d instances`: numbered regions of every prediction.

mod images;
mod job;
mod section;
mod stage;

use std::sync::atomic::Ordering;
use std::thread;

use anyhow::{Result, anyhow, bail};
use log::{error, info};

use crate::cli::{self, Usage};
use crate::instances::partners::{predictions, shown};
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};

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
    let mut failed: Vec<String> = Vec::new();
    for (done, job) in jobs.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            bail!(Stopped(format!(
                "stopped by a signal: {done} prediction(s) are done, {} are left; \
                 `--skip-existing` goes on",
                jobs.len() - done
            )));
        }
        bar.set_message(shown(&job.input));
        match job.run(options, &plan, threads) {
            Ok(count) => info!("{}: {count} region(s)", shown(&job.outputs()[0])),
            Err(fault) => {
                let text = format!("{fault:#}");
                let name = shown(&job.input);
                // Most errors name the file themselves.
                let text = if text.contains(&name) { text } else { format!("{name}: {text}") };
                if jobs.len() > 1 {
                    error!("{text}");
                }
                failed.push(text);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    match &failed[..] {
        [] => Ok(()),
        [only] if jobs.len() == 1 => bail!("{only}"),
        failed => Err(anyhow!(
            "{} of {} prediction(s) failed:\n  {}",
            failed.len(),
            jobs.len(),
            failed.join("\n  ")
        )),
    }
}
