//! Starts the stages on every device and gathers what became of each file.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::anyhow;
use log::{error, info};

use crate::runtime::report::{Reporter, panic_text};
use crate::volume::DiskFull;

use super::job::Job;
use super::network::Network;
use super::read::read_all;
use super::write::write_all;

/// Batches the reader may be ahead of the network.
const BATCHES_AHEAD: usize = 2;
/// Messages the network may be ahead of the writer: it goes on with the next file
/// while the last one is being finished. Boxes have limits of their own.
const MESSAGES_AHEAD: usize = 4;

/// What became of the files.
#[derive(Debug, Default)]
pub struct Outcome {
    pub written: usize,
    /// Index of the file and why it failed, in the order of the files.
    pub failed: Vec<(usize, anyhow::Error)>,
    /// Files that were not reached, because a signal came or the disk was full.
    pub left: usize,
}

/// Predicts all files of `job`, on all devices side by side, one file each.
pub fn run(job: &Job, networks: Vec<Network>, reporter: &Reporter) -> Outcome {
    let total = job.inputs.len();
    let mut outcome = Outcome::default();
    let bar = reporter.bar(total as u64, "volumes");
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    // Set by what no later file can escape, a full disk.
    let full = AtomicBool::new(false);
    let (report, reports) = channel();
    let mut seen = vec![false; total];
    let mut voxels = 0;
    thread::scope(|scope| {
        let mut stages = Vec::new();
        for network in networks {
            let (to_network, from_reader) = sync_channel(BATCHES_AHEAD);
            let (to_writer, from_network) = sync_channel(MESSAGES_AHEAD);
            let (report, next, full) = (report.clone(), &next, &full);
            stages.push(scope.spawn(move || {
                let more = || {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let go = !job.stop.load(Ordering::Relaxed) && !full.load(Ordering::Relaxed);
                    (index < total && go).then_some(index)
                };
                read_all(job, std::iter::from_fn(more), full, &to_network);
            }));
            stages.push(scope.spawn(move || network.predict_all(job, from_reader, &to_writer)));
            stages.push(scope.spawn(move || {
                write_all(job, from_network, |index, result| {
                    // The gathering end stays until the last stage is done.
                    let _ = report.send((index, result));
                });
            }));
        }
        drop(report);
        for (index, result) in reports {
            // A file may fail in two stages; the first has the cause. And files that
            // were on their way when the disk became full are told of once.
            let again = full.load(Ordering::Relaxed)
                && result.as_ref().is_err_and(|fault| fault.is::<DiskFull>());
            if again || std::mem::replace(&mut seen[index], true) {
                continue;
            }
            bar.inc(1);
            match result {
                Ok(more) => {
                    outcome.written += 1;
                    voxels += more;
                    let done = outcome.written + outcome.failed.len();
                    let rate = started.elapsed().as_secs_f64() / done as f64;
                    let left = std::time::Duration::from_secs_f64(rate * (total - done) as f64);
                    info!(
                        "{done}/{total} {} ({rate:.2} s a volume, {} left)",
                        job.outputs[index].display(),
                        indicatif::HumanDuration(left)
                    );
                }
                Err(fault) => {
                    error!("{fault:#}");
                    if fault.is::<DiskFull>() {
                        full.store(true, Ordering::Relaxed);
                    }
                    outcome.failed.push((index, fault));
                }
            }
        }
        for stage in stages {
            if let Err(panic) = stage.join() {
                error!("prediction failed inside the program: {}", panic_text(&*panic));
            }
        }
    });
    bar.finish_and_clear();
    let stopped = job.stop.load(Ordering::Relaxed) || full.load(Ordering::Relaxed);
    for (index, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
        if stopped {
            outcome.left += 1;
        } else {
            let fault = anyhow!("{}: no result came", job.inputs[index].display());
            outcome.failed.push((index, fault));
        }
    }
    outcome.failed.sort_by_key(|(index, _)| *index);
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    info!(
        "{} of {total} volume(s) predicted in {seconds:.1} s: {:.2} volumes/s, {:.3} million voxels/s",
        outcome.written,
        outcome.written as f64 / seconds,
        voxels as f64 / seconds / 1e6
    );
    outcome
}
