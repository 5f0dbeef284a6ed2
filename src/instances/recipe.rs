//! What a result was made of and how, by which it is known whether it is up to date, and
//! whether somebody changed it since.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::files::{self, is_taken};
use crate::format::{Standing, is_store, standing, stem};

use super::preview::is_preview;
use super::write::{Finished, MARK, has_our_form};

/// Version, settings and the state of the input files, as text.
///
/// It is kept in a hidden file beside the result, `.<stem>.recipe`, with the sums of the
/// files of the result: most of their formats have no place for either. Results of one
/// prediction in several formats, which share their table, share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe(String);

/// Begins the lines with the sums.
const SUM: &str = "sha256 ";

/// What stands in the place of the recipe of a result that is not complete.
const UNFINISHED: &str = "unfinished\n";

/// The files of a result, the one first by which its recipe is named.
#[derive(Clone, Debug)]
pub struct ResultFiles {
    pub paths: Vec<PathBuf>,
    /// Whether files of that form which leave no mark are those of ANTSUN, and may be
    /// replaced.
    pub antsun: bool,
}

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

    /// Whether the files of a result were made by this recipe and are unchanged.
    pub fn is_that_of(&self, result: &ResultFiles) -> bool {
        result.recipe().is_some_and(|text| text.starts_with(&self.0))
            && result
                .paths
                .iter()
                .all(|path| sum(path).is_ok_and(|found| result.noted(path).contains(&found)))
    }

    /// Keeps the recipe of a result that is complete.
    pub fn note(&self, result: &ResultFiles) -> Result<()> {
        let mut text = self.0.clone();
        let mut keep = || -> io::Result<()> {
            for path in &result.paths {
                text += &result.line(path, &sum(path)?);
            }
            text += &result.lines_of_others();
            files::write(&result.place(), |mut file| file.write_all(text.as_bytes()))
        };
        keep().with_context(|| format!("{}: writing failed", result.place().display()))
    }
}

impl ResultFiles {
    /// Where the recipe is kept.
    fn place(&self) -> PathBuf {
        let first = self.first();
        let mut name = OsString::from(".");
        // Results in formats of two extensions share it, too.
        match first.to_str() {
            Some(_) => name.push(stem(first)),
            None => name.push(first.file_stem().unwrap_or_default()),
        }
        name.push(".recipe");
        first.with_file_name(name)
    }

    fn first(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), PathBuf::as_path)
    }

    fn recipe(&self) -> Option<String> {
        let mut text = String::new();
        let input = files::InputFile::open(&self.place(), "a recipe").ok()?;
        (&input.file).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The line with the sum of a file. Its name is with the folder where that is not the
    /// one of the recipe: files of one result may be named alike.
    fn line(&self, path: &Path, sum: &str) -> String {
        format!("{SUM}{sum} {}\n", self.name(path))
    }

    /// The lines of files that are not of this result, as of the label image in another
    /// format.
    fn lines_of_others(&self) -> String {
        let names: Vec<String> = self.paths.iter().map(|path| self.name(path)).collect();
        let text = self.recipe().unwrap_or_default();
        let lines = text.lines().filter(|line| {
            let sum_and_name = line.strip_prefix(SUM).and_then(|line| line.split_once(' '));
            sum_and_name.is_some_and(|(_, name)| !names.iter().any(|own| own == name))
        });
        lines.map(|line| format!("{line}\n")).collect()
    }

    fn name(&self, path: &Path) -> String {
        let file = path.file_name().unwrap_or_default();
        let folder = path.parent().filter(|folder| Some(*folder) != self.first().parent());
        let folder = folder.and_then(Path::file_name).unwrap_or_default();
        // In one line, and whole if it is no UTF-8.
        Path::new(folder).join(file).as_os_str().as_bytes().escape_ascii().to_string()
    }

    /// The sums that the file of that name had when it was written.
    fn noted(&self, path: &Path) -> Vec<String> {
        let (text, name) = (self.recipe().unwrap_or_default(), self.name(path));
        let lines = text.lines().filter_map(|line| line.strip_prefix(SUM)?.split_once(' '));
        lines.filter(|(_, other)| *other == name).map(|(sum, _)| sum.to_owned()).collect()
    }

    /// Checks that nothing of the user's would be replaced.
    ///
    /// # Errors
    /// What stands under a name of the result, and was not written by this command or has
    /// been changed since.
    pub fn check_replaceable(&self) -> Result<()> {
        self.paths.iter().try_for_each(|path| self.check(path))
    }

    fn check(&self, path: &Path) -> Result<()> {
        let name = path.display();
        let remedy = "it is not replaced. Move it away, or choose another --output";
        if !is_taken(path) {
            return Ok(());
        }
        ensure!(path.is_file() || is_store(path), "{name}: is no ordinary file; {remedy}");
        let noted = self.noted(path);
        if sum(path).is_ok_and(|found| noted.contains(&found)) {
            return Ok(());
        }
        // Some tell it by themselves.
        match standing(path, &MARK) {
            Standing::Foreign(_) => {}
            found => return found.check_replaceable(path, "choose another --output"),
        }
        if is_preview(path) || (self.antsun && noted.is_empty() && has_our_form(path)) {
            return Ok(());
        }
        ensure!(noted.is_empty(), "{name}: was changed since this command wrote it; {remedy}");
        ensure!(
            !has_our_form(path),
            "{name}: may have been changed since this command wrote it: the notes of its making, \
             {}, are not there; {remedy}",
            self.place().display()
        );
        bail!("{name}: exists and was not written by this command; {remedy}")
    }

    /// Notes that the result is about to be made anew. Its files are still known by their
    /// sums.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn begin(&self) -> Result<()> {
        let text = self.recipe().unwrap_or_default();
        let sums: String = text
            .lines()
            .filter(|line| line.starts_with(SUM))
            .map(|line| format!("{line}\n"))
            .collect();
        let place = self.place();
        files::write(&place, |mut file| {
            file.write_all(UNFINISHED.as_bytes())?;
            file.write_all(sums.as_bytes())
        })
        .with_context(|| format!("{}: writing failed", place.display()))
    }

    /// Gives a file of the result its name, if nothing of the user's has got it since.
    ///
    /// # Errors
    /// What stands under the name and may not be replaced, and what fails on the disk.
    pub fn keep(&self, path: &Path, file: Finished) -> Result<()> {
        match file {
            Finished::Volume(file) => file.finish_if(&|path| self.check(path)),
            Finished::Other(partial) => {
                let failed = || format!("{}: writing failed", path.display());
                // Noted before the file has its name, so that it is known whenever the
                // process ends.
                let line = self.line(path, &sum(partial.path()).with_context(failed)?);
                let append = || -> io::Result<()> {
                    let mut notes = OpenOptions::new().append(true).open(self.place())?;
                    notes.write_all(line.as_bytes())?;
                    notes.sync_data()
                };
                append().with_context(|| format!("{}: writing failed", self.place().display()))?;
                partial.replace_if(|path| self.check(path))?.with_context(failed)
            }
        }
    }
}

/// The SHA-256 of a file or of all that is in a store.
fn sum(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    if path.is_dir() {
        add_folder(&mut hash, path)?;
    } else {
        add_file(&mut hash, path)?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add_file(hash: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut part = vec![0; 1 << 16];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(()),
            read => hash.update(&part[..read]),
        }
    }
}

/// Adds the names and contents of a folder in the order of the names.
fn add_folder(hash: &mut Sha256, folder: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    hash.update((entries.len() as u64).to_le_bytes());
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        // No link and no pipe is in a store as it is written.
        let kind = entry.file_type()?;
        hash.update([u8::from(kind.is_dir()), u8::from(kind.is_file())]);
        if kind.is_dir() {
            add_folder(hash, &path)?;
        } else if kind.is_file() {
            hash.update(entry.metadata()?.len().to_le_bytes());
            add_file(hash, &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::PartialFile;

    /// A table and an image of one name in two folders, as made from an input.
    fn begun() -> (tempfile::TempDir, ResultFiles, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let [input, one, two] =
            ["a.h5", "b/a\nb.csv", "c/a\nb.csv"].map(|name| folder.path().join(name));
        for path in [&one, &two] {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        fs::write(&input, "one").unwrap();
        (folder, ResultFiles { paths: vec![one, two], antsun: false }, input)
    }

    fn keep(result: &ResultFiles, path: &Path, text: &str) -> Result<()> {
        let partial = PartialFile::of_text(path, text).unwrap();
        result.keep(path, Finished::Other(partial))
    }

    #[test]
    fn a_recipe_is_that_of_a_result_until_something_changes() {
        let (_folder, result, input) = begun();
        let recipe = |settings: &str| Recipe::new(settings, std::slice::from_ref(&input)).unwrap();
        assert!(!recipe("x").is_that_of(&result));
        result.begin().unwrap();
        for path in &result.paths {
            keep(&result, path, &format!("id,voxels of {}", path.display())).unwrap();
        }
        assert!(!recipe("x").is_that_of(&result));
        recipe("x").note(&result).unwrap();
        assert!(recipe("x").is_that_of(&result) && !recipe("y").is_that_of(&result));
        fs::write(&input, "another").unwrap();
        assert!(!recipe("x").is_that_of(&result));
        recipe("x").note(&result).unwrap();
        result.check_replaceable().unwrap();
        // Corrected by hand, the one as the other was: their folders tell them apart.
        fs::copy(&result.paths[0], &result.paths[1]).unwrap();
        let error = result.check_replaceable().unwrap_err().to_string();
        assert!(error.contains("was changed") && !recipe("x").is_that_of(&result), "{error}");
        fs::remove_file(&result.paths[1]).unwrap();
        result.check_replaceable().unwrap();
        assert!(!recipe("x").is_that_of(&result));
        assert!(Recipe::new("x", &[result.paths[1].clone()]).is_err());
    }

    #[test]
    fn what_is_ours_is_known_at_every_moment() {
        let (_folder, result, input) = begun();
        let [one, two] = [&result.paths[0], &result.paths[1]];
        let recipe = Recipe::new("x", &[input]).unwrap();
        result.begin().unwrap();
        keep(&result, one, "id,voxels: first").unwrap();
        // The process ends, and the next one begins anew.
        result.check_replaceable().unwrap();
        result.begin().unwrap();
        result.check_replaceable().unwrap();
        keep(&result, one, "id,voxels: second").unwrap();
        fs::write(two, "id,voxels: mine").unwrap();
        assert!(keep(&result, two, "id,voxels: ours").unwrap_err().to_string().contains("changed"));
        assert_eq!(fs::read_to_string(two).unwrap(), "id,voxels: mine");
        fs::remove_file(two).unwrap();
        keep(&result, two, "id,voxels: ours").unwrap();
        recipe.note(&result).unwrap();
        // The same regions in another format share the table.
        let other = one.with_extension("tif");
        let shared = ResultFiles { paths: vec![other.clone(), one.clone()], antsun: false };
        shared.check_replaceable().unwrap();
        shared.begin().unwrap();
        keep(&shared, &other, "another image").unwrap();
        recipe.note(&shared).unwrap();
        result.check_replaceable().unwrap();
        shared.check_replaceable().unwrap();
        // Without the notes nothing is known of them; ANTSUN leaves none.
        fs::remove_file(result.place()).unwrap();
        let error = result.check_replaceable().unwrap_err().to_string();
        assert!(error.contains("may have been changed"), "{error}");
        ResultFiles { antsun: true, ..result.clone() }.check_replaceable().unwrap();
        fs::write(one, "mine").unwrap();
        for antsun in [false, true] {
            let result = ResultFiles { antsun, ..result.clone() };
            let error = result.check_replaceable().unwrap_err().to_string();
            assert!(error.contains("not written by this command"), "{error}");
        }
    }
}
