//! Which label image belongs to which raw image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files;
use crate::format;

/// The endings that tell images from their labels in the names of files, as in
/// `15_img.nrrd` and `15_label.nrrd`.
const ENDINGS: [&str; 8] = ["image", "images", "img", "raw", "label", "labels", "mask", "seg"];

/// A raw image and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What the two names have in common.
    pub name: String,
    pub raw: PathBuf,
    pub label: PathBuf,
}

/// Pairs the images of two folders (or two single files) by their names, without
/// the format and an ending such as `_img` or `_label`; in natural order, t2
/// before t10. An image without a partner is an error that names it.
pub fn pair(raw: &Path, label: &Path) -> Result<Vec<Pair>> {
    if raw.is_file() && label.is_file() {
        let (raw, label) = (raw.to_path_buf(), label.to_path_buf());
        return Ok(vec![Pair { name: common_name(&raw), raw, label }]);
    }
    let mut labels = images(label)?;
    let mut pairs = Vec::new();
    let mut lonely = Vec::new();
    for (name, raw) in images(raw)? {
        match labels.remove(&name) {
            Some(label) => pairs.push(Pair { name, raw, label }),
            None => lonely.push(format!("{} has no label image", raw.display())),
        }
    }
    lonely.extend(labels.values().map(|label| format!("{} has no raw image", label.display())));
    ensure!(
        lonely.is_empty(),
        "images and labels are paired by name, as in 15_img.nrrd and 15_label.nrrd:\n  {}",
        lonely.join("\n  ")
    );
    pairs.sort_by(|a, b| files::by_natural_order(&a.name, &b.name));
    Ok(pairs)
}

/// The images of a folder by their common names.
fn images(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let extensions = format::extensions();
    let is_known = |found: &str| extensions.iter().any(|known| found.eq_ignore_ascii_case(known));
    let found = files::list(folder, is_known)
        .with_context(|| format!("{} cannot be read: give a folder of images", folder.display()))?;
    let mut images = BTreeMap::new();
    for path in found {
        if let Some(other) = images.insert(common_name(&path), path.clone()) {
            bail!("{} and {} have the same name", other.display(), path.display());
        }
    }
    ensure!(
        !images.is_empty(),
        "{} holds no image: none of its files ends in .{}",
        folder.display(),
        extensions.join(", .")
    );
    Ok(images)
}

fn common_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_ending = |text: &str| ENDINGS.iter().any(|ending| ending.eq_ignore_ascii_case(text));
    match stem.rsplit_once(['_', '-', '.']) {
        Some((name, ending)) if !name.is_empty() && is_ending(ending) => name.to_owned(),
        _ => stem.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        folder
    }

    #[test]
    fn names_lose_format_and_ending() {
        for (path, name) in [
            ("15_img.nrrd", "15"),
            ("a/worm_7_label.tiff", "worm_7"),
            ("t10.h5", "t10"),
            ("t10.seg.nrrd", "t10"),
            ("raw.tif", "raw"),
            ("_label.tif", "_label"),
        ] {
            assert_eq!(common_name(Path::new(path)), name);
        }
    }

    #[test]
    fn pairs_come_in_natural_order() {
        let raw = folder(&["t10_img.tif", "t2_img.tif", "notes.txt", ".t3_img.tif"]);
        let label = folder(&["t2_label.nrrd", "t10_label.nrrd"]);
        let pairs = pair(raw.path(), label.path()).unwrap();
        let names: Vec<_> = pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names, ["t2", "t10"]);
        assert_eq!(pairs[0].label, label.path().join("t2_label.nrrd"));
    }

    #[test]
    fn images_without_a_partner_are_all_named() {
        let raw = folder(&["1.tif", "2.tif"]);
        let label = folder(&["2.tif", "3.tif"]);
        let error = pair(raw.path(), label.path()).unwrap_err().to_string();
        assert!(error.contains("1.tif has no label") && error.contains("3.tif has no raw"));
        assert!(!error.contains("2.tif has"), "{error}");
    }

    #[test]
    fn an_empty_folder_is_named() {
        let (raw, label) = (folder(&["a.txt"]), folder(&["a.tif"]));
        let error = pair(raw.path(), label.path()).unwrap_err().to_string();
        assert!(error.contains("holds no image"), "{error}");
    }
}
