//! The files of a directory.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The ordinary files of a directory whose extension is `wanted`, without those
/// that begin with a dot and without those in subdirectories, in natural order (t2
/// before t10).
pub fn list(directory: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let path = directory.join(&name);
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && wanted(&extension) && path.is_file() {
            files.push(path);
        }
    }
    files.sort_by(|a, b| by_natural_order(&name_of(a), &name_of(b)));
    Ok(files)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Compares numbers within names by their value: t2 before t10.
pub fn by_natural_order(a: &str, b: &str) -> Ordering {
    natord::compare(a, b).then_with(|| a.cmp(b))
}
