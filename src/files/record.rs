//! A note of the inputs that a result was made from, by which it is known later whether
//! they are still the same.

use std::io;
use std::path::{Path, PathBuf};

use super::FileState;

/// The text that notes the present state of some files, a line each: size, time of the
/// last change, inode and absolute path. The first is the input that gives the result
/// its name.
///
/// # Errors
/// A file that is not there.
pub fn record(files: &[PathBuf]) -> io::Result<String> {
    let line = |path: &PathBuf| -> io::Result<String> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Ok(format!("{}, {}", FileState::of(path)?, absolute.display()))
    };
    Ok(files.iter().map(line).collect::<io::Result<Vec<_>>>()?.join("\n"))
}

/// Whether the files of a record are as they were. The first one is looked for under
/// `input`, as it may have been moved together with its result, the others where they
/// were.
pub fn is_current(record: &str, input: &Path) -> bool {
    let mut lines = record.lines().map(split);
    let unchanged = |state: &str, path: &Path| {
        FileState::of(path).is_ok_and(|found| found.to_string() == state)
    };
    matches!(lines.next(), Some(Some((state, _))) if unchanged(state, input))
        && lines.all(|line| line.is_some_and(|(state, path)| unchanged(state, path)))
}

/// Where the first file of a record was.
pub fn recorded_input(record: &str) -> Option<&Path> {
    record.lines().next().and_then(split).map(|(_, path)| path)
}

/// State and path of a line.
fn split(line: &str) -> Option<(&str, &Path)> {
    let (comma, _) = line.match_indices(", ").nth(2)?;
    Some((&line[..comma], Path::new(&line[comma + 2..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_record_is_current_until_one_of_its_files_changes() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, moved] = ["a, b", "c", "moved"].map(|name| folder.path().join(name));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        let text = record(&[a.clone(), b.clone()]).unwrap();
        assert!(is_current(&text, &a));
        assert_eq!(recorded_input(&text), Some(a.as_path()));
        assert!(!is_current(&text, &b) && !is_current("", &a) && !is_current("a, b", &a));
        fs::rename(&a, &moved).unwrap();
        assert!(is_current(&text, &moved) && !is_current(&text, &a));
        fs::write(&b, "bb").unwrap();
        assert!(!is_current(&text, &moved));
        assert!(record(&[a]).is_err());
    }
}
