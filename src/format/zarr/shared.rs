//! A store that several processes write together, block by block.
//!
//! Until it is complete it stands in a hidden folder beside its place, with notes of what it
//! is made of and which blocks are done. Whoever is to make the same store goes on with
//! what is there. A lock tells who is at work: the last process to leave completes the
//! store, if all blocks are done, and gives it its name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use log::info;
use ndarray::{ArrayView4, s};
use serde_json::{Value, json};

use super::image::{Image, ImageSpec, group_of, write_groups};
use super::level::{UNFINISHED, write_file};
use crate::files::{identity, remove, rename_if, sync_all_below};
use crate::format::encode::{Number, encode};
use crate::format::parallel::for_each_number;
use crate::format::spool::{MayReplace, failure, folder};
use crate::volume::{
    Block, Calibration, Encoding, NewVolume, SharedEnd, SharedSpec, SharedWriter, Window,
};
use crate::with_block;

/// Within the folder of an unfinished store: the store, what it is made of, the lock of
/// those at work, and that of whoever begins it.
const STORE: &str = "store";
const NOTES: &str = "unfinished.json";
const LOCK: &str = ".lock";
const BEGIN: &str = ".begin";

/// Folders: a file for each block that is done, with the checksum of its chunks, and what
/// was computed once for all.
const DONE: &str = ".done";
const KEPT: &str = ".kept";

/// How often another process may complete or remove the store while it is opened.
const TRIES: usize = 50;

pub(super) struct SharedStore {
    target: PathBuf,
    root: PathBuf,
    images: Vec<(Image, Encoding)>,
    /// Checksum of the metadata of all arrays.
    metadata: u64,
    settings: String,
    /// Depth, height and width of a block.
    block: [usize; 3],
    size: [usize; 3],
    /// Held, for others to see, until this process leaves.
    lock: Mutex<Option<File>>,
}

/// Opens the store of these volumes, or goes on with the one that was begun. All volumes
/// are of one size and lie at the same place.
pub(super) fn create_shared(
    path: &Path,
    volumes: &[NewVolume<'_>],
    calibration: &Calibration,
    spec: &SharedSpec<'_>,
) -> Result<Box<dyn SharedWriter>> {
    let target = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let name = target.file_name().context("a name is needed")?.to_string_lossy().into_owned();
    let root = folder(&target).join(format!(".{name}.unfinished"));
    let open = || SharedStore::open(&target, &root, volumes, calibration, spec);
    Ok(Box::new(open().map_err(|error| failure(&target, error))?))
}

impl SharedStore {
    fn open(
        target: &Path,
        root: &Path,
        volumes: &[NewVolume<'_>],
        calibration: &Calibration,
        spec: &SharedSpec<'_>,
    ) -> Result<SharedStore> {
        let first = volumes.first().context("a store without volumes")?;
        for _ in 0..TRIES {
            let Some(lock) = enter(root)? else { continue };
            let store = root.join(STORE);
            let notes = {
                let _begin = locked(&root.join(BEGIN))?;
                match read(&root.join(NOTES))? {
                    // It has got its name, and whoever gave it was stopped then.
                    Some(_) if !store.is_dir() => Value::Null,
                    Some(notes) => notes,
                    None => {
                        fs::create_dir_all(&store)?;
                        let notes = json!({
                            "identity": spec.identity,
                            "settings": spec.settings,
                            "block_bytes": spec.block_bytes,
                        });
                        write_file(root, NOTES, &serde_json::to_vec_pretty(&notes)?)?;
                        notes
                    }
                }
            };
            if notes.get("identity").and_then(Value::as_str) != Some(spec.identity) {
                drop(lock);
                remove_other(target, root)?;
                continue;
            }
            let settings = notes.get("settings").and_then(Value::as_str).unwrap_or(spec.settings);
            let bytes = notes.get("block_bytes").and_then(Value::as_u64);
            let bytes = bytes.map_or(spec.block_bytes, |bytes| bytes as usize);
            let (mut images, mut metadata) = (Vec::new(), 0u64);
            for (number, volume) in volumes.iter().enumerate() {
                let image = ImageSpec::of(volume, calibration);
                let (image, sum) = Image::create(&store, &group_of(number, volume.name), image)?;
                metadata = metadata.wrapping_add(sum);
                images.push((image, volume.encoding));
            }
            let [channels, d, h, w] = first.shape;
            return Ok(SharedStore {
                target: target.to_path_buf(),
                root: root.to_path_buf(),
                block: block_size([d, h, w], images[0].0.file_size(), channels, bytes),
                images,
                metadata,
                settings: settings.to_owned(),
                size: [d, h, w],
                lock: Mutex::new(Some(lock)),
            });
        }
        bail!("other processes complete or remove {} again and again", root.display())
    }

    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.size[axis].div_ceil(self.block[axis]))
    }

    fn marker(&self, number: usize) -> PathBuf {
        self.root.join(DONE).join(number.to_string())
    }

    /// Completes the store, in which no other process is at work.
    fn complete(
        &self,
        texts: &[(String, String)],
        threads: usize,
        may_replace: MayReplace<'_>,
    ) -> Result<()> {
        let store = self.root.join(STORE);
        let make = || -> Result<()> {
            let mut sum = self.metadata;
            for number in 0..self.blocks() {
                let text = fs::read_to_string(self.marker(number))?;
                let noted = u64::from_str_radix(text.trim(), 16).context("a note of a block")?;
                sum = sum.wrapping_add(noted);
            }
            for (image, _) in &self.images {
                sum = sum.wrapping_add(image.make_levels(threads)?);
            }
            let images: Vec<&Image> = self.images.iter().map(|(image, _)| image).collect();
            write_groups(&store, &images, texts, sum)?;
            // What processes did not finish that were killed.
            for entry in fs::read_dir(&store)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                    remove(&entry.path())?;
                }
            }
            Ok(sync_all_below(&store)?)
        };
        let failed = |error| failure(&self.target, error);
        make().map_err(failed)?;
        rename_if(&store, &self.target, may_replace)?.map_err(|error| failed(error.into()))?;
        // With what stood under the name before, if anything did.
        remove(&self.root).map_err(|error| failed(error.into()))
    }
}

impl SharedWriter for SharedStore {
    fn settings(&self) -> &str {
        &self.settings
    }

    fn blocks(&self) -> usize {
        self.counts().iter().product()
    }

    fn block(&self, number: usize) -> Window {
        let [_, rows, columns] = self.counts();
        let place = [number / columns / rows, number / columns % rows, number % columns];
        let origin = [0, 1, 2].map(|axis| place[axis] * self.block[axis]);
        let size = [0, 1, 2].map(|axis| self.block[axis].min(self.size[axis] - origin[axis]));
        Window::new(origin, size)
    }

    fn is_done(&self, number: usize) -> bool {
        self.marker(number).exists()
    }

    fn write(&self, number: usize, volumes: &[Block<'_>], threads: usize) -> Result<()> {
        let write = || -> Result<()> {
            let window = self.block(number);
            let sum = AtomicU64::new(0);
            for ((image, encoding), block) in self.images.iter().zip(volumes) {
                let files = image.files_within(&window);
                ensure!(block.dim().0 == image.channels(), "a block without all channels");
                for_each_number(files.len(), threads, &|at| {
                    let (file, channels, part) = &files[at];
                    let from = [0, 1, 2].map(|axis| part.origin[axis] - window.origin[axis]);
                    let bytes = with_block!(block, view => {
                        cut(*encoding, view.view(), channels.clone(), from, part.size)?
                    });
                    sum.fetch_add(image.levels[0].store(file, bytes, 1)?, Ordering::Relaxed);
                    Ok(())
                })?;
            }
            let name = format!("{DONE}/{number}");
            write_file(&self.root, &name, format!("{:016x}", sum.into_inner()).as_bytes())
        };
        write().map_err(|error| failure(&self.target, error))
    }

    fn kept(&self, name: &str, compute: &dyn Fn() -> Result<String>) -> Result<String> {
        let place = self.root.join(KEPT).join(name);
        let _begin =
            locked(&self.root.join(BEGIN)).map_err(|error| failure(&self.target, error))?;
        if let Ok(found) = fs::read_to_string(&place) {
            return Ok(found);
        }
        let text = compute()?;
        write_file(&self.root, &format!("{KEPT}/{name}"), text.as_bytes())
            .map_err(|error| failure(&self.target, error))?;
        Ok(text)
    }

    fn leave(
        &self,
        texts: &[(String, String)],
        threads: usize,
        may_replace: MayReplace<'_>,
    ) -> Result<SharedEnd> {
        let lock = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let left = (0..self.blocks()).filter(|number| !self.is_done(*number)).count();
        if left > 0 {
            return Ok(SharedEnd::Left(left));
        }
        let Some(lock) = lock else { return Ok(SharedEnd::Others) };
        // The last one to leave finds nobody else.
        let _ = lock.unlock();
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(SharedEnd::Others),
            // Without locks, whoever comes first completes it.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if !is_that_of(&lock, &self.root) {
            return Ok(SharedEnd::Others);
        }
        self.complete(texts, threads, may_replace)?;
        Ok(SharedEnd::Complete)
    }
}

/// Enters an unfinished store, which is made if there is none: as long as the lock is
/// held, nobody completes or removes it. `None` if somebody has just done so.
fn enter(root: &Path) -> Result<Option<File>> {
    match fs::create_dir(root) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let open = OpenOptions::new().create(true).append(true).open(root.join(LOCK));
    let lock = match open {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Some network file systems have no locks.
    let _ = lock.lock_shared();
    Ok(is_that_of(&lock, root).then_some(lock))
}

/// Whether an open lock is the one that stands in the store.
fn is_that_of(lock: &File, root: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(data) = lock.metadata() else { return false };
    identity(&root.join(LOCK)) == Some((data.dev(), data.ino()))
}

/// Locks a file for this process alone, once the others have given it back.
fn locked(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let _ = file.lock();
    Ok(file)
}

/// Removes what a process left that was stopped after it had given the store its name.
pub(in crate::format) fn forget(target: &Path) {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let root = folder(target).join(format!(".{name}.unfinished"));
    if root.join(NOTES).is_file() && !root.join(STORE).exists() {
        // What cannot be removed is no more in the way than before.
        let _ = remove_other(target, &root);
    }
}

/// Removes a store of other settings that nobody works on.
fn remove_other(target: &Path, root: &Path) -> Result<()> {
    let Ok(lock) = OpenOptions::new().create(true).append(true).open(root.join(LOCK)) else {
        return Ok(());
    };
    ensure!(
        !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        "another process writes it with other settings, or from another input: wait for it"
    );
    if is_that_of(&lock, root) {
        if root.join(STORE).is_dir() {
            info!("{}: what was begun with other settings is removed", target.display());
        }
        remove(root)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Value>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).unwrap_or_default())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Depth, height and width of blocks: as many files of chunks as fit into that many bytes,
/// or one of them, along the shortest side first.
fn block_size(size: [usize; 3], file: [usize; 3], channels: usize, bytes: usize) -> [usize; 3] {
    let mut block = file;
    loop {
        let growing = (0..3).filter(|axis| block[*axis] < size[*axis]);
        let Some(axis) = growing.min_by_key(|axis| block[*axis]) else { return block };
        let mut next = block;
        next[axis] += file[axis];
        if next.iter().product::<usize>().saturating_mul(4 * channels) > bytes {
            return block;
        }
        block = next;
    }
}

/// The bytes of a part of a block, row after row.
fn cut<T: Number>(
    encoding: Encoding,
    block: ArrayView4<'_, T>,
    channels: std::ops::Range<usize>,
    [z, y, x]: [usize; 3],
    [d, h, w]: [usize; 3],
) -> Result<Vec<u8>> {
    let part = block.slice(s![channels, z..z + d, y..y + h, x..x + w]);
    let (row, mut bytes) = (w * encoding.size(), vec![0; part.len() * encoding.size()]);
    let planes = part
        .outer_iter()
        .flat_map(|channel| channel.outer_iter().map(|plane| plane.to_owned()).collect::<Vec<_>>());
    for (plane, out) in planes.zip(bytes.chunks_exact_mut(h * row)) {
        encode(encoding, plane.view(), out);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_files_that_fit_into_memory() {
        let of = |size, file, channels| block_size(size, [file; 3], channels, 128 << 20);
        assert_eq!(of([100, 100, 100], 64, 1), [128; 3]);
        assert_eq!(of([5000; 3], 256, 1), [512, 256, 256]);
        assert_eq!(of([5000; 3], 256, 8), [256; 3]);
        assert_eq!(of([5000; 3], 64, 1), [320; 3]);
    }
}
