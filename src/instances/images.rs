//! The images that instances are made of, opened from files.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::volume::{Element, VolumeReader, Window};

use super::planes::{InMemory, Planes};

/// One channel of a volume in a file.
pub struct Channel {
    reader: Arc<dyn VolumeReader>,
    channel: usize,
    /// What stored values are multiplied with.
    scale: f32,
    threads: usize,
    /// Slices that are read at a time.
    slab: usize,
    /// All voxels, if they are not too many.
    held: Option<Vec<f32>>,
}

impl Channel {
    /// Opens a channel, and reads it if it takes no more than `at_once` bytes as float32;
    /// a larger one is read in slabs of a fraction of that.
    ///
    /// # Errors
    /// A volume that has no such channel or cannot be read.
    pub fn open(
        reader: Arc<dyn VolumeReader>,
        channel: usize,
        scale: f32,
        at_once: usize,
        threads: usize,
    ) -> Result<Channel> {
        ensure!(
            channel < reader.channels(),
            "{} has {} channel(s), counted from 0: there is no channel {channel}",
            reader.describe(),
            reader.channels()
        );
        let [depth, height, width] = reader.size();
        let plane = (height * width * size_of::<f32>()).max(1);
        // Along the lines between chunks, so that none is decoded twice.
        let chunk = reader.chunk_shape().map_or(1, |[_, depth, ..]| depth.max(1));
        let slab = (at_once / 16 / plane / chunk).max(1) * chunk;
        let mut image = Channel { reader, channel, scale, threads, slab, held: None };
        if plane.saturating_mul(depth) <= at_once {
            image.slab = depth;
            image.held = Some(image.read_slices(0..depth)?);
        }
        Ok(image)
    }

    fn read_slices(&self, slices: Range<usize>) -> Result<Vec<f32>> {
        let [_, height, width] = self.reader.size();
        self.read_window(&Window::new([slices.start, 0, 0], [slices.len(), height, width]))
    }

    fn read_window(&self, window: &Window) -> Result<Vec<f32>> {
        let part = self.reader.read_part(self.channel..self.channel + 1, window, self.threads)?;
        let (mut values, _) = part.into_f32().into_raw_vec_and_offset();
        if self.scale != 1.0 {
            values.iter_mut().for_each(|value| *value *= self.scale);
        }
        Ok(values)
    }
}

impl Planes for Channel {
    fn size(&self) -> [usize; 3] {
        self.reader.size()
    }

    fn slab(&self) -> usize {
        self.slab
    }

    fn read(&self, slices: Range<usize>) -> Result<Cow<'_, [f32]>> {
        match &self.held {
            Some(values) => {
                let [_, height, width] = self.reader.size();
                let plane = height * width;
                Ok(Cow::Borrowed(&values[slices.start * plane..slices.end * plane]))
            }
            None => Ok(Cow::Owned(self.read_slices(slices)?)),
        }
    }

    fn read_box(&self, [z, y, x]: &[Range<usize>; 3]) -> Result<Vec<f32>> {
        let Some(values) = &self.held else {
            return self.read_window(&Window::new(
                [z.start, y.start, x.start],
                [z.len(), y.len(), x.len()],
            ));
        };
        InMemory::new(values, self.reader.size()).read_box(&[z.clone(), y.clone(), x.clone()])
    }
}

/// What probabilities of that type are multiplied with to lie between 0 and 1.
///
/// # Errors
/// A type that holds no probabilities.
pub fn probability_scale(reader: &dyn VolumeReader) -> Result<f32> {
    match reader.element() {
        Element::F32 | Element::F64 => Ok(1.0),
        Element::U8 => Ok(1.0 / 255.0),
        Element::U16 => Ok(1.0 / 65_535.0),
        other => anyhow::bail!(
            "{} holds {}: probabilities are floats, uint8 (255 stands for 1) or uint16 (65535)",
            reader.describe(),
            other.name()
        ),
    }
}
