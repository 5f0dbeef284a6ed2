//! Where a package is: a folder, its description, or a zip archive.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use crate::config::Tree;
use crate::files::open_ordinary;

/// Largest description in bytes.
const LARGEST_TEXT: u64 = 16 << 20;
/// Largest file of an archive in bytes.
const LARGEST_FILE: u64 = 16 << 30;

/// An open package.
pub struct Package {
    path: PathBuf,
    place: Place,
    /// Name of the description within the package.
    description: String,
}

enum Place {
    Folder(PathBuf),
    Archive(Box<std::cell::RefCell<ZipArchive<File>>>),
}

/// Names of descriptions, the preferred one first.
const DESCRIPTIONS: [&str; 3] = ["bioimageio.yaml", "rdf.yaml", "model.yaml"];

impl Package {
    /// Opens `rdf.yaml`, the folder that holds it, or a zip archive of that folder.
    ///
    /// # Errors
    /// A path that does not exist, or without a description.
    pub fn open(path: &Path) -> Result<Package> {
        let shown = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("{shown}: cannot be read"))?;
        let is_text = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        let (place, names): (Place, Vec<String>) = if metadata.is_dir() {
            let there = |name: &&&str| path.join(name).is_file();
            let names = DESCRIPTIONS.iter().filter(there).map(|name| name.to_string()).collect();
            (Place::Folder(path.to_path_buf()), names)
        } else if is_text {
            let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (Place::Folder(folder), vec![name])
        } else {
            let file = open_ordinary(path).with_context(|| format!("{shown}: cannot be opened"))?;
            let archive = ZipArchive::new(file)
                .with_context(|| format!("{shown}: neither a folder, a rdf.yaml nor a zip"))?;
            let there = |name: &&&str| archive.index_for_name(name).is_some();
            let names = DESCRIPTIONS.iter().filter(there).map(|name| name.to_string()).collect();
            (Place::Archive(Box::new(archive.into())), names)
        };
        let Some(description) = names.into_iter().next() else {
            bail!("{shown}: holds no {}", DESCRIPTIONS.join(", no "));
        };
        Ok(Package { path: path.to_path_buf(), place, description })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The description.
    ///
    /// # Errors
    /// Text that is no YAML.
    pub fn description(&self) -> Result<Tree> {
        let bytes = self.read_at_most(&self.description, LARGEST_TEXT)?;
        let name = format!("{} ({})", self.path.display(), self.description);
        let text = String::from_utf8(bytes).with_context(|| format!("{name}: no UTF-8 text"))?;
        Ok(Tree::parse(&text, &name, &[])?)
    }

    /// The bytes of a file of the package.
    ///
    /// # Errors
    /// A file that is not there, lies outside of the package or on the web.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.read_at_most(name, LARGEST_FILE)
    }

    fn read_at_most(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let shown = self.path.display();
        ensure!(
            !name.contains("://"),
            "{shown}: `{name}` lies on the web and is not fetched; download the whole package (as \
             a zip) from bioimage.io"
        );
        let name = name.trim_start_matches("./");
        let inside = Path::new(name)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(inside, "{shown}: `{name}` lies outside of the package");
        let context = || format!("{shown}: `{name}` cannot be read");
        let mut bytes = Vec::new();
        match &self.place {
            Place::Folder(folder) => {
                let file = open_ordinary(&folder.join(name)).with_context(context)?;
                file.take(most + 1).read_to_end(&mut bytes).with_context(context)?;
            }
            Place::Archive(archive) => {
                let mut archive = archive.borrow_mut();
                let file = archive.by_name(name).with_context(context)?;
                file.take(most + 1).read_to_end(&mut bytes).with_context(context)?;
            }
        }
        ensure!(bytes.len() as u64 <= most, "{shown}: `{name}` is larger than {most} bytes");
        Ok(bytes)
    }
}
