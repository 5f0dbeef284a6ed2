//! `unet3d evaluate`: scores of predictions against truth.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use log::{error, info, warn};
use serde_json::Value;

use crate::cli;
use crate::evaluate::{
    EvaluationKind, EvaluationPair, EvaluationPlan, MADE_BY, Scored, Summary, guess_kind,
    is_report, pair_files, report, score, view,
};
use crate::instances::write_text;
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
    let summary_file = options.output.join("summary.json");
    let table_file = options.output.join("scores.csv");
    check_outputs(&summary_file, &table_file, options.report.as_deref())?;
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

    let json = serde_json::to_string_pretty(&summary.json())?;
    write_text(&summary_file, &(json + "\n"))?;
    write_text(&table_file, &summary.csv())?;
    if let Some(path) = &options.report {
        write_report(&plan, options, &summary, path)?;
    }
    tell(&summary);
    info!("{} and {}", summary_file.display(), table_file.display());
    if !summary.failed.is_empty() {
        bail!(
            "{} of {} file(s) failed",
            summary.failed.len(),
            summary.failed.len() + summary.files.len()
        );
    }
    Ok(())
}

/// Refuses to replace files that are not ours.
fn check_outputs(summary: &Path, table: &Path, report: Option<&Path>) -> Result<()> {
    let ours = |path: &Path, is_ours: bool| {
        ensure!(
            !path.exists() || is_ours,
            "{}: exists and was not written by this command; it is not replaced. Move it away, or \
             choose another place",
            path.display()
        );
        Ok(())
    };
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let made_by_us = serde_json::from_str::<Value>(&read(summary))
        .is_ok_and(|value| value.get("made_by") == Some(&Value::from(MADE_BY)));
    ours(summary, made_by_us)?;
    ours(table, read(table).starts_with("file,class,"))?;
    report.map_or(Ok(()), |path| ours(path, is_report(path)))
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
    write_text(path, &report(summary, &views))?;
    info!("{}", path.display());
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
