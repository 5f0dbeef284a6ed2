//! Mirror padding: numpy's `pad(mode="reflect")`, which does not repeat the edge.
//!
//! The padded volume is never built. A window of it is gathered from the voxels
//! it mirrors, so that padding costs no memory and works on files read piece by
//! piece.

use ndarray::Array4;

use super::{Volume, Window};
use crate::map_values;

/// How many voxels are added at each side of z, y and x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    pub pad: [usize; 3],
}

impl Mirror {
    pub fn is_none(&self) -> bool {
        self.pad == [0; 3]
    }

    /// The size of a volume once it is padded.
    pub fn padded(&self, size: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| size[axis] + 2 * self.pad[axis])
    }

    /// What a window of the padded volume shows: the smallest window of the
    /// volume itself (of `size`) that holds it all, and for each axis the
    /// indices into that window.
    pub fn sources(&self, window: &Window, size: [usize; 3]) -> (Window, [Vec<usize>; 3]) {
        let mut maps = [0, 1, 2].map(|axis| {
            window
                .range(axis)
                .map(|i| reflect(i as i64 - self.pad[axis] as i64, size[axis]))
                .collect::<Vec<_>>()
        });
        let mut source = Window::new([0; 3], [0; 3]);
        for (axis, map) in maps.iter_mut().enumerate() {
            let first = map.iter().copied().min().unwrap_or(0);
            let last = map.iter().copied().max().unwrap_or(0);
            source.origin[axis] = first;
            source.size[axis] = last + 1 - first;
            map.iter_mut().for_each(|index| *index -= first);
        }
        (source, maps)
    }
}

/// The voxel of an axis of length `n` that stands at position `i` of its
/// endless reflection. An axis of one voxel repeats it, as numpy does.
fn reflect(i: i64, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let n = n as i64;
    let period = 2 * (n - 1);
    let i = i.rem_euclid(period);
    (if i < n { i } else { period - i }) as usize
}

impl Volume {
    /// The voxels at the given indices along z, y and x, all channels.
    pub fn gather(&self, indices: &[Vec<usize>; 3]) -> Volume {
        let values = map_values!(&self.values, a => gather(a, indices));
        Volume { values, has_channels: self.has_channels }
    }
}

fn gather<T: Copy>(array: &Array4<T>, [zs, ys, xs]: &[Vec<usize>; 3]) -> Array4<T> {
    let channels = array.dim().0;
    let mut out = Vec::with_capacity(channels * zs.len() * ys.len() * xs.len());
    for c in 0..channels {
        for &z in zs {
            for &y in ys {
                let row = array.slice(ndarray::s![c, z, y, ..]);
                out.extend(xs.iter().map(|&x| row[x]));
            }
        }
    }
    Array4::from_shape_vec((channels, zs.len(), ys.len(), xs.len()), out)
        .expect("as many values as indices")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Values;

    /// numpy.pad(numpy.arange(n), pad, mode="reflect")
    #[test]
    fn axes_are_padded_as_numpy_does() {
        let cases: [(usize, usize, &[usize]); 5] = [
            (4, 2, &[2, 1, 0, 1, 2, 3, 2, 1]),
            (3, 2, &[2, 1, 0, 1, 2, 1, 0]),
            // Wider than the axis: the reflection is reflected again.
            (2, 3, &[1, 0, 1, 0, 1, 0, 1, 0]),
            (3, 5, &[1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]),
            (1, 2, &[0, 0, 0, 0, 0]),
        ];
        for (n, pad, expected) in cases {
            let found: Vec<_> =
                (0..n + 2 * pad).map(|i| reflect(i as i64 - pad as i64, n)).collect();
            assert_eq!(found, expected, "n = {n}, pad = {pad}");
        }
    }

    #[test]
    fn a_window_of_the_padding_needs_only_its_neighbourhood() {
        let mirror = Mirror { pad: [2, 0, 3] };
        let array =
            Array4::from_shape_fn((1, 5, 2, 6), |(_, z, y, x)| (100 * z + 10 * y + x) as u16);
        let volume = Volume::plain(array);
        assert_eq!(mirror.padded(volume.size()), [9, 2, 12]);
        let (source, maps) = mirror.sources(&Window::new([0, 1, 8], [3, 1, 4]), volume.size());
        assert_eq!(source, Window::new([0, 1, 2], [3, 1, 4]));
        let Values::U16(found) = volume.window(&source).gather(&maps).values else {
            panic!("the type changed")
        };
        // z 2 1 0 of the volume; x 5 4 3 2.
        let expected: Vec<u16> =
            [2, 1, 0].iter().flat_map(|z| [5, 4, 3, 2].map(|x| 100 * z + 10 + x)).collect();
        assert_eq!(found.into_raw_vec_and_offset().0, expected);
    }
}
