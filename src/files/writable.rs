//! Whether a directory can be written, found out without a trace.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Checks that a directory can be written or, if it does not exist, that it can be
/// made. Leaves nothing behind.
///
/// # Errors
/// Why a file cannot be made there; something that is no directory on the way.
pub fn check_writable(directory: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(directory)?;
    for folder in absolute.ancestors() {
        match fs::metadata(folder) {
            // Where the system allows it, the file never gets a name.
            Ok(found) if found.is_dir() => return tempfile::tempfile_in(folder).map(drop),
            Ok(_) => return Err(ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if fs::symlink_metadata(folder).is_ok() {
                    // A link that leads nowhere: no directory can be made there.
                    return Err(error);
                }
            }
            // Below a file; the file itself comes next.
            Err(error) if error.kind() == ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_looked_at_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        check_writable(folder.path()).unwrap();
        check_writable(&folder.path().join("a/b/c")).unwrap();
        assert!(check_writable(&file).is_err());
        assert!(check_writable(&file.join("below")).is_err());
        assert!(check_writable(Path::new("/proc/none")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
