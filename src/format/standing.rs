//! What stands under the name of a result: whether it may be replaced, and whether it is
//! whole.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Result, bail};

use super::headed;
use super::notes::CHECKSUM;
use super::{FORMATS, ReadOptions};
use crate::files::InputFile;
use crate::volume::VolumeReader;

/// Attribute of a file of results: the command that wrote it.
pub const MADE_BY: &str = "made_by";

/// By what the files of a command are known again. What is in a file beside the volumes
/// and attributes named here somebody else has added.
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    /// Text of the attribute [`MADE_BY`].
    pub made_by: &'static str,
    /// Names of the volumes that the command writes.
    pub volumes: &'a [&'a str],
    /// Names of the other attributes of the file.
    pub attributes: &'static [&'static str],
    /// Attributes by which files of versions without [`MADE_BY`] are known, all of them.
    pub earlier: &'static [&'static str],
    /// What is said of a file without the mark, as in "holds no predictions".
    pub otherwise: &'static str,
}

/// What stands under the name of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// A file of this command, with the voxels that it wrote.
    Whole,
    /// A file of this command without a checksum, as earlier versions wrote it.
    Unverified,
    /// A file of this command that can no longer be read, and why.
    Damaged(String),
    /// A file of this command that was changed since, and in what.
    Changed(String),
    /// Anything else: a clause that says what.
    Foreign(String),
}

/// What stands under a path, for the command whose mark it is. The voxels of a file that
/// carries the mark are read and compared with their checksum.
pub fn standing(path: &Path, mark: &Mark<'_>) -> Standing {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Standing::Absent,
        // What is in the way is named when the file is made.
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Standing::Absent,
        Err(error) => return Standing::Foreign(format!("cannot be looked at: {error}")),
        Ok(found) if found.is_symlink() && !path.exists() => {
            return Standing::Foreign("is a link that leads nowhere".into());
        }
        Ok(_) => {}
    }
    if let Some(format) = FORMATS.iter().find(|format| (format.is_store)(path)) {
        return (format.standing)(path, mark);
    }
    // Opening a pipe would wait for its writer.
    let file = path.is_file().then(|| File::open(path).ok()).flatten();
    let by_content = file.and_then(|file| FORMATS.iter().find(|format| (format.recognises)(&file)));
    match by_content.or_else(|| FORMATS.iter().find(|format| format.has_extension_of(path))) {
        Some(format) => (format.standing)(path, mark),
        None => Standing::Foreign(format!("exists and {}", mark.otherwise)),
    }
}

/// What stands under the path of a file that holds one volume and our notes.
pub(super) fn of_single(path: &Path, mark: &Mark<'_>) -> Standing {
    let foreign = || Standing::Foreign(format!("exists and {}", mark.otherwise));
    if path.is_dir() {
        return foreign();
    }
    let file = match super::open_exactly(path, &ReadOptions::default()) {
        Ok(file) => file,
        // Cut off or overwritten, but begun by this command.
        Err(error) if mentions(path, mark.made_by) => {
            return Standing::Damaged(format!("{error:#}"));
        }
        Err(_) => return foreign(),
    };
    let text = |name: &str| file.attribute(name).ok().flatten();
    let read = || file.volume("").and_then(|volume| read_through(&*volume));
    if text(MADE_BY).as_deref() != Some(mark.made_by) {
        // The notes may be cut off, too.
        return match mentions(path, mark.made_by).then(read) {
            Some(Err(error)) => Standing::Damaged(format!("{error:#}")),
            _ => foreign(),
        };
    }
    let Some(noted) = text(CHECKSUM) else { return Standing::Unverified };
    match headed::is_as_written(path, &noted) {
        Ok(true) => Standing::Whole,
        Err(error) => Standing::Foreign(format!("it is not known what is in it: {error:#}")),
        // What can no longer be read nobody has corrected.
        Ok(false) => match read() {
            Ok(()) => Standing::Changed("it was written anew".into()),
            Err(error) => Standing::Damaged(format!("{error:#}")),
        },
    }
}

/// Decodes every voxel.
pub(super) fn read_through(volume: &dyn VolumeReader) -> Result<()> {
    for (channels, window) in volume.tiles(32 << 20) {
        volume.read_part(channels, &window, 1)?;
    }
    Ok(())
}

/// Bytes at the start of a file in which the mark of a damaged file is looked for. It is
/// among the first that is written.
const START: u64 = 4 << 20;

/// Whether a file is of a format of volumes and has a text in its first part. This is how
/// a file is known that is too damaged to be opened.
pub fn mentions(path: &Path, text: &str) -> bool {
    let Ok(file) = InputFile::open(path, "a file of volumes") else { return false };
    let mut start = Vec::new();
    let read = Read::take(&file.file, START).read_to_end(&mut start).is_ok();
    read && FORMATS.iter().any(|format| (format.recognises)(&file.file))
        && start.windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

impl Standing {
    /// Whether nothing of anybody else's is lost if the result takes its place.
    ///
    /// # Errors
    /// A file that the command did not write, or that was changed since. `remedy` says
    /// what to do, as in "set another `loaders.output_dir`".
    pub fn check_replaceable(&self, path: &Path, remedy: &str) -> Result<()> {
        let name = path.display();
        match self {
            Standing::Absent | Standing::Whole | Standing::Unverified | Standing::Damaged(_) => {
                Ok(())
            }
            Standing::Changed(how) => bail!(
                "{name}: was changed since it was written ({how}); it is not replaced. Move it \
                 away, or {remedy}"
            ),
            Standing::Foreign(what) => {
                bail!("{name}: {what}; it is not replaced. Move it away, or {remedy}")
            }
        }
    }
}
