//! A volume whose voxels follow each other in one piece, plain or gzipped, as formats
//! store them that consist of a header and numbers.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use ndarray::Array4;

use super::axes::AxisMap;
use super::by_tiles::{PLANES, read_by_tiles};
use super::contiguous::Contiguous;
use super::positioned::Positioned;
use super::single::Attributes;
use super::stored::{Stored, StoredType, with_stored};
use crate::files::InputFile;
use crate::runtime::memory;
use crate::volume::{Calibration, Element, Values, Volume, VolumeReader, Window};
use crate::with_values;

/// How the bytes of the voxels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    /// One or more gzip streams. The voxels begin after `skip` unpacked bytes.
    Gzip {
        skip: u64,
    },
    /// A zlib stream.
    Zlib,
}

/// What a header says of its volume.
#[derive(Debug)]
pub(super) struct Layout {
    /// Absolute path of the header.
    pub path: PathBuf,
    /// The file with the voxels, which may be that of the header.
    pub data: InputFile,
    /// Where its voxels begin, or, if they are packed, the first byte of the stream.
    pub offset: u64,
    /// Lengths of the axes, the slowest first.
    pub dims: Vec<usize>,
    /// Which of them are c, z, y and x.
    pub axes: AxisMap,
    pub stored: StoredType,
    pub big_endian: bool,
    pub packing: Packing,
    /// Slope and intercept, by which stored numbers become values.
    pub scale: Option<(f64, f64)>,
    pub calibration: Calibration,
}

/// Opens a file whose header `layout` reads; `kind` says what it should be, such as "an
/// NRRD file". All errors name the file.
pub(super) fn open(
    path: &Path,
    kind: &str,
    layout: impl FnOnce(InputFile) -> Result<(Layout, Attributes)>,
) -> Result<(RawArray, Attributes)> {
    let input = InputFile::open(path, kind)?;
    let name = input.path.display().to_string();
    let open = || -> Result<(RawArray, Attributes)> {
        let (layout, attributes) = layout(input)?;
        Ok((RawArray::new(layout)?, attributes))
    };
    open().context(name)
}

/// Opens the file with the voxels that a field of a header names, relative to the header.
/// `said` is the field as the header has it, for messages.
pub(super) fn data_beside(header: &Path, name: &str, said: &str) -> Result<InputFile> {
    ensure!(
        name.split_whitespace().next() != Some("LIST") && !name.contains('%'),
        "its data are spread over several files (`{said}`): save it as one file"
    );
    let beside = header.parent().unwrap_or(Path::new("")).join(name);
    InputFile::open(&beside, "a data file").context("its data file")
}

/// Where the voxels begin that are the last bytes of a file.
pub(super) fn at_the_end(data: &InputFile, dims: &[usize], stored: StoredType) -> Result<u64> {
    let bytes = dims.iter().try_fold(stored.size() as u64, |all, &n| all.checked_mul(n as u64));
    let bytes = bytes.context("its size is larger than any volume")?;
    data.size.checked_sub(bytes).with_context(|| cut_off(data.size, bytes))
}

/// What is wrong with a file that ends before its last voxel.
pub(super) fn cut_off(there: u64, bytes: u64) -> String {
    format!(
        "the data end after {there} of {bytes} bytes: the file is damaged or was not copied \
         completely"
    )
}

/// What is wrong with compressed voxels that cannot be unpacked.
const DAMAGED: &str =
    "the data cannot be unpacked: the file is damaged or was not copied completely";

/// A volume in one piece, opened and not read yet.
#[derive(Debug)]
pub(super) struct RawArray {
    layout: Layout,
    /// The unpacked voxels, in a file without a name, once a part of them was asked
    /// for.
    unpacked: Mutex<Option<Arc<File>>>,
}

impl RawArray {
    /// # Errors
    /// A file that is shorter than its header says, and a space that is impossible.
    pub fn new(layout: Layout) -> Result<RawArray> {
        layout.calibration.check()?;
        let voxels = layout.dims.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        let bytes = voxels
            .and_then(|voxels| voxels.checked_mul(layout.stored.size()))
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .context("its size is larger than any volume")?;
        if layout.packing == Packing::Plain {
            let there = layout.data.size.saturating_sub(layout.offset);
            ensure!(there >= bytes as u64, "{}", cut_off(there, bytes as u64));
        }
        Ok(RawArray { layout, unpacked: Mutex::new(None) })
    }

    fn bytes(&self) -> u64 {
        self.layout.dims.iter().product::<usize>() as u64 * self.layout.stored.size() as u64
    }

    /// The unpacked bytes from the first voxel on.
    fn stream(&self) -> Result<Box<dyn Read + '_>> {
        let file = Positioned { file: &self.layout.data.file, position: self.layout.offset };
        let file = BufReader::with_capacity(1 << 16, file);
        let (mut stream, skip): (Box<dyn Read + '_>, u64) = match self.layout.packing {
            Packing::Plain => (Box::new(file), 0),
            Packing::Gzip { skip } => (Box::new(MultiGzDecoder::new(file)), skip),
            Packing::Zlib => (Box::new(ZlibDecoder::new(file)), 0),
        };
        let skipped =
            io::copy(&mut stream.by_ref().take(skip), &mut io::sink()).context(DAMAGED)?;
        ensure!(skipped == skip, "the data end before their first voxel");
        Ok(stream)
    }

    /// Unpacks all voxels into a file without a name, if that was not done before.
    fn unpack(&self) -> Result<Arc<File>> {
        let mut unpacked = self.unpacked.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(file) = &*unpacked {
            return Ok(file.clone());
        }
        let place = std::env::temp_dir();
        let file = tempfile::tempfile()
            .with_context(|| format!("no file to unpack it to in {}", place.display()))?;
        let mut writer = BufWriter::with_capacity(1 << 16, &file);
        let mut stream = self.stream()?.take(self.bytes());
        let written = io::copy(&mut stream, &mut writer)
            .and_then(|written| io::Write::flush(&mut writer).map(|()| written))
            .with_context(|| format!("it cannot be unpacked to {}", place.display()))?;
        self.ensure_whole(written)?;
        drop(writer);
        Ok(unpacked.insert(Arc::new(file)).clone())
    }

    fn ensure_whole(&self, found: u64) -> Result<()> {
        ensure!(found == self.bytes(), "{}", cut_off(found, self.bytes()));
        Ok(())
    }

    /// Reads all voxels of a packed volume in the order in which they come.
    fn read_stream<S: Stored>(&self) -> Result<Array4<S::Memory>> {
        let [c, d, h, w] = self.layout.axes.shape;
        let mut stream = self.stream()?;
        let mut out = Array4::from_elem((c, d, h, w), S::Memory::default());
        let mut plane_bytes = vec![0; h * w * size_of::<S>()];
        let mut found = 0;
        for mut volume in out.outer_iter_mut() {
            for mut plane in volume.outer_iter_mut() {
                let mut part = stream.by_ref().take(plane_bytes.len() as u64);
                let mut filled = 0;
                loop {
                    let n = part.read(&mut plane_bytes[filled..]).context(DAMAGED)?;
                    filled += n;
                    if n == 0 || filled == plane_bytes.len() {
                        break;
                    }
                }
                found += filled as u64;
                if filled < plane_bytes.len() {
                    self.ensure_whole(found)?;
                }
                if self.layout.big_endian {
                    plane_bytes.chunks_exact_mut(size_of::<S>()).for_each(<[u8]>::reverse);
                }
                S::decode(&plane_bytes, plane.as_slice_mut().context("a plane in one piece")?)?;
            }
        }
        Ok(out)
    }

    fn read_stored<S: Stored>(
        &self,
        channels: Range<usize>,
        window: &Window,
        threads: usize,
    ) -> Result<Array4<S::Memory>> {
        let Layout { dims, axes, big_endian, offset, packing, .. } = &self.layout;
        let [d, h, w] = window.size;
        let (strides, first) = axes.strides(dims);
        let unpacked;
        let (file, offset) = match packing {
            Packing::Plain => (&self.layout.data.file, *offset),
            Packing::Gzip { .. } | Packing::Zlib => {
                let in_order = Contiguous::in_order(0, axes.shape, false).strides;
                // Along an axis of length 1 there is no stride.
                let same =
                    (0..4).all(|axis| axes.shape[axis] == 1 || strides[axis] == in_order[axis]);
                let all = axes.shape.iter().product::<usize>() == dims.iter().product::<usize>();
                if same && all && [channels.len(), d, h, w] == axes.shape {
                    return self.read_stream::<S>();
                }
                unpacked = self.unpack()?;
                (&*unpacked, 0)
            }
        };
        let offset = offset + (first * size_of::<S>()) as u64;
        let voxels = Contiguous { offset, strides, big_endian: *big_endian };
        // A plane is a good handful for one thread at a time.
        read_by_tiles::<S>(channels, window, PLANES, threads, |scratch, origin, tile| {
            voxels.read_tile::<S>(file, scratch, origin, tile)
        })
    }
}

impl VolumeReader for RawArray {
    fn path(&self) -> &Path {
        &self.layout.path
    }

    fn files(&self) -> Vec<PathBuf> {
        let Layout { path, data, .. } = &self.layout;
        let apart = (data.path != *path).then(|| data.path.clone());
        [path.clone()].into_iter().chain(apart).collect()
    }

    fn stored(&self) -> StoredType {
        self.layout.stored
    }

    fn element(&self) -> Element {
        match (self.layout.scale, self.layout.stored) {
            (None, stored) => stored.element(),
            // All values of these are float32 numbers times a factor.
            (Some(_), stored) if stored.size() <= 2 || stored == StoredType::F32 => Element::F32,
            (Some(_), _) => Element::F64,
        }
    }

    fn extent(&self) -> [usize; 4] {
        self.layout.axes.shape
    }

    fn has_channels(&self) -> bool {
        self.layout.axes.has_channels
    }

    fn calibration(&self) -> Calibration {
        self.layout.calibration.clone()
    }

    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        self.check_part(&channels, window);
        self.layout.data.unchanged()?;
        let [d, h, w] = window.size;
        memory::ensure_room(&[channels.len(), d, h, w], self.element().size())
            .with_context(|| self.describe())?;
        let values = with_stored!(self.layout.stored, S => {
            let array = self.read_stored::<S>(channels, window, threads);
            // A change meanwhile explains an error, and spoils what was read.
            self.layout.data.unchanged()?;
            S::values(array.with_context(|| self.describe())?)
        });
        let values = match self.layout.scale {
            None => values,
            Some(scale) => scaled(values, scale, self.element()),
        };
        Ok(Volume { values, has_channels: self.has_channels() })
    }
}

/// The values of stored numbers, computed in float64.
fn scaled(values: Values, (slope, intercept): (f64, f64), element: Element) -> Values {
    with_values!(values, array => match element {
        Element::F64 => array.mapv(|x| x as f64 * slope + intercept).into(),
        _ => array.mapv(|x| (x as f64 * slope + intercept) as f32).into(),
    })
}
