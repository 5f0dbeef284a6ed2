//! One data set of a file, read whole or window by window.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdf5::{Hyperslab, Selection, SliceOrIndex};
use ndarray::{Array4, ArrayD, ArrayViewMut4, Axis};

use super::decode;
use super::guard;
use super::input::Inner;
use super::storage::{Storage, with_channels};
use super::stored::{Stored, StoredType, with_stored};
use crate::volume::{Element, Statistics, StatisticsBuilder, Volume, Window};

/// A volume in a file, (D, H, W) or (C, D, H, W), that has not been read yet.
///
/// It can be shared by threads, and read by all of them at the same time.
#[derive(Clone, Debug)]
pub struct Dataset {
    inner: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    file: Arc<Inner>,
    name: String,
    handle: hdf5::Dataset,
    /// (C, D, H, W)
    shape: [usize; 4],
    has_channels: bool,
    stored: StoredType,
    /// (C, D, H, W) of a chunk.
    chunk: Option<[usize; 4]>,
    storage: Storage,
}

impl Dataset {
    pub(super) fn open(file: &Arc<Inner>, name: &str) -> Result<Dataset> {
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
        guard::check(&handle, name, stored.size())?;
        let storage = if handle.filename() == file.path.to_string_lossy() {
            Storage::of(&handle, shape, stored, file.size)
                .with_context(|| format!("the data set `{name}`"))?
        } else {
            Storage::Library
        };
        let chunk = handle.chunk().as_deref().and_then(with_channels);
        let inner = Opened {
            file: file.clone(),
            name: name.to_string(),
            handle,
            shape,
            has_channels: dims.len() == 4,
            stored,
            chunk: chunk.filter(|chunk| chunk.iter().all(|&n| n > 0)),
            storage,
        };
        Ok(Dataset { inner: Arc::new(inner) })
    }

    /// Its path within the file.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Of the file, absolute.
    pub fn path(&self) -> &std::path::Path {
        &self.inner.file.path
    }

    /// (D, H, W) or (C, D, H, W), as the file has it.
    pub fn shape(&self) -> Vec<usize> {
        self.inner.shape[usize::from(!self.inner.has_channels)..].to_vec()
    }

    pub fn channels(&self) -> usize {
        self.inner.shape[0]
    }

    /// Depth, height, width.
    pub fn size(&self) -> [usize; 3] {
        let [_, d, h, w] = self.inner.shape;
        [d, h, w]
    }

    pub fn has_channels(&self) -> bool {
        self.inner.has_channels
    }

    /// The element type of volumes read from here.
    pub fn element(&self) -> Element {
        self.inner.stored.element()
    }

    /// Bytes that the whole volume takes in memory.
    pub fn bytes(&self) -> usize {
        self.inner.shape.iter().product::<usize>() * self.element().size()
    }

    /// (C, D, H, W) of a chunk, if the data set has chunks. Reading along their
    /// lines decodes each of them once.
    pub fn chunk_shape(&self) -> Option<[usize; 4]> {
        self.inner.chunk
    }

    /// Reads the whole volume with all cores.
    pub fn read(&self) -> Result<Volume> {
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        self.read_part(0..self.channels(), &Window::whole(self.size()), threads)
    }

    /// Reads a window, all channels, in the calling thread.
    pub fn read_window(&self, window: &Window) -> Result<Volume> {
        self.read_part(0..self.channels(), window, 1)
    }

    /// Reads some channels of a window with that many threads.
    ///
    /// # Panics
    /// If the part is empty or reaches out of the volume.
    pub fn read_part(
        &self,
        channels: Range<usize>,
        window: &Window,
        threads: usize,
    ) -> Result<Volume> {
        let inner = &*self.inner;
        assert!(
            window.fits(self.size())
                && window.voxels() > 0
                && channels.start < channels.end
                && channels.end <= self.channels(),
            "window {window} leaves a volume {:?}",
            self.size()
        );
        let context = || format!("{}: the data set `{}`", inner.file.path.display(), inner.name);
        inner.file.unchanged()?;
        let [d, h, w] = window.size;
        guard::room(&[channels.len(), d, h, w], self.element().size()).with_context(context)?;
        let values = with_stored!(inner.stored, S => {
            let array = inner.read::<S>(channels, window, threads);
            // A change meanwhile explains an error, and spoils what was read.
            inner.file.unchanged()?;
            S::values(array.with_context(context)?)
        });
        Ok(Volume { values, has_channels: inner.has_channels })
    }

    /// Boxes that cover the volume in the order c, z, y, over all x, of at most
    /// `bytes` bytes in memory unless a single row of chunks is larger. No chunk is
    /// in two of them.
    pub fn tiles(&self, bytes: usize) -> Vec<(Range<usize>, Window)> {
        let [channels, depth, h, w] = self.inner.shape;
        let [c_step, mut z_step, mut y_step, _] = self.chunk_shape().unwrap_or([1, 1, 1, w]);
        let row = c_step * w * self.element().size();
        let fits = |voxels: usize, chunk: usize| (bytes / (row * voxels) / chunk).max(1) * chunk;
        y_step = fits(z_step, y_step).min(h);
        if y_step == h {
            z_step = fits(h, z_step);
        }
        let mut tiles = Vec::new();
        for c in (0..channels).step_by(c_step) {
            for z in (0..depth).step_by(z_step) {
                for y in (0..h).step_by(y_step) {
                    let size = [z_step.min(depth - z), y_step.min(h - y), w];
                    let window = Window::new([z, y, 0], size);
                    tiles.push((c..(c + c_step).min(channels), window));
                }
            }
        }
        tiles
    }

    /// Statistics over all voxels and channels, in bounded memory: that of a row of
    /// chunks, or 32 MiB. An error names the first voxel that is NaN or infinite.
    pub fn statistics(&self) -> Result<Statistics> {
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        let mut builder = StatisticsBuilder::new(self.channels(), self.size()[0]);
        for (channels, window) in self.tiles(32 << 20) {
            let [z, y, _] = window.origin;
            let part = self.read_part(channels.clone(), &window, threads)?;
            let last = window.end()[1] == self.size()[1];
            builder.add_rows(&part, [channels.start, z, y], last).with_context(|| {
                format!("{}: the data set `{}`", self.path().display(), self.name())
            })?;
        }
        Ok(builder.finish())
    }
}

impl Opened {
    fn read<S: Stored>(
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
        if matches!(self.storage, Storage::Library) {
            self.read_by_library::<S>(origin, out.view_mut())?;
            return Ok(out);
        }
        let file = &self.file.plain;
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

/// Chunks that the library is asked for in one go.
const CHUNKS_AT_ONCE: usize = 4096;

fn missing(file: &Inner, name: &str, error: &hdf5::Error) -> anyhow::Error {
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
