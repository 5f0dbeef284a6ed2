//! Flips and quarter turns as one map of indices.
//!
//! Flips and exchanges of axes form a group of 48 elements (the symmetries of the cube). Any
//! sequence of them is therefore one of these elements: it costs one pass over the voxels,
//! whatever its length, and does not change values.

use std::mem::swap;

use ndarray::Array4;

use crate::map_values;
use crate::volume::{OneHot, Palette, Volume, Voxels};

/// What holds of every volume.
const C_ORDER: &str = "volumes are contiguous, in C order";

/// The map from voxels of the output to voxels of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexMap {
    /// For each output axis z, y, x: the corresponding input axis.
    axes: [usize; 3],
    /// For each output axis: whether it runs along the input axis backwards.
    backwards: [bool; 3],
}

impl IndexMap {
    pub const IDENTITY: IndexMap = IndexMap { axes: [0, 1, 2], backwards: [false; 3] };

    /// This map, then a flip of `axis`.
    pub fn flipped(mut self, axis: usize) -> Self {
        self.backwards[axis] ^= true;
        self
    }

    /// This map, then a quarter turn from the first axis of `plane` towards the
    /// second, as `numpy.rot90`.
    pub fn turned(self, [a, b]: [usize; 2]) -> Self {
        let mut map = self.flipped(b);
        map.axes.swap(a, b);
        map.backwards.swap(a, b);
        map
    }

    /// This map, then `next`.
    pub fn then(self, next: IndexMap) -> Self {
        IndexMap {
            axes: next.axes.map(|axis| self.axes[axis]),
            backwards: [0, 1, 2].map(|i| next.backwards[i] ^ self.backwards[next.axes[i]]),
        }
    }

    /// The size of the output.
    pub fn size(&self, input: [usize; 3]) -> [usize; 3] {
        self.axes.map(|axis| input[axis])
    }

    /// Applies the map to every channel of a volume: flips in place, rotations with the memory of
    /// one more volume.
    pub fn apply(&self, volume: Volume) -> Volume {
        let has_channels = volume.has_channels;
        let values = map_values!(volume.values, a => self.apply_array(a));
        Volume { values, has_channels }
    }

    /// Like [`IndexMap::apply`], for a volume in any form.
    pub fn apply_voxels(&self, volume: Voxels) -> Voxels {
        match volume {
            Voxels::Dense(volume) => Voxels::Dense(self.apply(volume)),
            Voxels::OneHot(label) => {
                Voxels::OneHot(OneHot { indices: self.apply_array(label.indices), ..label })
            }
            Voxels::Palette(palette) => {
                Voxels::Palette(Palette { indices: self.apply_array(palette.indices), ..palette })
            }
        }
    }

    fn apply_array<T: Copy + Default>(&self, array: Array4<T>) -> Array4<T> {
        if self.axes == IndexMap::IDENTITY.axes { self.flip(array) } else { self.gather(&array) }
    }

    /// A map without an exchange of axes, which swaps voxels in pairs.
    fn flip<T: Copy>(&self, mut array: Array4<T>) -> Array4<T> {
        let (_, depth, height, width) = array.dim();
        let [back_z, back_y, back_x] = self.backwards;
        let voxels = depth * height * width;
        if voxels == 0 || !(back_z || back_y || back_x) {
            return array;
        }
        let partner = |row: usize| {
            let (z, y) = (row / height, row % height);
            let z = if back_z { depth - 1 - z } else { z };
            let y = if back_y { height - 1 - y } else { y };
            z * height + y
        };
        let values = array.as_slice_mut().expect(C_ORDER);
        for channel in values.chunks_exact_mut(voxels) {
            for row in 0..depth * height {
                let other = partner(row);
                if other == row && back_x {
                    channel[row * width..][..width].reverse();
                } else if other > row {
                    let (before, after) = channel.split_at_mut(other * width);
                    let (here, there) = (&mut before[row * width..][..width], &mut after[..width]);
                    if back_x {
                        here.iter_mut().zip(there.iter_mut().rev()).for_each(|(a, b)| swap(a, b));
                    } else {
                        here.swap_with_slice(there);
                    }
                }
            }
        }
        array
    }

    fn gather<T: Copy + Default>(&self, input: &Array4<T>) -> Array4<T> {
        let (channels, depth, height, width) = input.dim();
        let input_size = [depth, height, width];
        let size = self.size(input_size);
        let voxels = depth * height * width;
        let mut output = vec![T::default(); channels * voxels];
        if voxels > 0 {
            let input = input.as_slice().expect(C_ORDER);
            let walk = Walk::new(self, input_size);
            for (input, output) in input.chunks_exact(voxels).zip(output.chunks_exact_mut(voxels)) {
                walk.channel(input, output);
            }
        }
        Array4::from_shape_vec((channels, size[0], size[1], size[2]), output)
            .expect("a permutation keeps the number of voxels")
    }
}

/// The map as a start and strides in the memory of one input channel.
struct Walk {
    size: [usize; 3],
    /// Offset from which the first output voxel is read.
    start: isize,
    /// Stride in the input for one step along each output axis.
    steps: [isize; 3],
}

/// Side of the blocks in which planes are transposed: 32 rows of 64 bytes easily fit into the
/// first-level cache.
const TILE: usize = 32;

impl Walk {
    fn new(map: &IndexMap, input: [usize; 3]) -> Self {
        let strides = [(input[1] * input[2]) as isize, input[2] as isize, 1];
        let mut start = 0;
        let mut steps = [0; 3];
        for (output_axis, &axis) in map.axes.iter().enumerate() {
            steps[output_axis] = strides[axis];
            if map.backwards[output_axis] {
                start += strides[axis] * (input[axis] as isize - 1);
                steps[output_axis] = -strides[axis];
            }
        }
        Walk { size: map.size(input), start, steps }
    }

    fn channel<T: Copy>(&self, input: &[T], output: &mut [T]) {
        match self.steps {
            [_, _, 1 | -1] => self.rows(input, output),
            [_, 1 | -1, _] => self.transpose(input, output, 0, 1),
            _ => self.transpose(input, output, 1, 0),
        }
    }

    /// Output rows that are input rows, possibly reversed.
    fn rows<T: Copy>(&self, input: &[T], output: &mut [T]) {
        let [_, height, width] = self.size;
        for (i, row) in output.chunks_exact_mut(width).enumerate() {
            let (z, y) = ((i / height) as isize, (i % height) as isize);
            let at = (self.start + z * self.steps[0] + y * self.steps[1]) as usize;
            if self.steps[2] == 1 {
                row.copy_from_slice(&input[at..at + width]);
            } else {
                let source = &input[at + 1 - width..=at];
                for (to, from) in row.iter_mut().zip(source.iter().rev()) {
                    *to = *from;
                }
            }
        }
    }

    /// Output rows that run across the input rows: `along` is the output axis along the input
    /// rows, `outer` the remaining one.
    fn transpose<T: Copy>(&self, input: &[T], output: &mut [T], outer: usize, along: usize) {
        let [_, height, width] = self.size;
        let output_strides = [height * width, width];
        for o in 0..self.size[outer] {
            let from = self.start + o as isize * self.steps[outer];
            let to = o * output_strides[outer];
            for a0 in (0..self.size[along]).step_by(TILE) {
                let a1 = (a0 + TILE).min(self.size[along]);
                for x0 in (0..width).step_by(TILE) {
                    let x1 = (x0 + TILE).min(width);
                    for a in a0..a1 {
                        let mut at =
                            from + a as isize * self.steps[along] + x0 as isize * self.steps[2];
                        let row = to + a * output_strides[along];
                        for value in &mut output[row + x0..row + x1] {
                            *value = input[at as usize];
                            at += self.steps[2];
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Axis;
    use proptest::prelude::*;

    fn numbered(channels: usize, size: [usize; 3]) -> Array4<u16> {
        let shape = (channels, size[0], size[1], size[2]);
        let count: usize = channels * size.iter().product::<usize>();
        Array4::from_shape_vec(shape, (0..count as u16).collect()).unwrap()
    }

    /// Reference: flips and exchanges of views, one after the other.
    #[derive(Clone, Copy, Debug)]
    enum View {
        Flip(usize),
        Turn([usize; 2]),
    }

    fn by_views(mut array: Array4<u16>, steps: &[View]) -> Array4<u16> {
        for step in steps {
            match *step {
                View::Flip(axis) => array.invert_axis(Axis(axis + 1)),
                View::Turn([a, b]) => {
                    array.invert_axis(Axis(b + 1));
                    array.swap_axes(a + 1, b + 1);
                }
            }
        }
        array.as_standard_layout().into_owned()
    }

    fn composed(steps: &[View]) -> IndexMap {
        steps.iter().fold(IndexMap::IDENTITY, |map, step| match *step {
            View::Flip(axis) => map.flipped(axis),
            View::Turn(plane) => map.turned(plane),
        })
    }

    fn step() -> impl Strategy<Value = View> {
        prop_oneof![
            (0usize..3).prop_map(View::Flip),
            (0usize..3, 1usize..3).prop_map(|(a, d)| View::Turn([a, (a + d) % 3])),
        ]
    }

    proptest! {
        #[test]
        fn composition_is_the_sequence_of_steps(
            steps in prop::collection::vec(step(), 0..6),
            cut in 0usize..6,
            size in [1usize..5, 1usize..40, 1usize..40],
            channels in 1usize..3,
        ) {
            let array = numbered(channels, size);
            let wanted = by_views(array.clone(), &steps);
            let volume = Volume::channelled(array);
            let whole = composed(&steps).apply(volume.clone());
            prop_assert_eq!(&whole, &Volume::channelled(wanted));
            let cut = cut.min(steps.len());
            let parts = composed(&steps[..cut]).then(composed(&steps[cut..]));
            prop_assert_eq!(parts, composed(&steps));
        }
    }

    #[test]
    fn a_quarter_turn_is_that_of_numpy() {
        // numpy.rot90([[1, 2, 3], [4, 5, 6]]) == [[3, 6], [2, 5], [1, 4]]
        let values = Array4::from_shape_vec((1, 1, 2, 3), vec![1u8, 2, 3, 4, 5, 6]).unwrap();
        let turned = IndexMap::IDENTITY.turned([1, 2]).apply(Volume::plain(values));
        let wanted = Array4::from_shape_vec((1, 1, 3, 2), vec![3u8, 6, 2, 5, 1, 4]).unwrap();
        assert_eq!(turned, Volume::plain(wanted));
    }
}
