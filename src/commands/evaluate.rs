//! `unet3d evaluate`: scores of predictions against truth.

use std::fs;
use std::io::Read;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use log::{error, info, warn};

use crate::cli;
use crate::evaluate::{
    EvaluationKind, EvaluationPair, EvaluationPlan, Scored, Summary, guess_kind, is_report,
    noted_tables, pair_files, report, score, view,
};
use crate::files::{InputFile, PartialFile, is_taken, sha256_of};
use crate::format::{Inputs, check_distinct};
use crate::instances::partners::shown;
use crate::runtime::report::Reporter;

/// Scores every prediction, and writes the tables and the report.
pub fn evaluate(options: &cli::Evaluate, reporter: &Reporter) -> Result<()> {
    let kind = match options.kind {
        Some(kind) => kind.into(),
        None => guess_kind(&options.predictions)?,
    };
    let plan = options.plan(kind)?;
    let pairs = pair_files(
        kind,
        &options.predictions,
        &options.truth,
        options.against.as_deref(),
        options.raw.as_deref(),
    )?;
    info!("{} file(s), scored as {}", pairs.len(), kind.name());
    let outputs = Outputs {
        summary: options.output.join("summary.json"),
        table: options.output.join("scores.csv"),
        report: options.report.as_deref(),
    };
    outputs.check(&pairs)?;
    fs::create_dir_all(&options.output)
        .with_context(|| format!("making the folder {}", options.output.display()))?;

    let bar = reporter.bar(pairs.len() as u64, "files");
    let results = score_all(&plan, pairs, options.threads, &bar);
    bar.finish_and_clear();
    let mut summary = Summary {
        kind,
        files: Vec::new(),
        failed: Vec::new(),
        bootstrap: options.bootstrap,
        seed: options.seed,
    };
    for (name, result) in results {
        match result {
            Ok(scored) => summary.files.push(scored),
            Err(fault) => summary.failed.push((name, format!("{fault:#}"))),
        }
    }
    if let ([], [(_, only)]) = (&summary.files[..], &summary.failed[..]) {
        bail!("{only}");
    }
    summary.failed.iter().for_each(|(_, fault)| error!("{fault}"));
    ensure!(!summary.files.is_empty(), "none of {} files could be scored", summary.failed.len());

    let table = summary.csv();
    outputs.check_replaceable(&outputs.table)?;
    // The table that stands there is ours, too, should the run end before it is replaced.
    let before = text_of(&outputs.table).map(|text| sha256_of(text.as_bytes()));
    let tables: Vec<String> = iter::once(sha256_of(table.as_bytes())).chain(before).collect();
    outputs.write(&outputs.summary, &summary.text(&tables))?;
    outputs.write(&outputs.table, &table)?;
    if let Some(path) = outputs.report {
        write_report(&plan, options, &summary, path, &outputs)?;
    }
    tell(&summary);
    info!("{} and {}", shown(&outputs.summary), shown(&outputs.table));
    if !summary.failed.is_empty() {
        bail!(
            "{} of {} file(s) failed",
            summary.failed.len(),
            summary.failed.len() + summary.files.len()
        );
    }
    Ok(())
}

/// The files that are written.
struct Outputs<'a> {
    summary: PathBuf,
    table: PathBuf,
    report: Option<&'a Path>,
}

impl Outputs<'_> {
    fn all(&self) -> impl Iterator<Item = &Path> {
        [self.summary.as_path(), &self.table].into_iter().chain(self.report)
    }

    /// Checks that no input and nothing that is not ours would be replaced, and no output by
    /// another.
    fn check(&self, pairs: &[EvaluationPair]) -> Result<()> {
        let inputs = pairs.iter().flat_map(|pair| {
            let others = pair.against.iter().chain(&pair.raw);
            [&pair.found, &pair.truth].into_iter().chain(others).map(PathBuf::as_path)
        });
        let inputs = Inputs::new(inputs);
        check_distinct(self.all().map(|path| (path, path)), |one, other, _| {
            format!("{} and {} are one file: give each its own name", shown(one), shown(other))
        })?;
        for path in self.all() {
            inputs.check(path)?;
            self.check_replaceable(path)?;
        }
        Ok(())
    }

    /// Checks that nothing is lost if a new output takes its place under a path.
    fn check_replaceable(&self, path: &Path) -> Result<()> {
        if !is_taken(path) {
            return Ok(());
        }
        let Some(text) = text_of(path) else {
            bail!("{}: is no ordinary file, and is not replaced", shown(path));
        };
        let as_written = if path == self.table {
            self.noted_tables().contains(&sha256_of(text.as_bytes()))
        } else if path == self.summary {
            noted_tables(&text).is_some()
        } else {
            is_report(&text)
        };
        ensure!(
            as_written,
            "{}: exists and was not written by this command, or was changed since; it is not \
             replaced. Move it away, or choose another place",
            shown(path)
        );
        Ok(())
    }

    /// The SHA-256 of our tables that may stand there.
    fn noted_tables(&self) -> Vec<String> {
        text_of(&self.summary).and_then(|text| noted_tables(&text)).unwrap_or_default()
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        let failed = || format!("{}: writing failed", shown(path));
        let partial = PartialFile::of_text(path, text).with_context(failed)?;
        partial.replace_if(|path| self.check_replaceable(path))?.with_context(failed)
    }
}

/// The text of an ordinary file. Others could be waited for without end.
fn text_of(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let input = InputFile::open(path, "a text").ok()?;
    (&input.file).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The result of each file, in the order of the files.
fn score_all(
    plan: &EvaluationPlan,
    pairs: Vec<EvaluationPair>,
    threads: Option<u16>,
    bar: &ProgressBar,
) -> Vec<(String, Result<Scored>)> {
    let threads = match threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, |n| n.get()),
    };
    // What is left by the number of files reads and decodes within a file.
    let within = (threads / pairs.len().max(1)).max(1);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.min(pairs.len()) {
            scope.spawn(|| {
                while let Some(pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = score_pair(plan, pair, within);
                    done.lock().unwrap_or_else(|broken| broken.into_inner()).push((pair, result));
                    bar.inc(1);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|broken| broken.into_inner());
    done.sort_by_key(|(pair, _)| pairs.iter().position(|other| other == *pair));
    done.into_iter().map(|(pair, result)| (pair.name.clone(), result)).collect()
}

fn score_pair(plan: &EvaluationPlan, pair: &EvaluationPair, threads: usize) -> Result<Scored> {
    let rate = |found| score(plan, found, &pair.truth, threads);
    let scores = rate(&pair.found)?;
    let against = pair.against.as_deref().map(rate).transpose()?;
    Ok(Scored { pair: pair.clone(), scores, against })
}

fn write_report(
    plan: &EvaluationPlan,
    options: &cli::Evaluate,
    summary: &Summary,
    path: &Path,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let mut views = Vec::new();
    if plan.kind != EvaluationKind::Names {
        for index in summary.worst_first().into_iter().take(options.report_files) {
            let pair = &summary.files[index].pair;
            match view(plan, pair, &options.raw_dataset) {
                Ok(view) => views.push(view),
                Err(fault) => warn!("{}: no slices in the report: {fault:#}", pair.name),
            }
        }
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
    }
    outputs.write(path, &report(summary, &views))?;
    info!("{}", shown(path));
    Ok(())
}

/// The means of the scores that have a good side, class by class.
fn tell(summary: &Summary) {
    for class in summary.classes() {
        let means: Vec<String> = summary
            .kind
            .scores()
            .iter()
            .enumerate()
            .filter(|(_, score)| score.better.is_some() && !score.name.starts_with("ap_"))
            .filter_map(|(index, score)| {
                summary.mean(class, index).map(|mean| format!("{} {:.4}", score.name, mean.mean))
            })
            .collect();
        info!("{class}: {}", means.join(", "));
    }
}
