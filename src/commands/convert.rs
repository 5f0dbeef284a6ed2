//! `unet3d convert`: a volume in another format, or a part of it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;

use crate::cli::{self, CompressionKind, Usage, ZarrVersion};
use crate::files::is_taken;
use crate::format::{self, Format, Inputs, ReadOptions};
use crate::resample::grid::{Grid, Interpolation, resampled};
use crate::runtime::report::Reporter;
use crate::volume::{
    Block, Calibration, Compression, Edition, Element, Encoding, LengthUnit, NewVolume, StoredType,
    Volume, VolumeFile, VolumeReader, Window,
};

/// How files name the command that wrote them.
pub const MADE_BY: &str = "unet3d convert";

/// Bytes of the parts in which a volume is copied, about.
const PART: usize = 32 << 20;

/// Bytes of the blocks that threads hold together, about.
const BLOCKS: usize = 512 << 20;

pub fn convert(options: &cli::Convert, reporter: &Reporter) -> Result<()> {
    let output = &options.output;
    let format = format::named(output).with_context(|| {
        format!(
            "{}: no format of volumes has this extension; write {}",
            output.display(),
            format::patterns()
        )
    })?;
    Inputs::new([options.input.as_path()]).check(output)?;
    may_replace(options)(output)?;
    let (reader, stored) = open(options, format)?;
    // Voxels may lie in files that the input names, such as the data file of a header.
    let files = reader.files();
    Inputs::new(files.iter().map(PathBuf::as_path)).check(output)?;
    let threads = match options.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let name = volume_name(options, &*reader);
    let shape = reader.extent();
    let volume = NewVolume {
        name: &name,
        shape,
        has_channels: reader.has_channels(),
        encoding: Encoding::Number(stored),
        compression: match options.compression {
            CompressionKind::None => Compression::None,
            CompressionKind::Gzip => Compression::Gzip { level: options.compression_level },
        },
        edition: match options.zarr_version {
            ZarrVersion::Newest => Edition::Newest,
            ZarrVersion::Previous => Edition::Previous,
        },
        labels: options.labels,
    };
    let bar = reporter.bar(shape.iter().product::<usize>() as u64, "voxels");
    let texts = texts(options);
    match format.create_blocks {
        Some(create) => {
            let blocks = create(output, &volume, &reader.calibration())?;
            copy_blocks(&*reader, &*blocks, threads, &bar)?;
            blocks.finish(&texts, threads, &may_replace(options))?;
        }
        None => {
            let create = format
                .create
                .with_context(|| format!("{}: {} is only read", output.display(), format.name))?;
            let mut writer = create(output, threads)?;
            for (name, text) in &texts {
                writer.attribute(name, text)?;
            }
            let id = writer.begin(&volume)?;
            writer.calibrate(id, &reader.calibration())?;
            for (channels, window) in reader.tiles(PART) {
                let part = reader.read_part(channels.clone(), &window, threads)?;
                let [z, y, _] = window.origin;
                writer.write_block(id, [channels.start, z, y], Block::from(&part.values))?;
                bar.inc((channels.len() * window.voxels()) as u64);
            }
            writer.finish_if(&may_replace(options))?;
        }
    }
    bar.finish_and_clear();
    log::info!(
        "{}: {:?} {}",
        output.display(),
        &shape[usize::from(!reader.has_channels())..],
        stored.name()
    );
    Ok(())
}

/// Whether what stands under the output's name may go: a file or a store of voxels, if that
/// is asked for, and never a folder or a device.
fn may_replace(options: &cli::Convert) -> impl Fn(&Path) -> Result<()> + '_ {
    |path| {
        if !is_taken(path) {
            return Ok(());
        }
        ensure!(
            options.overwrite,
            "{}: exists; it is replaced with `--overwrite` alone",
            path.display()
        );
        ensure!(
            path.is_file() || format::is_store(path),
            "{}: is neither a file nor a store of voxels, and is not replaced",
            path.display()
        );
        Ok(())
    }
}

/// What the file tells of its making.
fn texts(options: &cli::Convert) -> Vec<(String, String)> {
    let input = std::path::absolute(&options.input).unwrap_or_else(|_| options.input.clone());
    [
        (format::MADE_BY, MADE_BY.to_owned()),
        ("unet3d_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("converted_from", input.display().to_string()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

/// Opens the input and what is asked for of it, with the type that is written.
fn open(options: &cli::Convert, format: &Format) -> Result<(Arc<dyn VolumeReader>, StoredType)> {
    let axes = options.axes.as_deref().map(ReadOptions::parse_axes).transpose();
    let axes = axes.map_err(|error| Usage(error.to_string()))?;
    let read = ReadOptions { axes, ..ReadOptions::default() };
    let file = format::open_file_with(&options.input, &read)?;
    let name = match &options.dataset {
        Some(name) => name.clone(),
        None => only_name(&*file)?,
    };
    let mut reader = file.volume(&name)?;
    let channels = match &options.channels {
        Some(cli::Channels(channels)) => {
            let all = reader.channels();
            if let Some(missing) = channels.iter().find(|channel| **channel >= all) {
                bail!(Usage(format!(
                    "{}: there is no channel {missing}: its {all} are numbered from 0",
                    options.input.display()
                )));
            }
            Some(channels.clone())
        }
        None => None,
    };
    let crop = match &options.crop {
        Some(crop) => Some(crop.ranges(reader.size()).map_err(Usage)?),
        None => None,
    };
    let told = options.set_voxel_size.map(|cli::Lengths(size)| size);
    if channels.is_some() || crop.is_some() || told.is_some() {
        reader = Arc::new(Part::of(reader, channels, crop, told));
    }
    // Means of voxels are written as the type that the voxels had.
    let stored = stored_type(&*reader, format);
    if let Some(cli::Lengths(wanted)) = options.voxel_size {
        let own = reader.voxel_size().with_context(|| {
            format!(
                "{}: the size of its voxels is not known: say it with `--set-voxel-size`",
                reader.describe()
            )
        })?;
        let size = reader.size();
        let grids = std::array::from_fn(|axis| Grid::new(size[axis], own[axis], wanted[axis]));
        let interpolation =
            if options.labels { Interpolation::Nearest } else { Interpolation::Linear };
        reader = resampled(reader, grids, interpolation);
    }
    Ok((reader, stored))
}

/// The volume of a file that has one.
fn only_name(file: &dyn VolumeFile) -> Result<String> {
    if !file.names_volumes() {
        return Ok(String::new());
    }
    match &file.names()[..] {
        [one] => Ok(one.clone()),
        names => bail!(
            "{}: it has the volumes {}: choose one with `--dataset`",
            file.path().display(),
            names.join(", ")
        ),
    }
}

/// The name of the volume in the output: its own, or what it stands for.
fn volume_name(options: &cli::Convert, reader: &dyn VolumeReader) -> String {
    let own = options.dataset.as_deref().or(reader.name());
    let own = own.and_then(|name| name.trim_matches('/').rsplit('/').next());
    match own.filter(|name| !name.is_empty() && name.parse::<usize>().is_err()) {
        Some(name) => name.to_owned(),
        None if options.labels => "label".to_owned(),
        None => "raw".to_owned(),
    }
}

/// The type of the numbers that are written: that of the file, unless what is read from
/// it is something else, or the format does not have it.
fn stored_type(reader: &dyn VolumeReader, format: &Format) -> StoredType {
    let (stored, element) = (reader.stored(), reader.element());
    let stored = if stored.element() == element { stored } else { element.into() };
    if (format.holds)(stored) { stored } else { element.into() }
}

/// Copies a volume by as many threads as there is memory for their blocks.
fn copy_blocks(
    reader: &dyn VolumeReader,
    writer: &dyn crate::volume::BlockWriter,
    threads: usize,
    bar: &ProgressBar,
) -> Result<()> {
    // What is read, what is encoded and what is compressed of it.
    let workers = (BLOCKS / (3 * writer.block_bytes()).max(1)).clamp(1, threads);
    let inner = threads.div_ceil(workers);
    let next = Mutex::new(0..writer.blocks());
    let work = || -> Result<()> {
        loop {
            let number = next.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            let Some(number) = number else { return Ok(()) };
            let (channels, window) = writer.block(number);
            let part = reader.read_part(channels.clone(), &window, inner)?;
            writer.write(number, Block::from(&part.values), inner)?;
            bar.inc((channels.len() * window.voxels()) as u64);
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut result = Ok(());
        for thread in running {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if ended.is_err() {
                // The others stop at their next block.
                *next.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = 0..0;
            }
            result = result.and(ended);
        }
        result
    })
}

/// Some channels of a part of a volume.
#[derive(Debug)]
struct Part {
    inner: Arc<dyn VolumeReader>,
    channels: Vec<usize>,
    window: Window,
    has_channels: bool,
    calibration: Calibration,
}

impl Part {
    fn of(
        inner: Arc<dyn VolumeReader>,
        channels: Option<Vec<usize>>,
        crop: Option<[Range<usize>; 3]>,
        voxel_size: Option<[f64; 3]>,
    ) -> Part {
        let window = match &crop {
            Some(ranges) => Window::new(
                ranges.each_ref().map(|range| range.start),
                ranges.each_ref().map(Range::len),
            ),
            None => Window::whole(inner.size()),
        };
        let mut calibration = inner.calibration();
        if let Some(size) = voxel_size {
            calibration.spacing = Some(size);
            calibration.unit = Some(LengthUnit::Micrometre);
        }
        if let (Some(_), Some(spacing)) = (&crop, calibration.spacing) {
            let unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            let directions = calibration.directions.unwrap_or(unit);
            let mut origin = calibration.origin.unwrap_or_default();
            for axis in 0..3 {
                let moved = spacing[axis] * window.origin[axis] as f64;
                for (place, direction) in origin.iter_mut().zip(directions[axis]) {
                    *place += moved * direction;
                }
            }
            calibration.origin = Some(origin);
        }
        let all: Vec<usize> = (0..inner.channels()).collect();
        let chosen = channels.unwrap_or_else(|| all.clone());
        if calibration.channels.len() == all.len() {
            let names = &calibration.channels;
            calibration.channels = chosen.iter().map(|channel| names[*channel].clone()).collect();
        }
        // One of several channels is a volume (D, H, W).
        let has_channels = chosen.len() > 1 || (inner.has_channels() && all.len() == 1);
        Part { inner, channels: chosen, window, has_channels, calibration }
    }
}

impl VolumeReader for Part {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.inner.files()
    }

    fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    fn stored(&self) -> StoredType {
        self.inner.stored()
    }

    fn element(&self) -> Element {
        self.inner.element()
    }

    fn extent(&self) -> [usize; 4] {
        let [d, h, w] = self.window.size;
        [self.channels.len(), d, h, w]
    }

    fn has_channels(&self) -> bool {
        self.has_channels
    }

    fn chunk_shape(&self) -> Option<[usize; 4]> {
        let [_, d, h, w] = self.inner.chunk_shape()?;
        let [depth, height, width] = self.window.size;
        Some([1, d.min(depth), h.min(height), w.min(width)])
    }

    fn calibration(&self) -> Calibration {
        self.calibration.clone()
    }

    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        self.check_part(&channels, window);
        let origin = std::array::from_fn(|axis| self.window.origin[axis] + window.origin[axis]);
        let window = Window::new(origin, window.size);
        // Those that follow each other are read together.
        let runs = self.channels[channels].chunk_by(|a, b| a + 1 == *b);
        let mut parts = Vec::new();
        for run in runs {
            let range = run[0]..run[0] + run.len();
            parts.push(self.inner.read_part(range, &window, threads)?);
        }
        let mut volume = match parts.len() {
            1 => parts.remove(0),
            _ => Volume::join_channels(parts),
        };
        volume.has_channels = self.has_channels;
        Ok(volume)
    }
}
