//! What every file format offers of the volumes in its files.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use super::{
    Calibration, Element, OneHot, Palette, Statistics, StatisticsBuilder, StoredType, Volume,
    Window, read_compact,
};

/// Bytes of the parts in which a volume is read when all of it is looked at, about.
pub(super) const PART: usize = 32 << 20;

/// A file opened for reading.
pub trait VolumeFile: fmt::Debug + Send + Sync {
    /// Absolute path of the file.
    fn path(&self) -> &Path;

    /// Whether the format names the volumes in a file. Files of other formats hold
    /// one volume, which every name stands for.
    fn names_volumes(&self) -> bool {
        false
    }

    /// Names of the volumes in the file, as far as it names them.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the file has a volume of that name. Never so if the format does not
    /// name volumes.
    fn has(&self, _name: &str) -> bool {
        false
    }

    /// Opens a volume.
    ///
    /// # Errors
    /// No volume of that name, or one that is damaged or no volume (D, H, W) or
    /// (C, D, H, W). The message names the file.
    fn volume(&self, name: &str) -> Result<Arc<dyn VolumeReader>>;

    /// A text attribute of the file, `None` if there is none of that name.
    ///
    /// # Errors
    /// An attribute that is no text.
    fn attribute(&self, _name: &str) -> Result<Option<String>> {
        Ok(None)
    }
}

/// A volume (D, H, W) or (C, D, H, W) in a file, read whole or part by part. Threads
/// may read it at the same time.
pub trait VolumeReader: fmt::Debug + Send + Sync {
    /// Absolute path of the file.
    fn path(&self) -> &Path;

    /// All files that the voxels come from, its own first.
    fn files(&self) -> Vec<PathBuf> {
        vec![self.path().to_path_buf()]
    }

    /// Name of the volume within its file, `None` if the format does not name
    /// volumes.
    fn name(&self) -> Option<&str> {
        None
    }

    /// The type of number that the file has.
    fn stored(&self) -> StoredType;

    /// Element type of the volumes read from here.
    fn element(&self) -> Element {
        self.stored().element()
    }

    /// Channels, depth, height and width; one channel for a volume (D, H, W).
    fn extent(&self) -> [usize; 4];

    /// Whether the volume has a channel axis.
    fn has_channels(&self) -> bool {
        false
    }

    /// Channels, depth, height and width of the chunks that the file is stored in.
    /// Reading along the lines between them decodes each of them once. `None` if any
    /// row along x is read without the others.
    fn chunk_shape(&self) -> Option<[usize; 4]> {
        None
    }

    /// What the file tells of space and channels.
    fn calibration(&self) -> Calibration {
        Calibration::default()
    }

    /// Size of a voxel along z, y and x in micrometres, if the file tells.
    fn voxel_size(&self) -> Option<[f64; 3]> {
        self.calibration().voxel_size()
    }

    /// Reads some channels of a window with that many threads.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or was changed since it was opened.
    ///
    /// # Panics
    /// If the part is empty or reaches out of the volume.
    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume>;

    fn channels(&self) -> usize {
        self.extent()[0]
    }

    /// Depth, height, width.
    fn size(&self) -> [usize; 3] {
        let [_, d, h, w] = self.extent();
        [d, h, w]
    }

    /// (D, H, W) or (C, D, H, W), as the file has it.
    fn shape(&self) -> Vec<usize> {
        self.extent()[usize::from(!self.has_channels())..].to_vec()
    }

    /// Bytes that the whole volume takes in memory.
    fn bytes(&self) -> usize {
        self.extent().iter().product::<usize>() * self.element().size()
    }

    /// How messages name the volume: the file, and the data set if there are several.
    fn describe(&self) -> String {
        match self.name() {
            Some(name) => format!("{}: the data set `{name}`", self.path().display()),
            None => self.path().display().to_string(),
        }
    }

    /// Panics if a part of the volume is empty or reaches out of it.
    fn check_part(&self, channels: &Range<usize>, window: &Window) {
        assert!(
            window.fits(self.size())
                && window.voxels() > 0
                && channels.start < channels.end
                && channels.end <= self.channels(),
            "channels {channels:?} of window {window} leave a volume {:?}",
            self.extent()
        );
    }

    /// Reads the whole volume with all cores.
    fn read(&self) -> Result<Volume> {
        self.read_part(0..self.channels(), &Window::whole(self.size()), all_cores())
    }

    /// Reads a window, all channels, in the calling thread.
    fn read_window(&self, window: &Window) -> Result<Volume> {
        self.read_part(0..self.channels(), window, 1)
    }

    /// Boxes that cover the volume in the order c, z, y, over all x, of at most
    /// `bytes` bytes in memory unless a single row of chunks is larger. No chunk is
    /// in two of them.
    fn tiles(&self, bytes: usize) -> Vec<(Range<usize>, Window)> {
        let [channels, depth, h, w] = self.extent();
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
    fn statistics(&self) -> Result<Statistics> {
        let mut builder = StatisticsBuilder::new(self.channels(), self.size()[0]);
        for (channels, window) in self.tiles(PART) {
            let [z, y, _] = window.origin;
            let part = self.read_part(channels.clone(), &window, all_cores())?;
            let last = window.end()[1] == self.size()[1];
            builder
                .add_rows(&part, [channels.start, z, y], last)
                .with_context(|| self.describe())?;
        }
        Ok(builder.finish())
    }

    /// Reads a volume (C, D, H, W) as the class of each voxel; `None` if some voxel
    /// has a value other than 0 and 1 or more than one 1.
    fn read_one_hot(&self) -> Result<Option<OneHot>> {
        read_compact::read_one_hot(self)
    }

    /// Reads a volume (C, D, H, W) as the column of each voxel; `None` if it has more
    /// different columns than [`Palette::LIMIT`].
    fn read_palette(&self) -> Result<Option<Palette>> {
        read_compact::read_palette(self)
    }
}

fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get())
}
