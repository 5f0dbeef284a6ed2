//! Where a command may write: not over what it reads, not twice to one place, and not into
//! a store of voxels.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{file_of, is_store};
use crate::files::{destination, identity, is_taken};

/// The files and stores that a command reads.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Where each leads to, and how it was given.
    places: HashMap<PathBuf, PathBuf>,
    /// What tells files of several names.
    identities: HashSet<(u64, u64)>,
}

impl Inputs {
    /// Choices at the end of paths, such as `:t=3`, are no part of them.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Inputs {
        let place = |path: &Path| {
            let file = file_of(path);
            fs::canonicalize(&file).or_else(|_| destination(&file)).unwrap_or(file)
        };
        let places: HashMap<_, _> =
            paths.into_iter().map(|path| (place(path), path.to_path_buf())).collect();
        let identities = places.keys().filter_map(|place| identity(place)).collect();
        Inputs { places, identities }
    }

    /// Checks that an input stays as it is if a file or store takes its place under
    /// `output`, whatever links and spellings lead there.
    ///
    /// # Errors
    /// A path that leads to an input, into one or to a folder that holds one, and one
    /// within a Zarr store.
    pub fn check(&self, output: &Path) -> Result<()> {
        let name = output.display();
        let place = destination(output).with_context(|| name.to_string())?;
        let same = self.places.contains_key(&place)
            || identity(output).is_some_and(|found| self.identities.contains(&found));
        ensure!(!same, "{name}: is the input itself; choose another name");
        let within = || self.places.iter().find(|(input, _)| input.starts_with(&place));
        if let Some((_, given)) = place.is_dir().then(within).flatten() {
            bail!(
                "{name}: holds the input {}, which would be lost with it; choose another name",
                given.display()
            );
        }
        if let Some(store) = place.ancestors().skip(1).find(|folder| is_store(folder)) {
            bail!(
                "{name}: lies within the Zarr store {}, to which it does not belong; choose another \
                 folder",
                store.display()
            );
        }
        Ok(())
    }
}

/// Checks the outputs of a command that replaces nothing.
///
/// # Errors
/// A path under which something stands, also a link that leads nowhere, two paths that
/// lead to one file, and one within a Zarr store.
pub fn check_new(outputs: &[&Path]) -> Result<()> {
    for output in outputs {
        ensure!(!is_taken(output), "{}: exists and is not replaced", output.display());
        Inputs::default().check(output)?;
    }
    check_distinct(outputs.iter().map(|output| (*output, *output)), |one, other, _| {
        format!("{} and {} are one file: give each its own name", one.display(), other.display())
    })
}

/// Checks that no two outputs lead to one file, whatever links and spellings lead there.
/// With each output comes the input that it is made of.
///
/// # Errors
/// What `message` says of the inputs of two outputs and the place of both.
pub fn check_distinct<'a, P: AsRef<Path>>(
    outputs: impl IntoIterator<Item = (P, &'a Path)>,
    message: impl Fn(&Path, &Path, &Path) -> String,
) -> Result<()> {
    let mut seen: HashMap<PathBuf, &Path> = HashMap::new();
    for (output, input) in outputs {
        let output = output.as_ref();
        let place = destination(output).with_context(|| output.display().to_string())?;
        if let Some(other) = seen.insert(place.clone(), input) {
            bail!(message(other, input, &place));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn inputs_are_safe_from_outputs_under_every_spelling() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("s.zarr/0")).unwrap();
        fs::write(at("s.zarr/zarr.json"), r#"{"zarr_format":3,"node_type":"group"}"#).unwrap();
        for name in ["a.tif", "b.tif"] {
            fs::write(at(name), name).unwrap();
        }
        fs::hard_link(at("a.tif"), at("hard.tif")).unwrap();
        symlink("a.tif", at("soft.tif")).unwrap();
        symlink("s.zarr", at("link.zarr")).unwrap();
        let inputs = [at("a.tif:t=1"), at("link.zarr/0")];
        let inputs = Inputs::new(inputs.iter().map(PathBuf::as_path));
        let error = |name: &str| format!("{:#}", inputs.check(&at(name)).unwrap_err());
        for name in ["a.tif", "./s.zarr/../a.tif", "hard.tif", "soft.tif"] {
            assert!(error(name).contains("the input itself"), "{name}");
        }
        assert!(error("s.zarr").contains("holds the input"));
        for name in ["s.zarr/new.tif", "link.zarr/deep/new.zarr"] {
            assert!(error(name).contains("within the Zarr store"), "{name}");
        }
        for name in ["b.tif", "c.tif", "s.zarr.tif", "no/such/c.tif"] {
            inputs.check(&at(name)).unwrap();
        }
        symlink("nowhere", at("broken.csv")).unwrap();
        for [one, other, told] in [
            ["b.tif", "c.csv", "exists"],
            ["c.csv", "broken.csv", "exists"],
            ["c.csv", "s.zarr/../c.csv", "are one file"],
        ] {
            let told_of = check_new(&[&at(one), &at(other)]).unwrap_err().to_string();
            assert!(told_of.contains(told), "{told_of}");
        }
        check_new(&[&at("c.csv"), &at("c.h5")]).unwrap();
    }
}
