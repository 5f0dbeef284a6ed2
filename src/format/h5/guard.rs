//! What a file may claim before anything is read or allocated for it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hdf5::dataset::Layout;
use hdf5::filters::Filter;

use super::filters;
use crate::ffi;
use crate::runtime::memory::bytes;

/// Nothing compresses better than this, so that a shape beyond it is a lie that
/// would only cost memory.
const BEST_RATIO: u128 = 2000;

/// Virtual data sets made of virtual data sets go no deeper than this.
const DEPTH: usize = 4;

/// An error if the data set claims more voxels than its file, and those that it
/// refers to, could hold, or would have other files read that hold no HDF5. Returns the
/// files that its voxels come from.
pub(super) fn check(
    dataset: &hdf5::Dataset,
    name: &str,
    element: usize,
) -> Result<HashSet<PathBuf>> {
    let mut seen = Seen::default();
    let size = seen.visit(dataset, name, 0)?;
    let most = (u128::from(size) + 4096) * BEST_RATIO;
    let dims = dataset.shape();
    ensure!(
        bytes(&dims, element) < most,
        "the data set `{name}` claims the shape {dims:?}, but its file has only {size} bytes; \
         the file is damaged or the data set was never written"
    );
    if let Some(chunk) = dataset.chunk() {
        ensure!(
            bytes(&chunk, element) < most,
            "the data set `{name}` claims chunks of the shape {chunk:?}, but its file has only \
             {size} bytes; the file is damaged"
        );
        // A chunk that was written takes more than a byte.
        let chunks = dims.iter().zip(&chunk).map(|(&n, &step)| n.div_ceil(step.max(1)));
        let chunks = chunks.fold(1u128, |count, n| count.saturating_mul(n as u128));
        ensure!(
            chunks <= u128::from(size) + 4096,
            "the data set `{name}` claims {chunks} chunks, but its file has only {size} bytes; the \
             file is damaged or the data set was never written"
        );
    }
    Ok(seen.files)
}

/// Checks that the links to an object of a file lead to files only: the library would wait
/// without end for a pipe. Only external links are looked at; what is wrong with the others
/// is found when the object is opened.
///
/// # Errors
/// A link to what is no ordinary file or cannot be opened, or through too many files.
pub(super) fn check_links(group: &hdf5::Group, name: &str) -> Result<()> {
    follow_links(group, name, DEPTH)
}

fn follow_links(group: &hdf5::Group, name: &str, depth: usize) -> Result<()> {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let mut at = if name.starts_with('/') { group.file()?.group("/")? } else { group.clone() };
    for (number, part) in parts.iter().enumerate() {
        if let Some((source, inner)) = ffi::hdf5::external_link(&at, part) {
            ensure!(depth > 0, "`{name}` leads through too many files");
            let missing =
                || format!("`{name}` is a link to `{inner}` of {source}, which cannot be opened");
            let path = find(Path::new(&at.filename()), &source).with_context(missing)?;
            let file = open(&path).with_context(missing)?;
            let rest = parts[number + 1..].join("/");
            return follow_links(&file, &format!("{inner}/{rest}"), depth - 1);
        }
        if number + 1 < parts.len() {
            match at.group(part) {
                Ok(inner) => at = inner,
                Err(_) => return Ok(()),
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Seen {
    files: HashSet<PathBuf>,
    /// Data sets on the way from the first to this one.
    path: Vec<(String, String)>,
    done: HashSet<(String, String)>,
}

impl Seen {
    /// Bytes of all files, not counted before, that the voxels come from.
    fn visit(&mut self, dataset: &hdf5::Dataset, name: &str, depth: usize) -> Result<u64> {
        let file = dataset.filename();
        let key = (file.clone(), dataset.name());
        ensure!(
            !self.path.contains(&key) && depth <= DEPTH,
            "the virtual data set `{name}` is made of itself; the file is damaged"
        );
        if !self.done.insert(key.clone()) {
            return Ok(0);
        }
        let plist = dataset.create_plist()?;
        if let Some(raw) = plist.external().first() {
            bail!(
                "the data set `{name}` has its voxels in a file without any format ({}), which is \
                 not read; copy them into the HDF5 file",
                raw.name
            );
        }
        let filters = plist.filters();
        let kinds: HashSet<_> = filters.iter().map(Filter::id).collect();
        ensure!(
            kinds.len() == filters.len(),
            "the data set `{name}` has the same filter twice, as only files made to do harm have"
        );
        filters::check(&filters, name)?;
        let mut size = 0;
        if self.files.insert(PathBuf::from(&file)) {
            size += fs::metadata(&file).with_context(|| file.clone())?.len();
        }
        if plist.layout() != Layout::Virtual {
            return Ok(size);
        }
        self.path.push(key);
        for (source, inner) in ffi::hdf5::virtual_sources(&plist)? {
            let missing = || {
                format!(
                    "the virtual data set `{name}` is made of `{inner}` of {source}, which cannot \
                     be opened; copy that file beside this one"
                )
            };
            let found = match source.as_str() {
                "." => dataset.file()?.dataset(&inner),
                other => open(&find(Path::new(&file), other).with_context(missing)?)
                    .with_context(missing)?
                    .dataset(&inner),
            };
            let found = found.with_context(missing)?;
            size = size.saturating_add(self.visit(&found, &inner, depth + 1)?);
        }
        self.path.pop();
        Ok(size)
    }
}

/// Where the library looks for the source of a virtual data set.
fn find(file: &Path, source: &str) -> Result<PathBuf> {
    let source = Path::new(source);
    let beside = file.parent().unwrap_or(Path::new("")).join(source);
    [beside, source.to_path_buf()]
        .into_iter()
        // A pipe would be waited for without end.
        .find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.is_file()))
        .with_context(|| format!("{}: no such file", source.display()))
}

fn open(path: &Path) -> Result<hdf5::File> {
    hdf5::File::with_options()
        .with_fapl(|plist| plist.file_locking(false))
        .open(path)
        .with_context(|| path.display().to_string())
}
