//! Which truth belongs to which prediction.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files;
use crate::format;
use crate::instances::partners::{name_of, partners, shown};
use crate::volume::VolumeReader;

use super::plan::{EvaluationKind, EvaluationPlan};

/// A prediction, its truth, and the prediction it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationPair {
    /// Name of both in tables.
    pub name: String,
    pub found: PathBuf,
    pub truth: PathBuf,
    /// The other prediction of the same volume.
    pub against: Option<PathBuf>,
    pub raw: Vec<PathBuf>,
}

/// Finds the truth of each prediction, by its name.
///
/// # Errors
/// Paths that do not exist, folders without predictions, predictions without truth.
pub fn pair_files(
    kind: EvaluationKind,
    found: &Path,
    truth: &Path,
    against: Option<&Path>,
    raw: Option<&Path>,
) -> Result<Vec<EvaluationPair>> {
    let predictions = predictions(kind, found)?;
    let others = against.map(|place| predictions_by_name(kind, place)).transpose()?;
    let single = predictions.len() == 1;
    ensure!(
        single || !truth.is_file(),
        "{} is one file for {} predictions: name a folder",
        shown(truth),
        predictions.len()
    );
    let pairs = predictions.into_iter().map(|found| {
        let name = name_of(&found);
        let truth = match kind {
            EvaluationKind::Names => table_of(truth, &found)?,
            _ => match &partners(truth, &found, None)?[..] {
                [only] => only.clone(),
                several => bail!("several images belong to {}: {several:?}", shown(&found)),
            },
        };
        let against = match &others {
            None => None,
            Some(others) if single && others.len() == 1 => Some(others[0].1.clone()),
            Some(others) => {
                let other = others.iter().find(|(other, _)| *other == name);
                Some(other.map(|(_, path)| path.clone()).with_context(|| {
                    format!(
                        "{}: no prediction there is named as {}",
                        against.map(shown).unwrap_or_default(),
                        shown(&found)
                    )
                })?)
            }
        };
        let raw = match raw {
            Some(place) => partners(place, &found, None)?,
            None => Vec::new(),
        };
        Ok(EvaluationPair { name, found, truth, against, raw })
    });
    pairs.collect()
}

fn predictions_by_name(kind: EvaluationKind, place: &Path) -> Result<Vec<(String, PathBuf)>> {
    Ok(predictions(kind, place)?.into_iter().map(|path| (name_of(&path), path)).collect())
}

/// A file, or the files of a folder: those whose names end as predictions of the kind do,
/// or else all that can be read.
fn predictions(kind: EvaluationKind, place: &Path) -> Result<Vec<PathBuf>> {
    ensure!(place.exists(), "{}: no such file or folder", shown(place));
    if !place.is_dir() || format::is_store(place) {
        return Ok(vec![place.to_path_buf()]);
    }
    let (extensions, all) = match kind {
        EvaluationKind::Names => {
            (vec!["csv"], files::list(place, |end| end.eq_ignore_ascii_case("csv")))
        }
        _ => (format::extensions(), format::images(place)),
    };
    let all = all.with_context(|| shown(place))?;
    let endings: &[&str] = match kind {
        EvaluationKind::Semantic => &["_predictions"],
        EvaluationKind::Instances => &["_instances", "_predictions"],
        EvaluationKind::Names => &["_labels"],
    };
    for ending in endings {
        let named: Vec<PathBuf> =
            all.iter().filter(|file| format::stem(file).ends_with(ending)).cloned().collect();
        if !named.is_empty() {
            return Ok(named);
        }
    }
    ensure!(
        !all.is_empty(),
        "{}: the folder has no predictions ({})",
        shown(place),
        extensions.iter().map(|end| format!("*.{end}")).collect::<Vec<_>>().join(", ")
    );
    Ok(all)
}

/// The table of human labels of an animal: the file, or that of the folder whose name
/// begins as the prediction's.
fn table_of(place: &Path, found: &Path) -> Result<PathBuf> {
    ensure!(place.exists(), "{}: no such file or folder", shown(place));
    if !place.is_dir() {
        return Ok(place.to_path_buf());
    }
    let name = name_of(found);
    let stem = name.strip_suffix("_labels").unwrap_or(&name);
    let tables = files::list(place, |end| end.eq_ignore_ascii_case("csv"))?;
    let named = |file: &PathBuf| {
        let other = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        other
            .strip_prefix(stem)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ' ', '-', '.']))
    };
    let fitting: Vec<PathBuf> = tables.into_iter().filter(named).collect();
    match &fitting[..] {
        [only] => Ok(only.clone()),
        [] => bail!(
            "{}: no table belongs to {}; its name would begin with {stem}",
            shown(place),
            shown(found)
        ),
        several => bail!("several tables belong to {}: {several:?}", shown(found)),
    }
}

/// What the predictions are, judged by the first of them: tables are names, data sets
/// `instances` and whole numbers are objects, the rest probabilities.
pub fn guess_kind(place: &Path) -> Result<EvaluationKind> {
    ensure!(place.exists(), "{}: no such file or folder", shown(place));
    let is_table =
        |path: &Path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
    if place.is_file() && is_table(place) {
        return Ok(EvaluationKind::Names);
    }
    let volumes = predictions(EvaluationKind::Semantic, place);
    let first = match &volumes {
        Ok(volumes) => &volumes[0],
        Err(_) if predictions(EvaluationKind::Names, place).is_ok() => {
            return Ok(EvaluationKind::Names);
        }
        Err(_) => return volumes.map(|_| EvaluationKind::Semantic),
    };
    let file = format::open_file(first)?;
    if file.has("predictions") {
        return Ok(EvaluationKind::Semantic);
    }
    if file.has("instances") {
        return Ok(EvaluationKind::Instances);
    }
    let volume = file.volume("predictions")?;
    Ok(if volume.element().is_float() {
        EvaluationKind::Semantic
    } else {
        EvaluationKind::Instances
    })
}

/// Opens a prediction and its truth.
pub fn open(
    plan: &EvaluationPlan,
    found: &Path,
    truth: &Path,
) -> Result<[std::sync::Arc<dyn VolumeReader>; 2]> {
    let usual: &[&str] = match plan.kind {
        EvaluationKind::Instances => &["instances", "predictions", "label"],
        _ => &["predictions", "instances"],
    };
    let one = |path: &Path, given: &Option<String>, usual: &[&str]| {
        let file = format::open_file(path)?;
        let name = match given {
            Some(name) => name.as_str(),
            None => usual.iter().find(|name| file.has(name)).unwrap_or(&usual[0]),
        };
        file.volume(name)
    };
    Ok([
        one(found, &plan.prediction_dataset, usual)?,
        one(truth, &plan.truth_dataset, &["label", "labels", "instances"])?,
    ])
}
