//! Writing stores of OME-Zarr.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use super::image::{Image, ImageSpec, group_of, workers, write_groups};
use crate::files::PartialDirectory;
use crate::format::encode::encode;
use crate::format::parallel::for_each_number;
use crate::format::spool::{MayReplace, SpoolWriter, Spooled, SpooledVolume, failure};
use crate::volume::{Block, BlockWriter, Calibration, Encoding, NewVolume, VolumeWriter, Window};
use crate::with_block;

/// Images in a store, at most: more than any command writes.
const MOST: usize = 64;

/// Begins a store of volumes whose parts come in any order.
pub(super) fn create(path: &Path, threads: usize) -> Result<Box<dyn VolumeWriter>> {
    SpoolWriter::create(path, threads, MOST, finish)
}

fn finish(spooled: &Spooled, may_replace: MayReplace<'_>) -> Result<()> {
    let make = || -> Result<PartialDirectory> {
        let partial = PartialDirectory::create(&spooled.target)?;
        let mut images = Vec::new();
        let mut sum = 0u64;
        for (number, volume) in spooled.volumes.iter().enumerate() {
            let group = group_of(number, &volume.name);
            let (image, metadata) = Image::create(partial.path(), &group, spec(volume))?;
            let chunks = write_voxels(&image, volume, spooled.threads)?;
            let levels = image.make_levels(spooled.threads)?;
            sum = sum.wrapping_add(metadata).wrapping_add(chunks).wrapping_add(levels);
            images.push(image);
        }
        let images: Vec<&Image> = images.iter().collect();
        write_groups(partial.path(), &images, &spooled.texts(), sum)?;
        Ok(partial)
    };
    let partial = make().map_err(|error| failure(&spooled.target, error))?;
    partial.replace_if(may_replace)?.map_err(|error| failure(&spooled.target, error.into()))
}

fn spec(volume: &SpooledVolume) -> ImageSpec {
    ImageSpec {
        name: volume.name.clone(),
        shape: volume.shape,
        has_channels: volume.has_channels,
        encoding: volume.encoding,
        compression: volume.compression,
        edition: volume.edition,
        labels: volume.labels,
        calibration: volume.calibration.clone(),
    }
}

/// Writes the largest level of what was gathered. Returns the checksum of its chunks.
fn write_voxels(image: &Image, volume: &SpooledVolume, threads: usize) -> Result<u64> {
    let level = &image.levels[0];
    let sum = AtomicU64::new(0);
    let workers = workers(threads, 3 * level.spec.file_bytes());
    for_each_number(level.spec.file_count(), workers, &|number| {
        let (channels, window) = image.block(number);
        let ([z, y, x], [d, h, w]) = (window.origin, window.size);
        let bytes = volume.read_box([channels.start, z, y, x], [channels.len(), d, h, w])?;
        let file = level.spec.file_number(number);
        sum.fetch_add(level.store(&file, bytes, threads.div_ceil(workers))?, Ordering::Relaxed);
        Ok(())
    })?;
    Ok(sum.into_inner())
}

/// A store of one image whose blocks, files of chunks, are written as they are.
struct ZarrBlocks {
    target: PathBuf,
    partial: PartialDirectory,
    image: Image,
    encoding: Encoding,
    sum: AtomicU64,
}

/// Begins a store of one volume that is written block by block.
pub(super) fn create_blocks(
    path: &Path,
    volume: &NewVolume<'_>,
    calibration: &Calibration,
) -> Result<Box<dyn BlockWriter>> {
    let target = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let make = || -> Result<ZarrBlocks> {
        let partial = PartialDirectory::create(&target)?;
        let spec = ImageSpec::of(volume, calibration);
        let (image, sum) = Image::create(partial.path(), "", spec)?;
        let (sum, encoding) = (AtomicU64::new(sum), volume.encoding);
        Ok(ZarrBlocks { target: target.clone(), partial, image, encoding, sum })
    };
    Ok(Box::new(make().map_err(|error| failure(&target, error))?))
}

/// The bytes of a block, row after row.
pub(super) fn encoded(encoding: Encoding, block: Block<'_>) -> Result<Vec<u8>> {
    let (c, d, h, w) = block.dim();
    let mut bytes = vec![0; c * d * h * w * encoding.size()];
    with_block!(block, view => {
        let rows = view.as_standard_layout();
        let rows = rows.view().into_shape_with_order((c * d * h, w))?;
        encode(encoding, rows, &mut bytes);
    });
    Ok(bytes)
}

impl BlockWriter for ZarrBlocks {
    fn blocks(&self) -> usize {
        self.image.levels[0].spec.file_count()
    }

    fn block(&self, number: usize) -> (std::ops::Range<usize>, Window) {
        self.image.block(number)
    }

    fn block_bytes(&self) -> usize {
        self.image.levels[0].spec.file_bytes()
    }

    fn write(&self, number: usize, block: Block<'_>, threads: usize) -> Result<()> {
        let write = || -> Result<u64> {
            let level = &self.image.levels[0];
            let bytes = encoded(self.encoding, block)?;
            level.store(&level.spec.file_number(number), bytes, threads)
        };
        let sum = write().map_err(|error| failure(&self.target, error))?;
        self.sum.fetch_add(sum, Ordering::Relaxed);
        Ok(())
    }

    fn finish(
        self: Box<Self>,
        texts: &[(String, String)],
        threads: usize,
        may_replace: MayReplace<'_>,
    ) -> Result<()> {
        let ZarrBlocks { target, partial, image, sum, .. } = *self;
        let complete = || -> Result<()> {
            let levels = image.make_levels(threads)?;
            let sum = sum.into_inner().wrapping_add(levels);
            write_groups(partial.path(), &[&image], texts, sum)
        };
        complete().map_err(|error| failure(&target, error))?;
        partial.replace_if(may_replace)?.map_err(|error| failure(&target, error.into()))
    }
}

/// The checksum of all files of a store, of which the one that is noted in it is none.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn checksum(root: &Path, noted: &str) -> Result<String> {
    use super::image::NO_CHECKSUM;
    use super::level::file_sum;
    use super::version::is_description;
    let mut sum = 0u64;
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root)?.to_str().context("a name that is no text")?;
            let mut content = std::fs::read(&path).with_context(|| name.to_owned())?;
            if is_description(name) {
                ensure!(noted.len() == NO_CHECKSUM.len(), "the checksum is no checksum");
                let text = String::from_utf8(content)?;
                content = text.replacen(noted, NO_CHECKSUM, 1).into_bytes();
            }
            sum = sum.wrapping_add(file_sum(name, &content));
        }
    }
    Ok(format!("{sum:016x}"))
}
