//! Names of files of volumes: stems, choices at the end of paths, and what images and
//! their labels have in common.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::axes::ReadOptions;
use super::{FORMATS, zarr};

/// The endings that tell images from their labels in the names of files, as in
/// `15_img.nrrd`, `15_label.nrrd` and `15_cp_masks.tif`.
const ENDINGS: [&str; 5] = ["image", "images", "img", "raw", "weight"];

/// Those of labels alone.
const LABEL_ENDINGS: [&str; 6] = ["cp_masks", "label", "labels", "mask", "masks", "seg"];

/// The name of a file without an extension of those, the longest that fits; `None` if it
/// has none of them or nothing else.
pub(super) fn without_extension<'a>(name: &'a str, extensions: &[&str]) -> Option<&'a str> {
    let stems = extensions.iter().filter_map(|extension| {
        name.strip_suffix(extension)?.strip_suffix('.').filter(|stem| !stem.is_empty())
    });
    stems.min_by_key(|stem| stem.len())
}

/// The file or directory that a path names, without choices such as `:t=3` at its end.
pub fn file_of(path: &Path) -> PathBuf {
    match choices(path, &ReadOptions::default()) {
        Ok((file, _)) => file,
        Err(_) => path.to_path_buf(),
    }
}

/// Splits the choices off the end of a path, where they are no part of a file's name.
///
/// # Errors
/// A choice that cannot be made.
pub(super) fn choices(path: &Path, options: &ReadOptions) -> Result<(PathBuf, ReadOptions)> {
    let mut options = options.clone();
    let mut text = match path.to_str() {
        Some(text) if !path.exists() => text,
        _ => return Ok((path.to_path_buf(), options)),
    };
    while let Some((file, choice)) = text.rsplit_once(':') {
        let Some((key, value)) = choice.split_once('=').filter(|_| !choice.contains('/')) else {
            break;
        };
        let mut letters = key.chars();
        match (letters.next(), letters.next(), value.parse()) {
            _ if key == "axes" => options.axes = Some(ReadOptions::parse_axes(value)?),
            (Some(axis), None, Ok(index)) => {
                options.chosen.insert(0, (axis.to_ascii_lowercase(), index));
            }
            _ => bail!(
                "{text}: `:{choice}` is no choice; the end of a path may be an axis with a number, \
                 as in `:t=3`, or `:axes=zyx`"
            ),
        }
        text = file;
        if Path::new(text).exists() {
            break;
        }
    }
    Ok((PathBuf::from(text), options))
}

/// Whether a path says what the axes of its file are.
pub fn says_axes(path: &Path) -> bool {
    choices(path, &ReadOptions::default()).is_ok_and(|(_, options)| options.axes.is_some())
}

/// The name of a file of volumes without its extension: `v` for `v.ome.tif`, `v.nii.gz`
/// and `v.zarr`. Choices of a part of the volume are in it: `v_t3` for `v.tif:t=3`. Of an
/// array within a store it is the name of the store with that of the array: `v_0` for
/// `v.zarr/0`.
pub fn stem(path: &Path) -> String {
    output_place(path).1
}

/// Where results that belong to a file are put, its folder, and the stem of their names.
pub fn output_place(path: &Path) -> (PathBuf, String) {
    let file = file_of(path);
    let choices = path.to_string_lossy()[file.to_string_lossy().len()..].to_owned();
    let store = zarr::root(&file).unwrap_or(&file);
    let within = file.strip_prefix(store).map(|rest| rest.to_string_lossy().replace('/', "_"));
    let name = store.file_name().unwrap_or_default().to_string_lossy();
    let all: Vec<&str> = FORMATS.iter().flat_map(|format| format.extensions).copied().collect();
    let lower = name.to_ascii_lowercase();
    let stem = match without_extension(&lower, &all) {
        Some(stem) => name[..stem.len()].to_owned(),
        None => {
            let stem = Path::new(&*name).file_stem().unwrap_or_default();
            stem.to_string_lossy().into_owned()
        }
    };
    // What axes a file has chooses no part of it.
    let chosen: Vec<&str> = choices.split(':').filter(|text| !text.starts_with("axes=")).collect();
    let chosen = chosen.join(":").replace(['=', '/'], "");
    let parts = [stem, within.unwrap_or_default(), chosen];
    let parts: Vec<String> = parts
        .iter()
        .flat_map(|part| part.split(':'))
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    (store.parent().unwrap_or(Path::new("")).to_path_buf(), parts.join("_"))
}

/// What the names of an image and its labels have in common: the stem without an ending
/// such as `_img` or `_label`.
pub fn common_name(path: &Path) -> String {
    let stem = stem(path);
    match without_ending(&stem, ENDINGS.iter().chain(&LABEL_ENDINGS)) {
        Some(length) => stem[..length].to_owned(),
        None => stem,
    }
}

/// Whether the name of a file says that it holds labels, as `t1_cp_masks.tif` does.
pub fn is_label_name(path: &Path) -> bool {
    without_ending(&stem(path), LABEL_ENDINGS.iter()).is_some()
}

/// The length of a name without the longest of the endings that it has.
fn without_ending<'a>(
    stem: &str,
    endings: impl Iterator<Item = &'a &'static str>,
) -> Option<usize> {
    let lower = stem.to_ascii_lowercase();
    let rests = endings.filter_map(|ending| {
        let rest = lower.strip_suffix(ending)?.strip_suffix(['_', '-', '.'])?;
        (!rest.is_empty()).then_some(rest.len())
    });
    rests.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_lose_all_of_an_extension() {
        for (path, expected) in [
            ("a/v.ome.tif", "v"),
            ("v.OME.TIFF", "v"),
            ("v.nii.gz", "v"),
            ("v.zarr", "v"),
            ("v.1.tif", "v.1"),
            ("v.h5", "v"),
            ("v.other", "v"),
            ("v", "v"),
            (".tif", ".tif"),
            ("v.tif:t=3", "v_t3"),
            ("v.tif:axes=tzyx:t=3", "v_t3"),
        ] {
            assert_eq!(stem(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn arrays_of_a_store_have_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let array = folder.path().join("v.zarr/a/0");
        std::fs::create_dir_all(&array).unwrap();
        for place in ["v.zarr", "v.zarr/a", "v.zarr/a/0"] {
            std::fs::write(folder.path().join(place).join("zarr.json"), "{}").unwrap();
        }
        assert_eq!(output_place(&array), (folder.path().to_path_buf(), "v_a_0".to_owned()));
    }

    #[test]
    fn choices_stand_at_the_end_of_a_path() {
        let split = |path: &str| choices(Path::new(path), &ReadOptions::default());
        let (file, options) = split("a:b/v.tif:t=3:c=1").unwrap();
        assert_eq!(file, Path::new("a:b/v.tif"));
        assert_eq!(options.chosen, [('t', 3), ('c', 1)]);
        assert_eq!(split("v.tif:axes=zyx").unwrap().1.axes.as_deref(), Some("zyx"));
        assert_eq!(split("a:t=3/v.tif").unwrap().0, Path::new("a:t=3/v.tif"));
        assert!(split("v.tif:time=3").unwrap_err().to_string().contains("no choice"));
    }

    #[test]
    fn images_and_labels_have_a_name_in_common() {
        for (path, name) in [
            ("15_img.nrrd", "15"),
            ("a/worm_7_label.tiff", "worm_7"),
            ("t10.h5", "t10"),
            ("t10.seg.nrrd", "t10"),
            ("t1_cp_masks.ome.tif", "t1"),
            ("t1_Masks.tif", "t1"),
            ("raw.tif", "raw"),
            ("_label.tif", "_label"),
        ] {
            assert_eq!(common_name(Path::new(path)), name);
        }
        assert!(is_label_name(Path::new("t1_cp_masks.tif")));
        assert!(is_label_name(Path::new("t1-seg.nrrd")) && !is_label_name(Path::new("t1_img.tif")));
    }
}
