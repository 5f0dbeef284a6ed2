//! A plan with files to predict: starts the stages on every device and gathers what
//! became of each file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use log::{error, info};

use crate::checkpoint::sha256;
use crate::config::ConfigError;
use crate::format::{self, MADE_BY};
use crate::runtime::report::{Reporter, panic_text};
use crate::runtime::shard::Shard;
use crate::samples::MADE_BY_PREDICTION;
use crate::stitch::TilingError;
use crate::volume::DiskFull;

use super::device::DeviceNetwork;
use super::existing::is_up_to_date;
use super::files::FilePair;
use super::output::Attributes;
use super::plan::PredictionPlan;
use super::reader::read_all;
use super::shared::is_shared;
use super::stage::ResultStage;
use super::writer::{Written, write_all};

/// Batches the reader may be ahead of the network.
const BATCHES_AHEAD: usize = 2;
/// Messages the network may be ahead of the writer, so that it begins the next file
/// while the last one is being finished. Boxes have a limit of their own.
const MESSAGES_AHEAD: usize = 4;

/// Which of the plan's files a run predicts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// A share of the files; `None` for all.
    pub shard: Option<Shard>,
    /// Leave out files whose result exists and is up to date.
    pub skip_existing: bool,
}

/// Files from which on a run is long.
const LONG: usize = 10;

/// A plan with the files to predict.
pub struct PredictionRun {
    pub plan: PredictionPlan,
    pub files: Vec<FilePair>,
    /// What outputs tell about their making.
    pub attributes: Attributes,
    /// The share of the blocks of results that several processes make together.
    pub block_shard: Option<Shard>,
    /// Number of threads that compress, for each device.
    pub compressors: usize,
    /// What else is made of each result.
    pub stage: Option<Arc<dyn ResultStage>>,
    /// Set when the run is to end: the current files are given up.
    stop: Arc<AtomicBool>,
}

impl PredictionRun {
    /// Selects the files of a plan and checks the plan against them.
    ///
    /// # Errors
    /// A checkpoint or files that do not exist, results that would replace each other,
    /// and settings that fail for every file.
    pub fn new(
        plan: PredictionPlan,
        selection: Selection,
        stage: Option<Arc<dyn ResultStage>>,
        stop: Arc<AtomicBool>,
    ) -> Result<PredictionRun> {
        let mut files = plan.files()?;
        let checkpoint = plan.checkpoint()?;
        if let Some(shard) = selection.shard {
            // Of results that are made block by block, every process makes some blocks.
            let shared = |file: &FilePair| is_shared(&plan, &file.output, stage.is_some());
            let whole: Vec<FilePair> = files.iter().filter(|file| !shared(file)).cloned().collect();
            let chosen = shard.select(whole);
            files.retain(|file| shared(file) || chosen.contains(file));
            info!("{shard}: {} volume(s)", files.len());
        }
        let attributes = vec![
            (MADE_BY, MADE_BY_PREDICTION.to_string()),
            ("unet3d_version", env!("CARGO_PKG_VERSION").to_string()),
            ("settings", plan.settings.clone()),
            ("configuration", plan.configuration.clone()),
            ("checkpoint_sha256", sha256(checkpoint)?),
        ];
        if selection.skip_existing {
            let before = files.len();
            let made = |file: &FilePair| match &stage {
                Some(stage) => stage.is_up_to_date(file),
                None => true,
            };
            files.retain(|file| {
                let done = is_up_to_date(file, &plan.output, &attributes) && made(file);
                if done {
                    format::forget_unfinished(&file.output);
                }
                !done
            });
            info!("{} of {before} volume(s) have their result already", before - files.len());
        }
        check_inputs(&plan, &files)?;
        let compressors = thread::available_parallelism().map_or(1, |n| n.get());
        let block_shard = selection.shard;
        Ok(PredictionRun { plan, files, attributes, block_shard, compressors, stage, stop })
    }

    /// Whether the run is so long that a second for a trial of memory formats is well
    /// spent: it has many files, or one of those that may be larger than memory.
    pub fn is_long(&self) -> bool {
        let large = |file: &FilePair| is_shared(&self.plan, &file.output, self.stage.is_some());
        self.files.len() >= LONG || self.files.iter().any(large)
    }

    /// Whether the run was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Predicts all files, on all devices side by side, one file each.
    pub fn execute(&self, networks: Vec<DeviceNetwork>, reporter: &Reporter) -> Outcome {
        let total = self.files.len();
        let next = AtomicUsize::new(0);
        // Set by a full disk, which no later file can escape.
        let full = AtomicBool::new(false);
        let mut progress = FileProgress::new(self, reporter);
        let (report, reports) = channel();
        thread::scope(|scope| {
            let mut stages = Vec::new();
            for network in networks {
                let computing = network.computing();
                let (to_network, from_reader) = sync_channel(BATCHES_AHEAD);
                let (to_writer, from_network) = sync_channel(MESSAGES_AHEAD);
                let (report, next, full) = (report.clone(), &next, &full);
                stages.push(scope.spawn(move || {
                    let more = || {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let go = !self.is_stopped() && !full.load(Ordering::Relaxed);
                        (index < total && go).then_some(index)
                    };
                    read_all(self, std::iter::from_fn(more), full, computing, &to_network);
                }));
                stages
                    .push(scope.spawn(move || network.predict_all(self, from_reader, &to_writer)));
                stages.push(scope.spawn(move || {
                    write_all(self, from_network, |index, result| {
                        // The receiver outlives all stages.
                        let _ = report.send((index, result));
                    });
                }));
            }
            drop(report);
            for (index, result) in reports {
                if progress.add(index, result).is_some_and(|fault| fault.is::<DiskFull>()) {
                    full.store(true, Ordering::Relaxed);
                }
            }
            for stage in stages {
                if let Err(panic) = stage.join() {
                    error!("prediction failed inside the program: {}", panic_text(&*panic));
                }
            }
        });
        progress.finish(full.load(Ordering::Relaxed))
    }
}

/// Patches that leave voxels uncovered, and transforms whose result the network cannot
/// take, fail for every file: that is an error before anything runs. What is wrong with
/// a single file is reported when the file is reached.
fn check_inputs(plan: &PredictionPlan, files: &[FilePair]) -> Result<()> {
    for FilePair { input, .. } in files {
        let Ok(raw) = plan.open(input) else { continue };
        if let Err(error) = plan.tile(&*raw.reader)
            && (error.chain().any(|cause| cause.is::<ConfigError>())
                || matches!(error.downcast_ref(), Some(TilingError::Uncovered(_))))
        {
            return Err(error.context(input.display().to_string()));
        }
    }
    Ok(())
}

/// What became of the files of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    pub written: usize,
    /// Index of each file that failed and why, in the order of the files.
    pub failed: Vec<(usize, anyhow::Error)>,
    /// Number of files that were not reached, because of a signal or a full disk.
    pub left: usize,
    /// How each result agrees with its ground truth, class by class, if that was asked
    /// for.
    pub agreements: Vec<Vec<f64>>,
}

/// Counts and reports files as they are done.
struct FileProgress<'a> {
    run: &'a PredictionRun,
    bar: indicatif::ProgressBar,
    started: Instant,
    /// Whether the fate of each file is known.
    seen: Vec<bool>,
    voxels: usize,
    disk_full: bool,
    outcome: Outcome,
}

impl<'a> FileProgress<'a> {
    fn new(run: &'a PredictionRun, reporter: &Reporter) -> Self {
        let total = run.files.len();
        FileProgress {
            run,
            bar: reporter.bar(total as u64, "volumes"),
            started: Instant::now(),
            seen: vec![false; total],
            voxels: 0,
            disk_full: false,
            outcome: Outcome::default(),
        }
    }

    /// Takes what became of a file: its result, or why it failed. Returns
    /// the fault if it is the first one of this file.
    fn add(&mut self, index: usize, result: Result<Written>) -> Option<&anyhow::Error> {
        // A file may fail in two stages; the first error is the cause. And of the files
        // that were being written when the disk became full one is reported.
        let again = self.disk_full && result.as_ref().is_err_and(|fault| fault.is::<DiskFull>());
        if again || std::mem::replace(&mut self.seen[index], true) {
            return None;
        }
        self.bar.inc(1);
        match result {
            Ok(Written { voxels, agreement }) => {
                self.outcome.written += 1;
                self.voxels += voxels;
                self.outcome.agreements.extend(agreement);
                self.log_file(index);
                None
            }
            Err(fault) => {
                error!("{fault:#}");
                self.disk_full |= fault.is::<DiskFull>();
                self.outcome.failed.push((index, fault));
                self.outcome.failed.last().map(|(_, fault)| fault)
            }
        }
    }

    fn log_file(&self, index: usize) {
        let total = self.seen.len();
        let done = self.outcome.written + self.outcome.failed.len();
        let rate = self.started.elapsed().as_secs_f64() / done as f64;
        let left = Duration::from_secs_f64(rate * (total - done) as f64);
        info!(
            "{done}/{total} {} ({rate:.2} s a volume, {} left)",
            self.run.files[index].output.display(),
            indicatif::HumanDuration(left)
        );
    }

    /// Sorts files of which nothing was heard into those that were not reached and those
    /// that failed, and logs the speed.
    fn finish(mut self, disk_full: bool) -> Outcome {
        self.bar.finish_and_clear();
        let stopped = self.run.is_stopped() || disk_full;
        for (index, _) in self.seen.iter().enumerate().filter(|(_, seen)| !**seen) {
            if stopped {
                self.outcome.left += 1;
            } else {
                let fault = anyhow!("{}: no result came", self.run.files[index].input.display());
                self.outcome.failed.push((index, fault));
            }
        }
        self.outcome.failed.sort_by_key(|(index, _)| *index);
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        info!(
            "{} of {} volume(s) predicted in {seconds:.1} s: {:.2} volumes/s, {:.3} million \
             voxels/s",
            self.outcome.written,
            self.seen.len(),
            self.outcome.written as f64 / seconds,
            self.voxels as f64 / seconds / 1e6
        );
        self.outcome
    }
}
