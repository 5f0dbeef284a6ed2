//! What stands under the name of a result: whether it may be replaced, and whether it is
//! whole.

use std::path::Path;

use anyhow::{Result, bail};

use super::h5;

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
    h5::standing(path, mark)
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
