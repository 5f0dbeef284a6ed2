//! Looks at the values of a volume: all of them if they are few, otherwise those of windows
//! that are spread over it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;

use crate::volume::{Statistics, Volume, VolumeReader, Window};
use crate::with_values;

/// Different values that are counted, at most.
const COUNTED: usize = 4096;

/// Windows of a large volume.
const WINDOWS: usize = 16;

/// Largest window (z, y, x) of a large volume.
const WINDOW: [usize; 3] = [24, 160, 160];

/// What the values of a volume are like.
#[derive(Clone, Debug)]
pub struct Look {
    pub statistics: Statistics,
    /// How often each value occurs; `None` if some are no integers or there are too many.
    pub counts: Option<BTreeMap<i64, u64>>,
    /// Whether some values are no integers.
    pub fractions: bool,
    /// The share of neighbours along x that are equal.
    pub equal_neighbours: f64,
    /// Voxels looked at, in all channels.
    pub voxels: u64,
    /// Whether these are all of them.
    pub whole: bool,
    /// The same for volumes of one shape and one content, in whatever files.
    pub digest: u64,
}

/// Looks at a volume. Up to `most` voxels are looked at one by one; of larger volumes,
/// windows are.
///
/// # Errors
/// A file that cannot be read.
pub fn look_at(reader: &dyn VolumeReader, most: usize) -> Result<Look> {
    let [channels, size @ ..] = reader.extent();
    let voxels: usize = channels * size.iter().product::<usize>();
    let whole = voxels <= most;
    let windows = if whole { slabs(size, channels) } else { spread(size) };
    let mut looking = Looking::default();
    reader.extent().hash(&mut looking.hasher);
    for window in &windows {
        let part = reader.read_part(0..channels, window, 1)?;
        looking.add(&part);
    }
    Ok(looking.finish(whole))
}

/// Looks at one volume in memory.
pub fn look_at_volume(volume: &Volume) -> Look {
    let mut looking = Looking::default();
    looking.add(volume);
    looking.finish(true)
}

/// Slabs of a whole volume, of about 4 million voxels.
fn slabs(size: [usize; 3], channels: usize) -> Vec<Window> {
    let [depth, height, width] = size;
    let step = ((4 << 20) / (height * width * channels).max(1)).max(1);
    (0..depth)
        .step_by(step)
        .map(|z| Window::new([z, 0, 0], [step.min(depth - z), height, width]))
        .collect()
}

/// Windows at the points of Hammersley's set ("Monte Carlo methods for solving multivariable
/// problems", 1960), which fills space evenly: n over their number along z, and the radical
/// inverses of n in base 2 and 3 along y and x.
fn spread(size: [usize; 3]) -> Vec<Window> {
    let window = [0, 1, 2].map(|axis| WINDOW[axis].min(size[axis]));
    (0..WINDOWS)
        .map(|number| {
            let slab = (number as f64 + 0.5) / WINDOWS as f64;
            let shares = [slab, radical_inverse(number, 2), radical_inverse(number, 3)];
            let origin = [0, 1, 2]
                .map(|axis| (shares[axis] * (size[axis] - window[axis] + 1) as f64) as usize);
            Window::new(origin, window)
        })
        .collect()
}

/// The digits of a number, mirrored at the point: from 0 to 1.
fn radical_inverse(mut number: usize, base: usize) -> f64 {
    let (mut share, mut unit) = (0.0, 1.0);
    while number > 0 {
        unit /= base as f64;
        share += (number % base) as f64 * unit;
        number /= base;
    }
    share
}

#[derive(Default)]
struct Looking {
    count: u64,
    sum: f64,
    squares: f64,
    range: Option<[f64; 2]>,
    counts: BTreeMap<i64, u64>,
    too_many: bool,
    fractions: bool,
    pairs: u64,
    equal: u64,
    hasher: DefaultHasher,
}

impl Looking {
    fn add(&mut self, part: &Volume) {
        let width = part.size()[2].max(1);
        with_values!(&part.values, array => {
            let array = array.as_standard_layout();
            let values = array.as_slice().unwrap_or_default();
            for row in values.chunks(width) {
                self.row(row.iter().map(|&value| value as f64));
            }
        });
    }

    fn row(&mut self, row: impl Iterator<Item = f64>) {
        let mut before = None;
        // Runs of equal values, as labels have, are counted at once.
        let mut run = 0u64;
        for value in row {
            if let Some(last) = before {
                self.pairs += 1;
                if last == value {
                    self.equal += 1;
                } else {
                    self.run(last, run);
                    run = 0;
                }
            }
            run += 1;
            before = Some(value);
        }
        if let Some(last) = before {
            self.run(last, run);
        }
    }

    fn run(&mut self, value: f64, length: u64) {
        (value.to_bits(), length).hash(&mut self.hasher);
        self.count += length;
        self.sum += value * length as f64;
        self.squares += value * value * length as f64;
        let [min, max] = self.range.get_or_insert([value; 2]);
        (*min, *max) = (min.min(value), max.max(value));
        if value.fract() != 0.0 {
            self.fractions = true;
        } else if !self.too_many {
            *self.counts.entry(value as i64).or_default() += length;
            self.too_many = self.counts.len() > COUNTED;
        }
    }

    fn finish(self, whole: bool) -> Look {
        let count = (self.count as f64).max(1.0);
        let mean = self.sum / count;
        let [min, max] = self.range.unwrap_or([f64::NAN; 2]);
        let std = (self.squares / count - mean * mean).max(0.0).sqrt();
        Look {
            statistics: Statistics { min, max, mean, std },
            counts: (!self.too_many && !self.fractions).then_some(self.counts),
            fractions: self.fractions,
            equal_neighbours: self.equal as f64 / (self.pairs as f64).max(1.0),
            voxels: self.count,
            whole,
            digest: self.hasher.finish(),
        }
    }
}

impl Look {
    /// The range, mean and standard deviation in words.
    pub fn range(&self) -> String {
        let Statistics { min, max, mean, std } = self.statistics;
        let short = short_number;
        format!("{} to {}, mean {} ± {}", short(min), short(max), short(mean), short(std))
    }

    /// The shares of the values in percent, the commonest ones if there are many.
    pub fn shares(&self) -> String {
        const SHOWN: usize = 6;
        let Some(counts) = &self.counts else { return self.range() };
        let mut sorted: Vec<_> = counts.iter().collect();
        sorted.sort_by_key(|(value, count)| (std::cmp::Reverse(**count), **value));
        let percent = |count: u64| 100.0 * count as f64 / self.voxels.max(1) as f64;
        let mut parts: Vec<String> = sorted
            .iter()
            .take(SHOWN)
            .map(|(value, count)| format!("{value} ({:.2} %)", percent(**count)))
            .collect();
        if sorted.len() > SHOWN {
            parts.push(format!("… {} values up to {}", sorted.len(), self.statistics.max));
        }
        parts.join(", ")
    }

    /// Where the values come from, in words, unless they are all of them.
    pub fn scope(&self) -> &'static str {
        if self.whole { "" } else { " (of windows spread over it)" }
    }
}

/// A number with four digits.
pub fn short_number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    #[test]
    fn a_volume_in_memory() {
        let array = Array4::from_shape_vec((1, 1, 2, 4), vec![0u8, 0, 0, 3, 3, 0, 0, 0]).unwrap();
        let look = look_at_volume(&Volume::plain(array));
        assert_eq!(look.counts, Some(BTreeMap::from([(0, 6), (3, 2)])));
        assert_eq!((look.statistics.min, look.statistics.max), (0.0, 3.0));
        assert_eq!(look.statistics.mean, 0.75);
        assert!((look.statistics.std - 1.6875f64.sqrt()).abs() < 1e-12);
        assert_eq!(look.equal_neighbours, 4.0 / 6.0);
        assert_eq!(look.shares(), "0 (75.00 %), 3 (25.00 %)");
        let half = look_at_volume(&Volume::plain(Array4::from_elem((1, 1, 1, 2), 0.5f32)));
        assert!(half.fractions && half.counts.is_none());
    }

    #[test]
    fn windows_lie_within_and_apart() {
        let size = [100, 1000, 2000];
        let windows = spread(size);
        assert!(windows.iter().all(|window| window.fits(size)));
        for axis in 0..3 {
            let mut quarters = [0; 4];
            for window in &windows {
                quarters[4 * window.origin[axis] / (size[axis] - WINDOW[axis] + 1)] += 1;
            }
            assert!(quarters.iter().all(|count| (3..=5).contains(count)), "{axis}: {quarters:?}");
        }
        assert!(spread([3, 4, 5]).iter().all(|window| *window == Window::whole([3, 4, 5])));
        let slabs = slabs([10, 2048, 1024], 1);
        assert_eq!(slabs.iter().map(|slab| slab.size[0]).collect::<Vec<_>>(), [2; 5]);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (1.0, "1"), (-0.12345, "-0.1235"), (65535.0, "65535")] {
            assert_eq!(short_number(value), text);
        }
        assert_eq!(short_number(1234.567), "1235");
        assert_eq!(short_number(2.5), "2.5");
    }
}
