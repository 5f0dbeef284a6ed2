//! Resampling to another size of voxels, window by window.
//!
//! The outer faces of a volume stay where they are: voxel `i` of the result has its centre
//! at `(i + 0.5) · ratio − 0.5` of the input, with `ratio` the new size of a voxel over the
//! old. Beyond the centres of the outer voxels their values go on. So a window of the
//! result depends on a window of the input alone, and not on how the result is cut.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ndarray::{Array4, Axis, Zip};

use super::gaussian::Real;
use crate::runtime::memory;
use crate::volume::{
    Calibration, Element, LengthUnit, StoredType, Values, Volume, VolumeReader, Window,
};
use crate::with_values;

/// Between which two voxels of the input each voxel of the result lies, along one axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places {
    pub low: Vec<usize>,
    pub high: Vec<usize>,
    /// What of the way from the lower to the higher one it lies at.
    pub share: Vec<f64>,
}

/// One axis of a volume, and the same axis with voxels of another size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Voxels of the input and of the result.
    from: usize,
    to: usize,
    /// Size of a voxel of the result over that of the input.
    ratio: f64,
}

impl Grid {
    /// The grid on which an axis of `from` voxels of a length has voxels of another one.
    pub fn new(from: usize, length: f64, wanted: f64) -> Grid {
        // Files keep lengths as float32 or as decimals of few digits: what differs by less
        // is the same, so that every format gives the same result.
        let ratio = (wanted / length * 1e6).round().max(1.0) / 1e6;
        let drift = (ratio - 1.0).abs();
        if drift <= 1e-3 && drift * (from as f64) < 0.5 {
            return Grid { from, to: from, ratio: 1.0 };
        }
        Grid { from, to: ((from as f64 / ratio).round() as usize).max(1), ratio }
    }

    /// The grid that leads back.
    pub fn back(self) -> Grid {
        Grid { from: self.to, to: self.from, ratio: 1.0 / self.ratio }
    }

    pub fn is_identity(self) -> bool {
        self.ratio == 1.0
    }

    /// Voxels of the input.
    pub fn before(self) -> usize {
        self.from
    }

    /// Voxels of the result.
    pub fn len(self) -> usize {
        self.to
    }

    pub fn is_empty(self) -> bool {
        self.to == 0
    }

    fn position(self, index: usize) -> f64 {
        ((index as f64 + 0.5) * self.ratio - 0.5).clamp(0.0, self.from as f64 - 1.0)
    }

    /// For linear interpolation of some voxels of the result.
    pub fn linear(self, range: Range<usize>) -> Places {
        let mut places = Places::default();
        for position in range.map(|index| self.position(index)) {
            let low = position as usize;
            let share = position - low as f64;
            places.low.push(low);
            places.high.push(low + usize::from(share > 0.0));
            places.share.push(share);
        }
        places
    }

    /// For either interpolation of some voxels of the result.
    pub fn places(self, range: Range<usize>, interpolation: Interpolation) -> Places {
        match interpolation {
            Interpolation::Linear => self.linear(range),
            Interpolation::Nearest => {
                let low = self.nearest(range);
                Places { high: low.clone(), share: vec![0.0; low.len()], low }
            }
        }
    }

    /// How many voxels of the result lie between the first `count` voxels of the input.
    pub fn ready(self, count: usize) -> usize {
        if count >= self.from {
            return self.to;
        }
        let between = |index: usize| self.position(index) <= count as f64 - 1.0;
        // Positions ascend: a guess, and the few steps from there.
        let mut ready = ((count as f64 / self.ratio) as usize).min(self.to);
        while ready > 0 && !between(ready - 1) {
            ready -= 1;
        }
        while ready < self.to && between(ready) {
            ready += 1;
        }
        ready
    }

    /// The nearest voxel of the input for some voxels of the result; halves are rounded up.
    pub fn nearest(self, range: Range<usize>) -> Vec<usize> {
        // What is a half but for the digits of the ratio is one.
        let nearest = |index| ((self.position(index) + 0.5 + 1e-3) as usize).min(self.from - 1);
        range.map(nearest).collect()
    }
}

/// Linear interpolation of (C, D, H, W) along z, then y, then x.
pub fn linear<T: Real>(mut values: Array4<T>, places: [&Places; 3]) -> Array4<T> {
    for (axis, places) in (1..).map(Axis).zip(places) {
        if places.is_identity(values.len_of(axis)) {
            continue;
        }
        let mut shape = [0; 4];
        shape.copy_from_slice(values.shape());
        shape[axis.index()] = places.low.len();
        let mut out = Array4::from_elem(shape, T::of(0.0));
        let planes = out.axis_iter_mut(axis).zip(&places.low).zip(&places.high).zip(&places.share);
        for (((plane, &low), &high), &share) in planes {
            let share = T::of(share);
            Zip::from(plane)
                .and(values.index_axis(axis, low))
                .and(values.index_axis(axis, high))
                .for_each(|out, &low, &high| *out = low + (high - low) * share);
        }
        values = out;
    }
    values
}

impl Places {
    /// Whether each voxel of an axis of that length is its own place.
    fn is_identity(&self, length: usize) -> bool {
        self.low.len() == length
            && self.low.iter().enumerate().all(|(index, low)| index == *low)
            && self.share.iter().all(|share| *share == 0.0)
    }

    /// Each voxel of an axis of that length as it is.
    pub fn all(length: usize) -> Places {
        let low: Vec<usize> = (0..length).collect();
        Places { high: low.clone(), low, share: vec![0.0; length] }
    }

    /// The same places, counted from voxel `first` of the input.
    pub fn from(mut self, first: usize) -> Places {
        self.low.iter_mut().chain(&mut self.high).for_each(|index| *index -= first);
        self
    }

    /// The voxels of the input that are needed; the places count from the first of them
    /// afterwards.
    fn localize(&mut self) -> Range<usize> {
        let first = self.low.iter().copied().min().unwrap_or(0);
        let end = self.high.iter().copied().max().unwrap_or(0) + 1;
        self.low.iter_mut().chain(&mut self.high).for_each(|index| *index -= first);
        first..end
    }
}

/// How values between voxels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Of raw data and probabilities. The values become floats.
    Linear,
    /// Of labels and weights, whose values stay what they are.
    Nearest,
}

/// Grids along z, y and x that bring a volume to voxels of the size `wanted`, in
/// micrometres.
///
/// # Errors
/// A file that does not tell the size of its voxels.
pub fn grids_to(reader: &dyn VolumeReader, wanted: [f64; 3]) -> Result<[Grid; 3]> {
    let own = reader.voxel_size().with_context(|| {
        format!(
            "{}: the size of its voxels is not known, which `loaders.voxel_size` needs: write it \
             into the file (HDF5: the attribute `element_size_um` of the data set, z, y, x in \
             micrometres), or leave the key out",
            reader.describe()
        )
    })?;
    let size = reader.size();
    Ok(std::array::from_fn(|axis| Grid::new(size[axis], own[axis], wanted[axis])))
}

/// A volume with voxels of another size; the reader itself if they are of that size.
pub fn resampled(
    reader: Arc<dyn VolumeReader>,
    grids: [Grid; 3],
    interpolation: Interpolation,
) -> Arc<dyn VolumeReader> {
    if grids.iter().all(|grid| grid.is_identity()) {
        return reader;
    }
    Arc::new(ResampledReader { inner: reader, grids, interpolation })
}

/// Bytes of the parts in which a large volume is resampled, about.
const PART: usize = 32 << 20;

/// A volume that is resampled as it is read.
#[derive(Debug)]
struct ResampledReader {
    inner: Arc<dyn VolumeReader>,
    grids: [Grid; 3],
    interpolation: Interpolation,
}

impl ResampledReader {
    /// Resamples a window whose source fits into memory.
    fn resample(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        let mut places: [Places; 3] =
            std::array::from_fn(|axis| self.grids[axis].linear(window.range(axis)));
        let needed = places.each_mut().map(Places::localize);
        let source = Window::new(
            needed.each_ref().map(|range| range.start),
            needed.each_ref().map(Range::len),
        );
        let part = self.inner.read_part(channels, &source, threads)?;
        let has_channels = part.has_channels;
        if self.interpolation == Interpolation::Nearest {
            let indices = std::array::from_fn(|axis| {
                let nearest = self.grids[axis].nearest(window.range(axis));
                nearest.into_iter().map(|index| index - source.origin[axis]).collect()
            });
            return Ok(part.gather(&indices));
        }
        let places = places.each_ref();
        let values = match self.element() {
            Element::F64 => {
                let array = with_values!(part.values, a => a.mapv(|value| value as f64));
                Values::F64(linear(array, places))
            }
            _ => Values::F32(linear(part.into_f32(), places)),
        };
        Ok(Volume { values, has_channels })
    }
}

impl VolumeReader for ResampledReader {
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
        match self.interpolation {
            Interpolation::Nearest => self.inner.stored(),
            Interpolation::Linear => self.element().into(),
        }
    }

    fn element(&self) -> Element {
        match (self.interpolation, self.inner.element()) {
            (Interpolation::Nearest, element) => element,
            // float32 holds what these have.
            (Interpolation::Linear, Element::U8 | Element::U16 | Element::F32) => Element::F32,
            (Interpolation::Linear, _) => Element::F64,
        }
    }

    fn extent(&self) -> [usize; 4] {
        let [depth, height, width] = self.grids.map(Grid::len);
        [self.inner.channels(), depth, height, width]
    }

    fn has_channels(&self) -> bool {
        self.inner.has_channels()
    }

    /// What the chunks of the file are about.
    fn chunk_shape(&self) -> Option<[usize; 4]> {
        let [channels, chunk @ ..] = self.inner.chunk_shape()?;
        let [d, h, w] = std::array::from_fn(|axis| {
            let Grid { to, ratio, .. } = self.grids[axis];
            ((chunk[axis] as f64 / ratio).round() as usize).clamp(1, to)
        });
        Some([channels, d, h, w])
    }

    fn calibration(&self) -> Calibration {
        let own = self.inner.calibration().in_unit(LengthUnit::Micrometre);
        let Some(old) = own.spacing else { return own };
        let spacing: [f64; 3] = std::array::from_fn(|axis| old[axis] * self.grids[axis].ratio);
        // The first voxel is larger or smaller, at the same outer face.
        let origin = own.origin.map(|mut origin| {
            let unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            let directions = own.directions.unwrap_or(unit);
            for axis in 0..3 {
                let moved = (spacing[axis] - old[axis]) / 2.0;
                for (place, direction) in origin.iter_mut().zip(directions[axis]) {
                    *place += moved * direction;
                }
            }
            origin
        });
        Calibration { spacing: Some(spacing), origin, ..own }
    }

    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        self.check_part(&channels, window);
        let [depth, height, width] = window.size;
        let size = self.element().size();
        let slice = channels.len() * height * width * size;
        let step = (PART / slice.max(1)).max(1);
        if step >= depth {
            return self.resample(channels, window, threads);
        }
        memory::ensure_room(&[channels.len(), depth, height, width], size)
            .with_context(|| self.describe())?;
        let part = |first: usize, count: usize| {
            let origin = [window.origin[0] + first, window.origin[1], window.origin[2]];
            let window = Window::new(origin, [count, height, width]);
            self.resample(channels.clone(), &window, threads)
        };
        let shape = [channels.len(), depth, height, width];
        let mut all = Volume::zeros(self.element(), shape, self.has_channels());
        for start in (0..depth).step_by(step) {
            all.set_slices(start, &part(start, step.min(depth - start))?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_faces_stay_where_they_are() {
        let grid = Grid::new(6, 0.5, 1.0);
        assert_eq!((grid.len(), grid.before()), (3, 6));
        let places = grid.linear(0..3);
        assert_eq!((&places.low[..], &places.share[..]), (&[0, 2, 4][..], &[0.5; 3][..]));
        assert_eq!(grid.nearest(0..3), [1, 3, 5]);
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|count| grid.ready(count)), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(grid.back().nearest(0..6), [0, 0, 1, 1, 2, 2]);
        let fine = Grid::new(2, 1.0, 0.5).linear(0..4);
        assert_eq!((&fine.low[..], &fine.high[..]), (&[0, 0, 0, 1][..], &[0, 1, 1, 1][..]));
        assert_eq!(fine.share, [0.0, 0.25, 0.75, 0.0]);
    }

    #[test]
    fn sizes_that_files_cannot_tell_apart_are_the_same() {
        assert!(Grid::new(500, f64::from(0.54f32), 0.54).is_identity());
        assert!(Grid::new(500, 0.54, 0.5404).is_identity());
        assert!(!Grid::new(500, 0.54, 0.55).is_identity());
        assert_eq!(Grid::new(40, f64::from(0.36f32), 0.54), Grid::new(40, 0.36, 0.54));
        // An axis does not vanish.
        assert_eq!(Grid::new(1, 1.0, 100.0).len(), 1);
    }
}
