//! One data set of a file, read whole or window by window.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdf5::types::VarLenUnicode;
use hdf5::{Hyperslab, Selection, SliceOrIndex};
use ndarray::{Array4, ArrayD, ArrayViewMut4, Axis};

use super::decode;
use super::file::FileHandles;
use super::guard;
use super::storage::{VoxelStorage, with_channels};
use super::{CHANNELS, DIRECTIONS, ELEMENT_SIZE, ORIGIN};
use crate::format::stored::{Stored, StoredType, with_stored};
use crate::runtime::memory;
use crate::volume::{Calibration, LengthUnit, Volume, VolumeReader, Window};

/// A data set of an HDF5 file, opened and not read yet.
#[derive(Debug)]
pub struct H5Reader {
    file: Arc<FileHandles>,
    name: String,
    handle: hdf5::Dataset,
    /// (C, D, H, W)
    shape: [usize; 4],
    has_channels: bool,
    stored: StoredType,
    /// (C, D, H, W) of a chunk.
    chunk: Option<[usize; 4]>,
    storage: VoxelStorage,
    /// All files that the voxels come from, its own first.
    files: Vec<PathBuf>,
}

impl H5Reader {
    pub(super) fn open(file: &Arc<FileHandles>, name: &str) -> Result<H5Reader> {
        guard::check_links(&file.hdf5, name)?;
        let handle = file.hdf5.dataset(name).map_err(|error| missing(file, name, &error))?;
        let dims = handle.shape();
        let shape = match dims.as_slice() {
            [_, _, _] | [_, _, _, _] => with_channels(&dims).expect("of rank 3 or 4"),
            [h, w] => bail!(
                "the data set `{name}` is 2D ({h}, {w}); a volume is (D, H, W) or (C, D, H, W): \
                 store a single image as (1, {h}, {w})"
            ),
            _ => bail!(
                "the data set `{name}` has {} axes {dims:?}; \
                 a volume is (D, H, W) or (C, D, H, W)",
                dims.len()
            ),
        };
        ensure!(
            dims.iter().all(|&n| n > 0),
            "the data set `{name}` of shape {dims:?} has an empty axis: there is nothing to read"
        );
        let stored = handle
            .dtype()
            .and_then(|dtype| dtype.to_descriptor())
            .ok()
            .and_then(|descriptor| StoredType::of(&descriptor))
            .ok_or_else(|| {
                let found = handle.dtype().map(|dtype| dtype.to_string()).unwrap_or_default();
                anyhow!(
                    "the data set `{name}` holds {found}, which are no numbers \
                     that a volume can have (integers, floats or booleans)"
                )
            })?;
        let mut files = vec![file.plain.path.clone()];
        let mut others: Vec<_> = guard::check(&handle, name, stored.size())?.into_iter().collect();
        others.retain(|other| *other != file.plain.path);
        others.sort();
        files.append(&mut others);
        let storage = if handle.filename() == file.plain.path.to_string_lossy() {
            VoxelStorage::of(&handle, shape, stored, file.plain.size)
                .with_context(|| format!("the data set `{name}`"))?
        } else {
            VoxelStorage::Library
        };
        let chunk = handle.chunk().as_deref().and_then(with_channels);
        let reader = H5Reader {
            file: file.clone(),
            name: name.to_string(),
            handle,
            shape,
            has_channels: dims.len() == 4,
            stored,
            chunk: chunk.filter(|chunk| chunk.iter().all(|&n| n > 0)),
            storage,
            files,
        };
        reader.calibration().check().with_context(|| format!("the data set `{name}`"))?;
        Ok(reader)
    }

    /// The texts of an attribute: an array of them as h5py writes lists, or one with a line
    /// for each.
    fn texts(&self, name: &str) -> Vec<String> {
        let Ok(attribute) = self.handle.attr(name) else { return Vec::new() };
        if let Ok(texts) = attribute.read_raw::<VarLenUnicode>()
            && attribute.ndim() > 0
        {
            return texts.iter().map(|text| text.as_str().to_owned()).collect();
        }
        let text = attribute.read_scalar::<VarLenUnicode>();
        text.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
    }

    fn read_stored<S: Stored>(
        &self,
        channels: Range<usize>,
        window: &Window,
        threads: usize,
    ) -> Result<Array4<S::Memory>> {
        let [d, h, w] = window.size;
        let shape = (channels.len(), d, h, w);
        let mut out = Array4::from_elem(shape, S::Memory::default());
        let [z, y, x] = window.origin;
        let origin = [channels.start, z, y, x];
        if matches!(self.storage, VoxelStorage::Library) {
            self.read_by_library::<S>(origin, out.view_mut())?;
            return Ok(out);
        }
        let file = &self.file.plain.file;
        decode::read::<S>(file, &self.storage, self.shape, origin, out.view_mut(), threads)?;
        Ok(out)
    }

    /// Fills `out`, which begins at `origin`, (C, D, H, W), in parts of so many
    /// chunks: for each the library holds several kilobytes while it reads.
    fn read_by_library<S: Stored>(
        &self,
        origin: [usize; 4],
        mut out: ArrayViewMut4<'_, S::Memory>,
    ) -> Result<()> {
        let counts: [usize; 4] = match self.chunk {
            Some(chunk) => std::array::from_fn(|axis| {
                let end = origin[axis] + out.len_of(Axis(axis));
                end.div_ceil(chunk[axis]) - origin[axis] / chunk[axis]
            }),
            None => [1; 4],
        };
        let many = (0..4).max_by_key(|&axis| counts[axis]).unwrap_or(0);
        if let (Some(chunk), true) = (self.chunk, counts.iter().product::<usize>() > CHUNKS_AT_ONCE)
        {
            // On a line between chunks, so that none is decoded twice.
            let line = (origin[many] / chunk[many] + counts[many] / 2) * chunk[many];
            let (first, second) = out.split_at(Axis(many), line - origin[many]);
            let mut behind = origin;
            behind[many] = line;
            self.read_by_library::<S>(origin, first)?;
            return self.read_by_library::<S>(behind, second);
        }
        let axes: Vec<SliceOrIndex> = (usize::from(!self.has_channels)..4)
            .map(|axis| (origin[axis]..origin[axis] + out.len_of(Axis(axis))).into())
            .collect();
        let array: ArrayD<S> = self
            .handle
            .as_reader()
            .read_slice(Selection::Hyperslab(Hyperslab::new(axes)))
            .map_err(|error| anyhow!("cannot be read: {error}"))?;
        for (voxel, value) in out.iter_mut().zip(array) {
            *voxel = value.widen()?;
        }
        Ok(())
    }
}

impl VolumeReader for H5Reader {
    fn path(&self) -> &Path {
        &self.file.plain.path
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn stored(&self) -> StoredType {
        self.stored
    }

    fn extent(&self) -> [usize; 4] {
        self.shape
    }

    fn has_channels(&self) -> bool {
        self.has_channels
    }

    fn calibration(&self) -> Calibration {
        let numbers = |name| -> Option<Vec<f64>> { self.handle.attr(name).ok()?.read_raw().ok() };
        let spacing = numbers(ELEMENT_SIZE).and_then(|size| <[f64; 3]>::try_from(size).ok());
        let directions = numbers(DIRECTIONS)
            .filter(|numbers| numbers.len() == 9)
            .map(|n| [[n[0], n[1], n[2]], [n[3], n[4], n[5]], [n[6], n[7], n[8]]]);
        let origin: Option<[f64; 3]> = numbers(ORIGIN).and_then(|origin| origin.try_into().ok());
        Calibration {
            spacing,
            unit: spacing.or(origin).map(|_| LengthUnit::Micrometre),
            origin,
            directions,
            channels: self.texts(CHANNELS),
        }
    }

    fn chunk_shape(&self) -> Option<[usize; 4]> {
        self.chunk
    }

    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        self.check_part(&channels, window);
        let file = &self.file.plain;
        file.unchanged()?;
        let [d, h, w] = window.size;
        memory::ensure_room(&[channels.len(), d, h, w], self.element().size())
            .with_context(|| self.describe())?;
        let values = with_stored!(self.stored, S => {
            let array = self.read_stored::<S>(channels, window, threads);
            // A change meanwhile explains an error, and spoils what was read.
            file.unchanged()?;
            S::values(array.with_context(|| self.describe())?)
        });
        Ok(Volume { values, has_channels: self.has_channels })
    }
}

/// Chunks that the library is asked for in one go.
const CHUNKS_AT_ONCE: usize = 4096;

fn missing(file: &FileHandles, name: &str, error: &hdf5::Error) -> anyhow::Error {
    let names = file.dataset_names();
    if names.iter().any(|found| found.trim_start_matches('/') == name.trim_start_matches('/')) {
        return anyhow!("the data set `{name}` cannot be opened: {error}");
    }
    let likely = names
        .iter()
        .map(|found| (likeness(name, found), found))
        .filter(|(likeness, _)| *likeness > 0.65)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let found = match names.len() {
        0 => "the file has none at all".to_string(),
        _ => format!("the file has {}", names.join(", ")),
    };
    match likely {
        Some((_, likely)) => {
            anyhow!("no data set `{name}`; is `{likely}` meant? {found}", found = capital(&found))
        }
        None => anyhow!("no data set `{name}`; {found}"),
    }
}

/// From 0 to 1. Jaro-Winkler alone finds nothing in common in `rw` and `raw`.
fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b).max(strsim::normalized_damerau_levenshtein(a, b))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
