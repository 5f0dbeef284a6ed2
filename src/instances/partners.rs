//! Which image belongs to which prediction, by their names.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files;
use crate::format;

use super::antsun::{channel, time_point};

/// What the name of a prediction says it is a prediction of: `7` for
/// `7_predictions.h5` or `7_instances.h5`.
pub fn name_of(prediction: &Path) -> String {
    let stem = format::stem(prediction);
    let name = ["_predictions", "_instances"].iter().find_map(|ending| stem.strip_suffix(ending));
    name.unwrap_or(&stem).to_owned()
}

/// The files that are predictions among those named: a folder stands for its files of
/// volumes, or, if some are named `*_predictions`, for these alone.
///
/// # Errors
/// A path that does not exist, and a folder without such files.
pub fn predictions(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() || format::is_store(path) {
            ensure!(path.exists(), "{}: no such file or folder", shown(path));
            found.push(path.clone());
            continue;
        }
        let files = images(path)?;
        let named: Vec<PathBuf> = files
            .iter()
            .filter(|file| format::stem(file).ends_with("_predictions"))
            .cloned()
            .collect();
        let chosen = if named.is_empty() { files } else { named };
        ensure!(!chosen.is_empty(), "{}: the folder has no files of volumes", shown(path));
        found.extend(chosen);
    }
    Ok(found)
}

/// The images that belong to a prediction: the file that `place` names, or those of the
/// folder `place` that have the prediction's name, with or without an ending such as
/// `_raw`, or its time point, as `worm_t0007_ch2`. Several are the channels of one
/// image, in natural order; `wanted` picks one of them by its number.
///
/// # Errors
/// No such image.
pub fn partners(place: &Path, prediction: &Path, wanted: Option<u64>) -> Result<Vec<PathBuf>> {
    ensure!(place.exists(), "{}: no such file or folder", shown(place));
    if !place.is_dir() || format::is_store(place) {
        return Ok(vec![place.to_path_buf()]);
    }
    let name = name_of(prediction);
    let time = time_point(&name);
    let stem = |file: &PathBuf| format::stem(file);
    let files = images(place)?;
    let same = |file: &&PathBuf| {
        let stem = stem(file);
        stem.strip_prefix(&name).is_some_and(|rest| {
            ["", "_raw", "_img", "_image", "_label", "_labels", "_mask", "_seeds"].contains(&rest)
        })
    };
    let mut found: Vec<PathBuf> = files.iter().filter(same).cloned().collect();
    if found.is_empty() && time.is_some() {
        let same_time = |file: &&PathBuf| time_point(&stem(file)) == time;
        found = files.iter().filter(same_time).cloned().collect();
    }
    if let Some(wanted) = wanted {
        let without = found.clone();
        found.retain(|file| channel(&stem(file)) == Some(wanted));
        ensure!(
            !found.is_empty() || without.is_empty(),
            "{}: no image of channel {wanted} belongs to {}",
            shown(place),
            shown(prediction)
        );
    }
    if found.len() > 1 && found.iter().any(|file| channel(&stem(file)).is_none()) {
        let names: Vec<String> = found.iter().map(|file| shown(file)).collect();
        bail!("several images belong to {}: {}", shown(prediction), names.join(", "));
    }
    ensure!(
        !found.is_empty(),
        "{}: no image belongs to {}; its name would be {name}",
        shown(place),
        shown(prediction)
    );
    Ok(found)
}

fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let extensions = format::extensions();
    files::list(folder, |extension| extensions.contains(&extension.to_ascii_lowercase().as_str()))
        .with_context(|| shown(folder))
}

/// A path as messages name it.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn images_are_found_by_name_and_by_time_point() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in
            ["a_t0007_ch1.nrrd", "a_t0007_ch2.nrrd", "a_t0017_ch2.nrrd", "b.h5", "notes.txt"]
        {
            fs::write(place(name), "").unwrap();
        }
        let found = |name: &str, wanted| partners(folder.path(), Path::new(name), wanted);
        assert_eq!(
            found("7_predictions.h5", None).unwrap(),
            [place("a_t0007_ch1.nrrd"), place("a_t0007_ch2.nrrd")]
        );
        assert_eq!(found("7_predictions.h5", Some(2)).unwrap(), [place("a_t0007_ch2.nrrd")]);
        assert_eq!(found("b_predictions.h5", None).unwrap(), [place("b.h5")]);
        assert!(found("8_predictions.h5", None).unwrap_err().to_string().contains("would be 8"));
        fs::write(place("b_raw.h5"), "").unwrap();
        assert!(found("b.h5", None).unwrap_err().to_string().contains("several"));
        assert_eq!(partners(&place("b.h5"), Path::new("c.h5"), None).unwrap(), [place("b.h5")]);
    }

    #[test]
    fn a_folder_stands_for_its_predictions() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        assert!(predictions(&[folder.path().into()]).is_err());
        fs::write(place("1.h5"), "").unwrap();
        assert_eq!(predictions(&[folder.path().into()]).unwrap(), [place("1.h5")]);
        fs::write(place("1_predictions.h5"), "").unwrap();
        assert_eq!(predictions(&[folder.path().into()]).unwrap(), [place("1_predictions.h5")]);
        assert!(predictions(&[place("2.h5")]).unwrap_err().to_string().contains("no such file"));
    }
}
