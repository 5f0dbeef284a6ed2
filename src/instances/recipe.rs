//! What a result was made of and how, by which it is known whether it is up to date, and
//! whether somebody changed it since.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::files;

/// Version, settings and the state of the input files, as text.
///
/// It is kept in a hidden file beside the result, `.<name>.recipe`, with the sums of the
/// files of the result: the formats of ANTSUN have no place for either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe(String);

/// Begins the lines with the sums.
const SUM: &str = "sha256 ";

impl Recipe {
    /// Notes settings and the present state of some files.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn new(settings: &str, inputs: &[PathBuf]) -> Result<Recipe> {
        let inputs = files::record(inputs)?;
        let version = env!("CARGO_PKG_VERSION");
        Ok(Recipe(format!("unet3d instances {version}\n{settings}\n{inputs}\n")))
    }

    /// Where the recipe of a result is kept, by the first of its files.
    fn place(result: &[PathBuf]) -> PathBuf {
        let first = result.first().map_or(Path::new(""), PathBuf::as_path);
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        first.with_file_name(format!(".{name}.recipe"))
    }

    /// Whether the files of a result were made by this recipe and are unchanged.
    pub fn is_that_of(&self, result: &[PathBuf]) -> bool {
        fs::read_to_string(Self::place(result)).is_ok_and(|text| text.starts_with(&self.0))
            && result.iter().all(|path| path.exists())
            && Self::changed(result).is_none()
    }

    /// The first file of a result that is no longer as it was written.
    pub fn changed(result: &[PathBuf]) -> Option<&Path> {
        let text = fs::read_to_string(Self::place(result)).ok()?;
        let noted = |path: &PathBuf| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(SUM));
            let mut pairs = lines.filter_map(|line| line.split_once(' '));
            let same = |name: &str| path.ends_with(name) || Path::new(name).ends_with(path);
            pairs.find(|(_, name)| same(name)).map(|(sum, _)| sum)
        };
        let differs = |path: &&PathBuf| match (noted(path), sum(path)) {
            (Some(noted), Ok(found)) => noted != found,
            // What is not there can be made, and of what was not noted nothing is known.
            _ => false,
        };
        result.iter().find(differs).map(PathBuf::as_path)
    }

    /// Keeps the recipe of a result that is complete.
    pub fn note(&self, result: &[PathBuf]) -> Result<()> {
        let place = Self::place(result);
        let keep = || -> io::Result<()> {
            let mut text = self.0.clone();
            // A store holds its own checksum.
            for path in result.iter().filter(|path| !path.is_dir()) {
                // Folder and name: files of one result may be named alike.
                let mut parts = path.iter().rev().take(2).collect::<Vec<_>>();
                parts.reverse();
                let name: PathBuf = parts.into_iter().collect();
                text += &format!("{SUM}{} {}\n", sum(path)?, name.display());
            }
            files::write(&place, |mut file| file.write_all(text.as_bytes()))
        };
        keep().with_context(|| format!("{}: writing failed", place.display()))
    }

    /// Removes the recipe of a result that is about to be made anew.
    pub fn forget(result: &[PathBuf]) -> Result<()> {
        let place = Self::place(result);
        match fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                bail!("{}: cannot be removed: {error}", place.display())
            }
            _ => Ok(()),
        }
    }
}

fn sum(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut part = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut part)? {
            0 => break,
            read => hash.update(&part[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_that_of_a_result_until_something_changes() {
        let folder = tempfile::tempdir().unwrap();
        let [input, one, two] = ["a.h5", "b/b.h5", "c/b.h5"].map(|name| folder.path().join(name));
        for path in [&one, &two] {
            fs::create_dir(path.parent().unwrap()).unwrap();
            fs::write(path, path.display().to_string()).unwrap();
        }
        fs::write(&input, "one").unwrap();
        let result = [one, two];
        let recipe = |settings: &str| Recipe::new(settings, std::slice::from_ref(&input)).unwrap();
        assert!(!recipe("x").is_that_of(&result));
        recipe("x").note(&result).unwrap();
        assert!(recipe("x").is_that_of(&result) && !recipe("y").is_that_of(&result));
        fs::write(&input, "another").unwrap();
        assert!(!recipe("x").is_that_of(&result));
        recipe("x").note(&result).unwrap();
        assert_eq!(Recipe::changed(&result), None);
        // Corrected by hand.
        fs::write(&result[1], "mine").unwrap();
        assert_eq!(Recipe::changed(&result), Some(result[1].as_path()));
        assert!(!recipe("x").is_that_of(&result));
        fs::remove_file(&result[1]).unwrap();
        assert!(Recipe::changed(&result).is_none() && !recipe("x").is_that_of(&result));
        Recipe::forget(&result).unwrap();
        Recipe::forget(&result).unwrap();
        assert!(Recipe::new("x", &[result[1].clone()]).is_err());
    }
}
