//! The scores of one file.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::files::read_text;
use crate::instances::Strange;
use crate::instances::naming::human_labels;

use super::images::{ClassVolumes, LabelVolumes, slabs};
use super::names::{NameScores, name_scores};
use super::objects::object_scores;
use super::overlaps::{LabelPairs, PairCounter};
use super::pairs::open;
use super::plan::{EvaluationKind, EvaluationPlan};
use super::semantic::{ClassScorer, ClassScores};

/// The scores of one class of a file, in the order of [`EvaluationKind::scores`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    pub class: String,
    /// `None` where there is nothing to score.
    pub scores: Vec<Option<f64>>,
}

/// What a file scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileScores {
    pub classes: Vec<ClassRow>,
    /// Tables of names alone.
    pub names: Option<NameScores>,
}

/// The class that stands for the mean over all classes of a file.
pub const ALL_CLASSES: &str = "mean";

/// Scores a prediction against its truth. Volumes are read a few slices at a time, with that
/// many threads.
///
/// # Errors
/// Files that cannot be read or do not fit together.
pub fn score(
    plan: &EvaluationPlan,
    found: &Path,
    truth: &Path,
    threads: usize,
) -> Result<FileScores> {
    match plan.kind {
        EvaluationKind::Semantic => semantic(plan, found, truth, threads),
        EvaluationKind::Instances => objects(plan, found, truth, threads),
        EvaluationKind::Names => names(plan, found, truth),
    }
}

fn semantic(
    plan: &EvaluationPlan,
    found: &Path,
    truth: &Path,
    threads: usize,
) -> Result<FileScores> {
    let [found, truth] = open(plan, found, truth)?;
    let size = found.size();
    let spacing = plan.spacing.or(truth.voxel_size()).or(found.voxel_size()).unwrap_or([1.0; 3]);
    let spacing = plan.distances.then_some(spacing);
    let slabs = slabs(&*found, &*truth);
    let rate = |volumes: ClassVolumes<'_>| -> Result<Vec<ClassScores>> {
        let mut scorer = ClassScorer::new(size, volumes.first(), spacing);
        let mut strange = Strange::default();
        for slices in &slabs {
            let classes = volumes.read(slices)?;
            scorer.add(&classes.found, &classes.truth);
            strange.add(classes.strange);
        }
        volumes.warn(&strange);
        let classes = volumes.scored(scorer.most());
        Ok(scorer.finish(classes))
    };
    let mut classes: Vec<ClassRow> = Vec::new();
    let name = |index: usize, number: usize| match plan.class_names.get(index) {
        Some(name) => name.clone(),
        None => number.to_string(),
    };
    if plan.channels_apart {
        for channel in 0..found.channels() {
            let volumes = ClassVolumes::of_channel(plan, &*found, &*truth, channel, threads)?;
            for scores in rate(volumes)? {
                classes.push(ClassRow { class: name(channel, channel), scores: row(&scores) });
            }
        }
    } else {
        let volumes = ClassVolumes::new(plan, &*found, &*truth, threads)?;
        let first = usize::from(volumes.first());
        for (index, scores) in rate(volumes)?.iter().enumerate() {
            classes.push(ClassRow { class: name(index, first + index), scores: row(scores) });
        }
    }
    ensure!(
        plan.class_names.is_empty() || plan.class_names.len() == classes.len(),
        "{} class names, but {} has {} classes that are scored",
        plan.class_names.len(),
        found.describe(),
        classes.len()
    );
    if classes.len() > 1 {
        classes.push(mean_row(&classes));
    }
    Ok(FileScores { classes, names: None })
}

fn row(scores: &ClassScores) -> Vec<Option<f64>> {
    vec![
        scores.dice(),
        scores.iou(),
        scores.precision(),
        scores.recall(),
        scores.surface.map(|surface| surface.hausdorff95),
        scores.surface.map(|surface| surface.average),
        Some((scores.both + scores.only_truth) as f64),
        Some((scores.both + scores.only_found) as f64),
    ]
}

/// The mean over the classes that have a score; counts are summed.
fn mean_row(classes: &[ClassRow]) -> ClassRow {
    let scores = EvaluationKind::Semantic.scores().iter().enumerate().map(|(index, score)| {
        let values: Vec<f64> = classes.iter().filter_map(|row| row.scores[index]).collect();
        let sum: f64 = values.iter().sum();
        match score.better {
            None => Some(sum),
            Some(_) => (!values.is_empty()).then(|| sum / values.len() as f64),
        }
    });
    ClassRow { class: ALL_CLASSES.to_owned(), scores: scores.collect() }
}

/// The labels of two images, and which of them share voxels.
///
/// # Errors
/// Images that cannot be read or hold no labels.
pub fn label_pairs(volumes: &LabelVolumes<'_>, slabs: &[Range<usize>]) -> Result<LabelPairs> {
    let mut counter = PairCounter::default();
    for slices in slabs {
        let labels = volumes.read(slices)?;
        counter.add(&labels.truth, &labels.found, |label| volumes.leaves_out(label));
    }
    Ok(counter.finish())
}

fn objects(
    plan: &EvaluationPlan,
    found: &Path,
    truth: &Path,
    threads: usize,
) -> Result<FileScores> {
    let [found, truth] = open(plan, found, truth)?;
    let volumes = LabelVolumes::new(plan, &*found, &*truth, threads)?;
    let (scores, _) = object_scores(&label_pairs(&volumes, &slabs(&*found, &*truth))?);
    let mut row = vec![scores.mean_average_precision()];
    row.extend(scores.matches.iter().map(|matches| scores.average_precision(matches)));
    row.extend([scores.panoptic_quality(), scores.precision(), scores.recall()]);
    row.extend(
        [
            scores.rand_error,
            scores.variation_of_information(),
            scores.split_entropy,
            scores.merge_entropy,
            scores.truth as f64,
            scores.found as f64,
            scores.splits as f64,
            scores.merges as f64,
            scores.truth.abs_diff(scores.found) as f64,
        ]
        .map(Some),
    );
    Ok(FileScores { classes: vec![ClassRow { class: "objects".into(), scores: row }], names: None })
}

fn names(plan: &EvaluationPlan, found: &Path, truth: &Path) -> Result<FileScores> {
    let read = |path: &Path, least: f64| {
        human_labels(&read_text(path)?, least).with_context(|| path.display().to_string())
    };
    let names = name_scores(&read(found, f64::NEG_INFINITY)?, &read(truth, plan.min_confidence)?);
    ensure!(
        names.all.compared > 0,
        "no region of {} has one human name of confidence {} or more in {}",
        found.display(),
        plan.min_confidence,
        truth.display()
    );
    let all = &names.all;
    let row = vec![
        all.share(),
        all.share_but_for_side(),
        Some(1.0 - names.unknown as f64 / all.compared as f64),
        Some(all.compared as f64),
        Some(names.unknown as f64),
        Some(names.absent as f64),
    ];
    Ok(FileScores {
        classes: vec![ClassRow { class: "names".into(), scores: row }],
        names: Some(names),
    })
}
