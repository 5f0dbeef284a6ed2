//! A box of voxels within a volume, and cutting it out.

use std::fmt;
use std::ops::Range;

use ndarray::{Array4, s};

use super::Volume;
use crate::map_values;

/// A box of voxels: where it begins and how large it is, as z, y, x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    pub origin: [usize; 3],
    pub size: [usize; 3],
}

impl Window {
    pub fn new(origin: [usize; 3], size: [usize; 3]) -> Self {
        Window { origin, size }
    }

    /// The whole of a volume of this size.
    pub fn whole(size: [usize; 3]) -> Self {
        Window { origin: [0; 3], size }
    }

    pub fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// One past the last voxel of each axis.
    pub fn end(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.origin[axis] + self.size[axis])
    }

    pub fn range(&self, axis: usize) -> Range<usize> {
        self.origin[axis]..self.origin[axis] + self.size[axis]
    }

    /// Whether the window lies within a volume of that size.
    pub fn fits(&self, size: [usize; 3]) -> bool {
        (0..3).all(|axis| {
            self.origin[axis].checked_add(self.size[axis]).is_some_and(|end| end <= size[axis])
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [z, y, x] = [self.range(0), self.range(1), self.range(2)];
        write!(f, "z {}..{}, y {}..{}, x {}..{}", z.start, z.end, y.start, y.end, x.start, x.end)
    }
}

impl Volume {
    /// A copy of the voxels of `window`, all channels.
    ///
    /// # Panics
    /// If the window reaches out of the volume.
    pub fn window(&self, window: &Window) -> Volume {
        assert!(window.fits(self.size()), "window {window} leaves a volume {:?}", self.size());
        let values = map_values!(&self.values, a => copy_window(a, window));
        Volume { values, has_channels: self.has_channels }
    }
}

/// Copies row by row: a slice's own `to_owned` goes voxel by voxel.
pub(super) fn copy_window<T: Copy>(array: &Array4<T>, window: &Window) -> Array4<T> {
    let [d, h, w] = window.size;
    let channels = array.dim().0;
    let mut out = Vec::with_capacity(channels * window.voxels());
    let view = array.slice(s![.., window.range(0), window.range(1), window.range(2)]);
    for row in view.rows() {
        match row.to_slice() {
            Some(row) => out.extend_from_slice(row),
            None => out.extend(row.iter().copied()),
        }
    }
    Array4::from_shape_vec((channels, d, h, w), out).expect("as many values as the window holds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_voxels_of_its_box() {
        let array = Array4::from_shape_fn((2, 3, 4, 5), |(c, z, y, x)| {
            (1000 * c + 100 * z + 10 * y + x) as i32
        });
        let volume = Volume::channelled(array);
        let cut = volume.window(&Window::new([1, 2, 3], [2, 2, 2]));
        assert_eq!(cut.shape(), [2, 2, 2, 2]);
        let crate::volume::Values::I32(values) = cut.values else { panic!("the type changed") };
        assert_eq!(
            values.into_raw_vec_and_offset().0,
            [
                123, 124, 133, 134, 223, 224, 233, 234, 1123, 1124, 1133, 1134, 1223, 1224, 1233,
                1234
            ]
        );
    }

    #[test]
    fn fitting_minds_every_axis() {
        let size = [4, 5, 6];
        assert!(Window::whole(size).fits(size));
        assert!(!Window::new([0, 0, 1], [4, 5, 6]).fits(size));
        assert!(!Window::new([usize::MAX, 0, 0], [2, 1, 1]).fits(size));
    }
}
