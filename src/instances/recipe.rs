//! What a result was made of and how, by which it is known whether it is up to date.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::files;

/// Version, settings and the state of the input files, as text.
///
/// It is kept in a hidden file beside the result, `.<name>.recipe`: the formats of ANTSUN
/// have no place for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe(String);

impl Recipe {
    /// Notes settings and the present state of some files.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn new(settings: &str, inputs: &[PathBuf]) -> Result<Recipe> {
        let mut text = format!("unet3d instances {}\n{settings}\n", env!("CARGO_PKG_VERSION"));
        for path in inputs {
            let found = fs::metadata(path).with_context(|| path.display().to_string())?;
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            text += &format!(
                "{} bytes, {}.{:09}, {}\n",
                found.len(),
                found.mtime(),
                found.mtime_nsec(),
                absolute.display()
            );
        }
        Ok(Recipe(text))
    }

    /// Where the recipe of a result is kept.
    fn place(result: &Path) -> PathBuf {
        let name = result.file_name().unwrap_or_default().to_string_lossy();
        result.with_file_name(format!(".{name}.recipe"))
    }

    /// Whether a result was made by this recipe.
    pub fn is_that_of(&self, result: &Path) -> bool {
        fs::read_to_string(Self::place(result)).is_ok_and(|text| text == self.0)
    }

    /// Keeps the recipe of a result that is complete.
    pub fn note(&self, result: &Path) -> Result<()> {
        let place = Self::place(result);
        files::write(&place, |mut file| file.write_all(self.0.as_bytes()))
            .with_context(|| format!("{}: writing failed", place.display()))
    }

    /// Removes the recipe of a result that is about to be made anew.
    pub fn forget(result: &Path) -> Result<()> {
        let place = Self::place(result);
        match fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                bail!("{}: cannot be removed: {error}", place.display())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_that_of_a_result_until_something_changes() {
        let folder = tempfile::tempdir().unwrap();
        let [input, result] = ["a.h5", "b.h5"].map(|name| folder.path().join(name));
        fs::write(&input, "one").unwrap();
        let recipe = |settings: &str| Recipe::new(settings, std::slice::from_ref(&input)).unwrap();
        assert!(!recipe("x").is_that_of(&result));
        recipe("x").note(&result).unwrap();
        assert!(recipe("x").is_that_of(&result) && !recipe("y").is_that_of(&result));
        fs::write(&input, "another").unwrap();
        assert!(!recipe("x").is_that_of(&result));
        recipe("x").note(&result).unwrap();
        Recipe::forget(&result).unwrap();
        Recipe::forget(&result).unwrap();
        assert!(!recipe("x").is_that_of(&result));
        assert!(Recipe::new("x", &[result]).is_err());
    }
}
