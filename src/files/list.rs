//! The files of a directory.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The ordinary files of a directory whose extension is `wanted`, without those
/// that begin with a dot and without those in subdirectories, in natural order (t2
/// before t10).
pub fn list(directory: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    list_paths(directory, |path| {
        wanted(&path.extension().unwrap_or_default().to_string_lossy()) && path.is_file()
    })
}

/// What is in a directory and `wanted`, without names that begin with a dot, in natural
/// order.
pub fn list_paths(directory: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let path = directory.join(&name);
        if !name.as_encoded_bytes().starts_with(b".") && wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| by_natural_order(&name_of(a), &name_of(b)));
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Compares numbers within names by their value: t2 before t10.
pub fn by_natural_order(a: &str, b: &str) -> Ordering {
    natord::compare(a, b).then_with(|| a.cmp(b))
}
