//! Where a file would be made, whatever links and spellings lead there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

/// Links that may follow one another, as many as Linux follows.
const LINKS: usize = 40;

/// The absolute path of the file that would be made or replaced under `path`, with no
/// links, `.` or `..` on the way to it. Neither the file nor its directories need exist:
/// two paths lead to one file exactly if their destinations are equal. A link under the
/// last name is not followed, as a new file takes the place of the link itself.
///
/// # Errors
/// Links that lead to themselves, and directories that cannot be looked into.
pub fn destination(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok(follow(folder)?.join(name)),
        _ => follow(path),
    }
}

/// Whether anything stands under a path, be it a link that leads nowhere.
pub fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The path without links, `.` and `..`.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let mut waiting: VecDeque<Part> = parts(&std::path::absolute(path)?).collect();
    let mut found = PathBuf::new();
    let mut links = 0;
    while let Some(part) = waiting.pop_front() {
        let name = match part {
            Part::Root => {
                found = PathBuf::from("/");
                continue;
            }
            Part::Parent => {
                found.pop();
                continue;
            }
            Part::Name(name) => name,
        };
        let next = found.join(name);
        match fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > LINKS {
                    return Err(io::Error::other(format!(
                        "{} is a link that leads to itself",
                        next.display()
                    )));
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    waiting.push_front(part);
                }
            }
            // No link, or nothing there.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::NotADirectory
                ) =>
            {
                found = next;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A part of a path that is still to be followed.
enum Part {
    Root,
    Parent,
    Name(OsString),
}

fn parts(path: &Path) -> impl Iterator<Item = Part> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Parent),
        Component::Normal(name) => Some(Part::Name(name.to_os_string())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn all_spellings_of_a_path_lead_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("real/deep")).unwrap();
        symlink("real", at("relative")).unwrap();
        symlink(at("real/deep"), at("absolute")).unwrap();
        symlink("deep", at("real/link.h5")).unwrap();
        symlink("real/../new", at("nowhere")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for (spelling, meant) in [
            ("real/a.h5", "real/a.h5"),
            ("./real/./a.h5", "real/a.h5"),
            ("real/deep/../a.h5", "real/a.h5"),
            ("relative/a.h5", "real/a.h5"),
            // `..` of a link is the parent of what it leads to.
            ("absolute/../a.h5", "real/a.h5"),
            ("relative/link.h5", "real/link.h5"),
            ("nowhere/a.h5", "new/a.h5"),
            ("not/there/yet/../a.h5", "not/there/a.h5"),
        ] {
            assert_eq!(destination(&at(spelling)).unwrap(), at(meant), "{spelling}");
        }
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(destination(Path::new("a.h5")).unwrap(), here.join("a.h5"));
        assert!(destination(&at("loop/a.h5")).unwrap_err().to_string().contains("itself"));
    }
}
