//! Minimum, maximum, mean and standard deviation of a volume in one pass.
//!
//! Every (H, W) plane is summed up by itself, block by block: the mean of a
//! block that lies in the cache, then the squared distances from it. Blocks and
//! planes are joined by the formula of Chan, Golub and LeVeque ("Updating
//! Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979),
//! always in the order (c, z): the result does not depend on the order or the
//! number of threads in which the planes came.

use std::collections::HashMap;

use anyhow::{Result, bail};
use ndarray::ArrayView2;

use super::{Statistics, Volume};
use crate::with_values;

const BLOCK: usize = 4096;

/// Count, mean and sum of squared distances from the mean.
#[derive(Clone, Copy, Debug)]
struct Moments {
    count: f64,
    min: f64,
    max: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    const EMPTY: Moments =
        Moments { count: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, mean: 0.0, squares: 0.0 };

    fn of_block(block: &[f64]) -> Moments {
        let mut sums = [0.0; 8];
        let mut mins = [f64::INFINITY; 8];
        let mut maxs = [f64::NEG_INFINITY; 8];
        let (lanes, rest) = block.as_chunks::<8>();
        for lane in lanes {
            for i in 0..8 {
                sums[i] += lane[i];
                mins[i] = if lane[i] < mins[i] { lane[i] } else { mins[i] };
                maxs[i] = if lane[i] > maxs[i] { lane[i] } else { maxs[i] };
            }
        }
        let mut sum: f64 = sums.iter().sum();
        let mut min = mins.into_iter().fold(f64::INFINITY, f64::min);
        let mut max = maxs.into_iter().fold(f64::NEG_INFINITY, f64::max);
        for &x in rest {
            sum += x;
            min = min.min(x);
            max = max.max(x);
        }
        let count = block.len() as f64;
        let mean = sum / count;
        let mut squares = [0.0; 8];
        for lane in lanes {
            for i in 0..8 {
                squares[i] += (lane[i] - mean) * (lane[i] - mean);
            }
        }
        let rest: f64 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
        Moments { count, min, max, mean, squares: squares.iter().sum::<f64>() + rest }
    }

    fn join(self, other: Moments) -> Moments {
        if self.count == 0.0 {
            return other;
        }
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        Moments {
            count,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            mean: self.mean + distance * (other.count / count),
            squares: self.squares
                + other.squares
                + distance * distance * (self.count * other.count / count),
        }
    }
}

/// Collects the planes of a volume (C, D, H, W), in any order.
pub struct StatisticsBuilder {
    depth: usize,
    planes: Vec<Moments>,
    /// Voxels of planes that came in part, less than a block of each.
    waiting: HashMap<usize, Vec<f64>>,
}

impl StatisticsBuilder {
    pub fn new(channels: usize, depth: usize) -> Self {
        let planes = vec![Moments::EMPTY; channels * depth];
        StatisticsBuilder { depth, planes, waiting: HashMap::new() }
    }

    /// Adds the channels and planes of `part`, which begins at `channel` and `z`.
    /// An error names the first voxel that is NaN or infinite.
    pub fn add(&mut self, part: &Volume, channel: usize, z: usize) -> Result<()> {
        self.add_rows(part, [channel, z, 0], true)
    }

    /// Adds some rows of planes: `part` begins at `corner` (channel, z, y) and goes
    /// on where the rows before it ended; `last` if the planes end with it. Blocks
    /// are the same as of whole planes, and so is the result.
    pub fn add_rows(&mut self, part: &Volume, corner: [usize; 3], last: bool) -> Result<()> {
        let [channel, z, y] = corner;
        with_values!(&part.values, a => {
            for (c, volume) in a.outer_iter().enumerate() {
                for (d, plane) in volume.outer_iter().enumerate() {
                    let number = (channel + c) * self.depth + z + d;
                    let mut block = self.waiting.remove(&number).unwrap_or_default();
                    let before = self.planes[number];
                    let moments = plane_moments(before, &mut block, plane, |&x| x as f64, last);
                    if !moments.mean.is_finite() || !moments.squares.is_finite() {
                        let place = if part.has_channels {
                            format!("channel {}, z {}", channel + c, z + d)
                        } else {
                            format!("z {}", z + d)
                        };
                        complain(plane, |&x| x as f64, &place, y)?;
                    }
                    self.planes[number] = moments;
                    if !block.is_empty() {
                        self.waiting.insert(number, block);
                    }
                }
            }
        });
        Ok(())
    }

    pub fn finish(&self) -> Statistics {
        let all = self.planes.iter().fold(Moments::EMPTY, |all, &plane| all.join(plane));
        Statistics {
            min: all.min,
            max: all.max,
            mean: all.mean,
            std: (all.squares / all.count).sqrt(),
        }
    }
}

impl Statistics {
    /// Of all voxels and channels of a volume. An error names the first voxel
    /// that is NaN or infinite.
    pub fn of(volume: &Volume) -> Result<Statistics> {
        let mut builder = StatisticsBuilder::new(volume.channels(), volume.size()[0]);
        builder.add(volume, 0, 0)?;
        Ok(builder.finish())
    }
}

/// Joins the blocks of `plane` to `moments`. `block` holds what no whole block came
/// of, before and after; nothing after the `last` rows.
fn plane_moments<T: Copy>(
    mut moments: Moments,
    block: &mut Vec<f64>,
    plane: ArrayView2<'_, T>,
    to_f64: impl Fn(&T) -> f64,
    last: bool,
) -> Moments {
    let plane = plane.as_standard_layout();
    let mut voxels = plane.as_slice().unwrap_or_default();
    block.reserve(BLOCK.min(voxels.len()));
    while !voxels.is_empty() {
        let (now, later) = voxels.split_at((BLOCK - block.len()).min(voxels.len()));
        block.extend(now.iter().map(&to_f64));
        voxels = later;
        if block.len() == BLOCK {
            moments = moments.join(Moments::of_block(block));
            block.clear();
        }
    }
    if last && !block.is_empty() {
        moments = moments.join(Moments::of_block(block));
        block.clear();
    }
    moments
}

fn complain<T>(
    plane: ArrayView2<'_, T>,
    to_f64: impl Fn(&T) -> f64,
    place: &str,
    first_row: usize,
) -> Result<()> {
    for ((y, x), value) in plane.indexed_iter() {
        let (value, y) = (to_f64(value), first_row + y);
        if !value.is_finite() {
            let what = if value.is_nan() { "NaN" } else { "infinite" };
            bail!(
                "the voxel at {place}, y {y}, x {x} is {what}; \
                 replace such voxels (numpy.nan_to_num) before using the file"
            );
        }
    }
    bail!("the values at {place} are too large for their mean to be computed; scale them down")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Window;
    use ndarray::Array4;

    #[test]
    fn the_population_formulas() {
        let volume = Volume::plain(
            Array4::from_shape_vec((1, 1, 2, 4), vec![2u8, 4, 4, 4, 5, 5, 7, 9]).unwrap(),
        );
        let expected = Statistics { min: 2.0, max: 9.0, mean: 5.0, std: 2.0 };
        assert_eq!(Statistics::of(&volume).unwrap(), expected);
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        // A naive sum of squares loses every digit of the deviation here.
        let array = Array4::from_shape_fn((2, 3, 70, 90), |(c, z, y, x)| {
            1e9 + ((c + z + y + x) % 2) as f64
        });
        let found = Statistics::of(&Volume::channelled(array)).unwrap();
        assert_eq!((found.min, found.max, found.std), (1e9, 1e9 + 1.0, 0.5));
        assert!((found.mean - (1e9 + 0.5)).abs() < 1e-6);
    }

    #[test]
    fn the_order_of_the_parts_does_not_matter() {
        let array = Array4::from_shape_fn((3, 5, 67, 71), |(c, z, y, x)| {
            ((c * z + 7 * y * x) as f32).sin()
        });
        let volume = Volume::channelled(array);
        let whole = Statistics::of(&volume).unwrap();
        let mut builder = StatisticsBuilder::new(3, 5);
        for z in [3, 0, 4, 1, 2] {
            let part = volume.window(&Window::new([z, 0, 0], [1, 67, 71]));
            builder.add(&part, 0, z).unwrap();
        }
        assert_eq!(builder.finish(), whole);
    }

    #[test]
    fn rows_make_the_same_as_planes() {
        let array = Array4::from_shape_fn((2, 3, 150, 71), |(c, z, y, x)| {
            ((c + 3 * z + y * x) as f32).sin()
        });
        let volume = Volume::channelled(array);
        let mut builder = StatisticsBuilder::new(2, 3);
        for (y, height) in [(0, 1), (1, 100), (101, 40), (141, 9)] {
            let part = volume.window(&Window::new([0, y, 0], [3, height, 71]));
            builder.add_rows(&part, [0, 0, y], y == 141).unwrap();
        }
        assert_eq!(builder.finish(), Statistics::of(&volume).unwrap());
        assert!(builder.waiting.is_empty());
    }

    #[test]
    fn values_that_are_no_numbers_are_named() {
        let mut array = Array4::<f32>::zeros((2, 2, 3, 4));
        array[[1, 0, 2, 3]] = f32::NAN;
        let message = Statistics::of(&Volume::channelled(array.clone())).unwrap_err().to_string();
        assert!(message.contains("channel 1, z 0, y 2, x 3 is NaN"), "{message}");
        array[[0, 1, 0, 1]] = f32::NEG_INFINITY;
        let message = Statistics::of(&Volume::channelled(array)).unwrap_err().to_string();
        assert!(message.contains("channel 0, z 1, y 0, x 1 is infinite"), "{message}");
    }
}
