//! `AdditiveGaussianNoise` and `AdditivePoissonNoise`.

use anyhow::Result;
use rand::RngExt;
use rand_distr::{Exp1, Poisson, StandardNormal};

use super::stream::{RandomSource, Stream};
use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
};
use crate::config::{ConfigError, Parameter, Section};
use crate::volume::{Values, Volume};

pub(super) static GAUSSIAN: TransformEntry = TransformEntry {
    name: "AdditiveGaussianNoise",
    class: TransformClass::Intensity,
    meaning: "Adds normal noise of a standard deviation that is uniform in `scale`.",
    parameters: &[
        Parameter::numbers("scale", &[0.0, 1.0], "range of the standard deviation")
            .at_least(0.0)
            .of_length(2),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
    ],
    build: |section| {
        Ok(Box::new(GaussianNoise {
            scale: range(section, "scale")?,
            execution_probability: section.number("execution_probability"),
        }))
    },
};

pub(super) static POISSON: TransformEntry = TransformEntry {
    name: "AdditivePoissonNoise",
    class: TransformClass::Intensity,
    meaning: "Adds Poisson counts of a mean that is uniform in `lam`.",
    parameters: &[
        Parameter::numbers("lam", &[0.0, 1.0], "range of the mean count")
            .within(0.0, LARGEST_MEAN)
            .of_length(2),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
    ],
    build: |section| {
        Ok(Box::new(PoissonNoise {
            lam: range(section, "lam")?,
            execution_probability: section.number("execution_probability"),
        }))
    },
};

/// Above this mean, counts exceed the integers that float64 represents exactly.
const LARGEST_MEAN: f64 = 1e15;

fn range(section: &Section<'_>, key: &str) -> Result<[f64; 2], ConfigError> {
    let ends = section.numbers(key);
    if ends[0] > ends[1] {
        return Err(section.error(key, "the lower end of the range stands first"));
    }
    Ok([ends[0], ends[1]])
}

/// Draws whether it is applied, the standard deviation, then a normal number for each voxel in C
/// order.
struct GaussianNoise {
    scale: [f64; 2],
    execution_probability: f64,
}

impl Transform for GaussianNoise {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let mut volume = floats::convert(volume);
        if !stream.chance(self.execution_probability) {
            return Ok(volume);
        }
        let deviation = stream.between(self.scale[0], self.scale[1]);
        let mut noise = || deviation * stream.sample::<f64, _>(StandardNormal);
        match &mut volume.values {
            Values::F32(array) => array.iter_mut().for_each(|x| *x += noise() as f32),
            Values::F64(array) => array.iter_mut().for_each(|x| *x += noise()),
            _ => unreachable!("the volume was converted"),
        }
        Ok(volume)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}

/// Draws whether it is applied, the mean, then counts for the voxels in C order.
struct PoissonNoise {
    lam: [f64; 2],
    execution_probability: f64,
}

impl Transform for PoissonNoise {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let mut volume = floats::convert(volume);
        if !stream.chance(self.execution_probability) {
            return Ok(volume);
        }
        let mean = stream.between(self.lam[0], self.lam[1]);
        match &mut volume.values {
            Values::F32(array) => {
                let voxels = array.as_slice_mut().expect("volumes are contiguous");
                counts(&mut stream, mean, voxels.len(), |i, count| voxels[i] += count as f32);
            }
            Values::F64(array) => {
                let voxels = array.as_slice_mut().expect("volumes are contiguous");
                counts(&mut stream, mean, voxels.len(), |i, count| voxels[i] += count);
            }
            _ => unreachable!("the volume was converted"),
        }
        Ok(volume)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}

/// Up to this mean, drawing the events one by one is cheaper than drawing a count for each voxel.
const FEW_EVENTS: f64 = 8.0;

/// Calls `add` with voxels and the amounts to add to them, so that the sums are Poisson counts of
/// the given mean. A voxel may occur several times.
///
/// For a small mean, the voxels are taken as unit intervals of a Poisson process: the distances
/// between its events are exponentially distributed, and the numbers of events in disjoint
/// intervals are independent Poisson counts. Voxels without events cost nothing.
fn counts(stream: &mut Stream, mean: f64, voxels: usize, mut add: impl FnMut(usize, f64)) {
    if mean <= 0.0 {
        return;
    }
    if mean <= FEW_EVENTS {
        let mut at = 0.0;
        loop {
            at += stream.sample::<f64, _>(Exp1) / mean;
            if at >= voxels as f64 {
                return;
            }
            add(at as usize, 1.0);
        }
    }
    if let Ok(poisson) = Poisson::new(mean) {
        for voxel in 0..voxels {
            add(voxel, stream.sample(poisson));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// Frequencies of the counts 0, 1, 2, … over many voxels.
    fn frequencies(mean: f64, voxels: usize) -> Vec<f64> {
        let mut stream = Stream::seed_from_u64(7);
        let mut volume = vec![0.0; voxels];
        counts(&mut stream, mean, voxels, |i, count| volume[i] += count);
        let mut frequencies = vec![0.0; 60];
        for count in volume {
            frequencies[count as usize] += 1.0 / voxels as f64;
        }
        frequencies
    }

    #[test]
    fn counts_follow_the_poisson_distribution() {
        // On both sides of the change of method.
        for mean in [0.01, 0.7, 7.9, 8.1, 20.0] {
            let voxels = 400_000;
            let mut probability = f64::exp(-mean);
            for (count, frequency) in frequencies(mean, voxels).into_iter().enumerate() {
                let error = 5.0 * (probability / voxels as f64).sqrt() + 1e-5;
                assert!(
                    (frequency - probability).abs() < error,
                    "mean {mean}, count {count}: {frequency} instead of {probability}"
                );
                probability *= mean / (count + 1) as f64;
            }
        }
    }

    #[test]
    fn counts_of_neighbours_are_independent() {
        let voxels = 400_000;
        let mut stream = Stream::seed_from_u64(8);
        let mut volume = vec![0.0; voxels];
        counts(&mut stream, 0.7, voxels, |i, count| volume[i] += count);
        let products = volume.windows(2).map(|pair| (pair[0] - 0.7) * (pair[1] - 0.7));
        let covariance = products.sum::<f64>() / voxels as f64;
        assert!(covariance.abs() < 0.006, "{covariance}");
    }

    #[test]
    fn a_mean_of_zero_adds_nothing() {
        let mut stream = Stream::seed_from_u64(9);
        counts(&mut stream, 0.0, 1000, |_, _| panic!("there are no events"));
    }
}
