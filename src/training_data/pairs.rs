//! Which label image belongs to which raw image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files;
use crate::format::{self, common_name, is_label_name};

/// A raw image and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What the two names have in common.
    pub name: String,
    pub raw: PathBuf,
    /// `None` for an image that is to be predicted.
    pub label: Option<PathBuf>,
}

/// Pairs the images of two folders (or two single files) by their names, without
/// the format and an ending such as `_img` or `_label`; in natural order, t2
/// before t10. Both may lie in one folder if the names of the labels have an ending.
///
/// # Errors
/// An image without a partner; the message names all of them.
pub fn pair(raw: &Path, label: &Path) -> Result<Vec<Pair>> {
    if is_image(raw) && is_image(label) {
        let (raw, label) = (raw.to_path_buf(), Some(label.to_path_buf()));
        return Ok(vec![Pair { name: common_name(&raw), raw, label }]);
    }
    let together = files::identity(raw).is_some() && files::identity(raw) == files::identity(label);
    let mut labels = by_name(label, |path| !together || is_label_name(path))?;
    let mut pairs = Vec::new();
    let mut lonely = Vec::new();
    for (name, raw) in by_name(raw, |path| !together || !is_label_name(path))? {
        match labels.remove(&name) {
            Some(label) => pairs.push(Pair { name, raw, label: Some(label) }),
            None => lonely.push(format!("{} has no label image", raw.display())),
        }
    }
    lonely.extend(labels.values().map(|label| format!("{} has no raw image", label.display())));
    ensure!(
        lonely.is_empty(),
        "images and labels are paired by name, as in 15_img.nrrd and 15_label.nrrd:\n  {}",
        lonely.join("\n  ")
    );
    Ok(in_order(pairs))
}

/// The images of a folder, or a single image, without labels; in natural order.
///
/// # Errors
/// A folder without images.
pub fn images(raw: &Path) -> Result<Vec<Pair>> {
    if is_image(raw) {
        let (name, raw) = (common_name(raw), raw.to_path_buf());
        return Ok(vec![Pair { name, raw, label: None }]);
    }
    let images = by_name(raw, |_| true)?;
    Ok(in_order(images.into_iter().map(|(name, raw)| Pair { name, raw, label: None }).collect()))
}

fn in_order(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_by(|a, b| files::by_natural_order(&a.name, &b.name));
    pairs
}

fn is_image(path: &Path) -> bool {
    format::is_volume(path)
}

/// The images of a folder by their common names, those that are `wanted`.
fn by_name(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<BTreeMap<String, PathBuf>> {
    let unreadable = || format!("{} cannot be read: give a folder of images", folder.display());
    let mut found = format::images(folder).with_context(unreadable)?;
    found.extend(files::list(folder, |extension| extension.eq_ignore_ascii_case("png"))?);
    let mut images = BTreeMap::new();
    for path in found.into_iter().filter(|path| wanted(path)) {
        if let Some(other) = images.insert(common_name(&path), path.clone()) {
            bail!("{} and {} have the same name", other.display(), path.display());
        }
    }
    if images.is_empty() {
        let arrays = files::list(folder, |extension| extension == "npy")?;
        ensure!(
            arrays.is_empty(),
            "{} holds no image, and {} is not read: save masks as TIFF (Cellpose: `--save_tif`, or \
             File > Save masks as PNG/tif)",
            folder.display(),
            arrays[0].display()
        );
        bail!(
            "{} holds no image: none of its files ends in .png, .{}",
            folder.display(),
            format::extensions().join(", .")
        );
    }
    Ok(images)
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
    fn pairs_come_in_natural_order() {
        let raw = folder(&["t10_img.tif", "t2_img.tif", "notes.txt", ".t3_img.tif"]);
        let label = folder(&["t2_label.nrrd", "t10_label.nrrd"]);
        let pairs = pair(raw.path(), label.path()).unwrap();
        let names: Vec<_> = pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names, ["t2", "t10"]);
        assert_eq!(pairs[0].label, Some(label.path().join("t2_label.nrrd")));
    }

    #[test]
    fn labels_may_lie_beside_images() {
        let both = folder(&["t1.tif", "t1_cp_masks.tif", "t2.tif", "t2_seg.png", "t2_seg.npy"]);
        let pairs = pair(both.path(), both.path()).unwrap();
        assert_eq!(pairs[1].raw, both.path().join("t2.tif"));
        assert_eq!(pairs[1].label, Some(both.path().join("t2_seg.png")));
        assert_eq!(images(folder(&["t1.tif", "t2.tif"]).path()).unwrap().len(), 2);
        let error = images(folder(&["t1_seg.npy"]).path()).unwrap_err().to_string();
        assert!(error.contains("t1_seg.npy") && error.contains("TIFF"), "{error}");
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
