//! Starts the stages and gathers what became of each file.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use log::{error, info};

use crate::report::Reporter;

use super::job::Job;
use super::network::{Network, panic_error};
use super::read::read_all;
use super::write::write_all;

/// Batches the reader may be ahead of the network.
const BATCHES_AHEAD: usize = 2;
/// Stacks of planes the network may be ahead of the writer.
const PLANES_AHEAD: usize = 1;

/// What became of the files.
#[derive(Debug, Default)]
pub struct Outcome {
    pub written: usize,
    /// Index of the file and why it failed, in the order of the files.
    pub failed: Vec<(usize, anyhow::Error)>,
}

/// Predicts all files of `job`.
pub fn run(job: &Job, network: Network, reporter: &Reporter) -> Result<Outcome> {
    let total = job.inputs.len();
    let mut outcome = Outcome::default();
    let mut seen = vec![false; total];
    let bar = reporter.bar(total as u64, "volumes");
    let started = Instant::now();
    let (to_network, from_reader) = sync_channel(BATCHES_AHEAD);
    let (to_writer, from_network) = sync_channel(PLANES_AHEAD);
    let stages = thread::scope(|scope| -> Result<()> {
        let reader = scope.spawn(move || read_all(job, 0..total, &to_network));
        let runner = scope.spawn(move || network.predict_all(job, from_reader, &to_writer));
        let mut last = Instant::now();
        write_all(job, from_network, |index, result| {
            seen[index] = true;
            bar.inc(1);
            match result {
                Ok(()) => {
                    outcome.written += 1;
                    info!(
                        "{}/{total} {} ({:.2} s)",
                        outcome.written + outcome.failed.len(),
                        job.outputs[index].display(),
                        last.elapsed().as_secs_f64()
                    );
                }
                Err(fault) => {
                    error!("{fault:#}");
                    outcome.failed.push((index, fault));
                }
            }
            last = Instant::now();
        });
        for (stage, what) in [(reader, "reading"), (runner, "the network")] {
            stage.join().map_err(|panic| panic_error(what, panic))?;
        }
        Ok(())
    });
    bar.finish_and_clear();
    stages?;
    for (index, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
        let fault = anyhow::anyhow!("{}: was not reached", job.inputs[index].display());
        outcome.failed.push((index, fault));
    }
    outcome.failed.sort_by_key(|(index, _)| *index);
    let seconds = started.elapsed().as_secs_f64();
    info!(
        "{} of {total} volume(s) predicted in {seconds:.1} s ({:.2} volumes/s)",
        outcome.written,
        outcome.written as f64 / seconds.max(1e-9)
    );
    Ok(outcome)
}
