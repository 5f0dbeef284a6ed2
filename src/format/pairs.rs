//! Which file belongs to which, by names and order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::common_name;

/// The partner of each file, in the order of the files. Files of the same name, without
/// formats and endings such as `_img` or `_label`, belong together; of several such
/// files, as `t1` of several folders, the first belongs to the first. Where no two names
/// are the same and there are as many files as partners, their order decides.
///
/// # Errors
/// A message that lists all files without a partner. `files` and `partners` say what
/// they are, such as "raw file" and "label file".
pub fn pair(
    (raw, files): (&[PathBuf], &str),
    (others, partners): (&[PathBuf], &str),
) -> Result<Vec<PathBuf>, String> {
    let mut by_name = by_name(others);
    let found: Vec<Option<PathBuf>> = raw
        .iter()
        .map(|path| {
            let same = by_name.get_mut(&common_name(path)).filter(|same| !same.is_empty())?;
            Some(same.remove(0).to_path_buf())
        })
        .collect();
    let left: Vec<&Path> = by_name.into_values().flatten().collect();
    if left.is_empty() && found.iter().all(Option::is_some) {
        return Ok(found.into_iter().flatten().collect());
    }
    if found.iter().all(Option::is_none) && raw.len() == others.len() {
        if let ([first, _, ..], [other, ..]) = (raw, others) {
            log::info!(
                "no {files} has the name of a {partners}: they are paired in their order, {} with {}",
                first.display(),
                other.display()
            );
        }
        return Ok(others.to_vec());
    }
    let lonely = raw.iter().zip(&found).filter(|(_, found)| found.is_none());
    let lonely = lonely.map(|(path, _)| format!("{} has no {partners}", path.display()));
    let left = left.into_iter().map(|path| format!("{} has no {files}", path.display()));
    let lines: Vec<String> = lonely.chain(left).collect();
    Err(format!(
        "files are paired by name, as 15_img.tif and 15_label.tif:\n  {}",
        lines.join("\n  ")
    ))
}

fn by_name(paths: &[PathBuf]) -> BTreeMap<String, Vec<&Path>> {
    let mut by_name: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
    for path in paths {
        by_name.entry(common_name(path)).or_default().push(path);
    }
    by_name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    fn found(raw: &[&str], others: &[&str]) -> Result<Vec<PathBuf>, String> {
        pair((&paths(raw), "raw file"), (&paths(others), "label file"))
    }

    #[test]
    fn names_go_before_order() {
        let pairs = found(&["a/t1_img.tif", "a/t2_img.tif"], &["b/t2_mask.nrrd", "b/t1_seg.h5"]);
        assert_eq!(pairs.unwrap(), paths(&["b/t1_seg.h5", "b/t2_mask.nrrd"]));
        let pairs = found(&["1/t.tif", "2/t.tif"], &["1/t_mask.tif", "2/t_mask.tif"]);
        assert_eq!(pairs.unwrap(), paths(&["1/t_mask.tif", "2/t_mask.tif"]));
    }

    #[test]
    fn order_decides_where_names_say_nothing() {
        let pairs = found(&["a/img_1.tif", "a/img_2.tif"], &["b/truth_1.tif", "b/truth_2.tif"]);
        assert_eq!(pairs.unwrap(), paths(&["b/truth_1.tif", "b/truth_2.tif"]));
        assert_eq!(found(&["a.tif"], &["b.tif"]).unwrap(), paths(&["b.tif"]));
    }

    #[test]
    fn all_files_without_a_partner_are_listed() {
        let message = found(&["t1.tif", "t2.tif"], &["t2.tif", "t3.tif", "t4.tif"]).unwrap_err();
        for line in ["t1.tif has no label file", "t3.tif has no raw file", "t4.tif has no raw"] {
            assert!(message.contains(line), "{message}");
        }
        assert!(!message.contains("t2.tif has"), "{message}");
        assert!(found(&["u1.tif"], &["v1.tif", "v2.tif"]).is_err());
    }
}
