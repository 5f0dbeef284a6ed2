//! How long a run will take, from a few of its iterations.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tch::Device;

use crate::ffi::tensor::synchronize;
use crate::samples::{Loader, SampleBatch};

use super::batch::TensorBatch;
use super::data::TrainingData;
use super::learner::Learner;
use super::plan::Criteria;
use super::settings::TrainerSpec;
use super::step::{Around, measure, train};
use super::timing::Timing;
use crate::distributed::Group;

/// What iterations and validations take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// One iteration of training, with its share of making samples.
    pub iteration: Duration,
    /// One validation.
    pub validation: Duration,
    /// Iterations of the run, whichever limit comes first.
    pub iterations: u64,
    /// Validations of the run.
    pub validations: u64,
}

impl Forecast {
    /// The whole run.
    pub fn all(&self) -> Duration {
        let seconds = self.iterations as f64 * self.iteration.as_secs_f64()
            + self.validations as f64 * self.validation.as_secs_f64();
        Duration::from_secs_f64(seconds.min(1e12))
    }
}

/// Trains for two iterations, of which the second counts, and validates on a batch. The
/// learner is changed by it and is of no further use.
///
/// # Errors
/// What goes wrong with samples and on the device.
pub fn forecast(
    learner: &mut Learner,
    criteria: &Criteria,
    data: &TrainingData,
    spec: &TrainerSpec,
) -> Result<Forecast> {
    let (device, kind) = (learner.device, learner.precision.training().tensors);
    let mut timing = Timing::new(device, false);
    // One worker makes the samples of a batch one after the other; several share them.
    let step = |loader: &Loader, epoch: u64| -> Result<(Vec<TensorBatch>, Duration)> {
        let start = Instant::now();
        let next = loader.epoch(epoch).next().context("there are no samples")?;
        let SampleBatch { samples, .. } = next?;
        let made = start.elapsed() / loader.workers().min(samples.len()).max(1) as u32;
        Ok((TensorBatch::several(samples, loader.batch_size(), kind, device)?, made))
    };
    let wait = || {
        if let Device::Cuda(index) = device {
            // What fails here fails again where it is handled.
            let _ = synchronize(index);
        }
    };
    let alone = Group::alone();
    let mut iteration = Duration::ZERO;
    for round in 0..2 {
        let (batches, made) = step(&data.train, round)?;
        wait();
        let start = Instant::now();
        let around =
            Around { group: &alone, rounds: batches.len(), keep_logits: false, stop: false };
        let done = train(learner, &criteria.loss, &batches, &around, &mut timing)?;
        done.loss.f_double_value(&[])?;
        wait();
        // Samples are made while the network computes.
        iteration = start.elapsed().max(made);
    }
    let (batches, made) = step(&data.val, 0)?;
    let start = Instant::now();
    measure(learner, criteria, &batches, (&alone, batches.len()))?;
    wait();
    let one = start.elapsed().max(made);
    let batches = data.val.batches_per_epoch() as u64;
    let batches = spec.validate_iters.map_or(batches, |limit| limit.min(batches));
    let per_epoch = data.train.batches_per_epoch() as u64;
    let iterations = spec.iters.min(spec.epochs.saturating_mul(per_epoch));
    Ok(Forecast {
        iteration,
        validation: one.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX)),
        iterations,
        validations: iterations / spec.validate_after_iters,
    })
}

/// A duration in its two largest units, as `7 days 12 h` or `3.2 s`.
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        return format!("{seconds:.2} s");
    }
    if seconds < 120.0 {
        return format!("{seconds:.0} s");
    }
    let minutes = (seconds / 60.0).round() as u64;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes} min"),
        (1, hours) => format!("1 day {hours} h"),
        (days, hours) => format!("{days} days {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_units() {
        for (seconds, words) in [
            (0.1234, "0.12 s"),
            (16.2, "16 s"),
            (600.0, "10 min"),
            (3.0 * 3600.0 + 60.0, "3 h 1 min"),
            (40_000.0 * 16.2, "7 days 12 h"),
            (25.0 * 3600.0, "1 day 1 h"),
        ] {
            assert_eq!(in_words(Duration::from_secs_f64(seconds)), words);
        }
    }

    #[test]
    fn a_run_is_its_iterations_and_validations() {
        let forecast = Forecast {
            iteration: Duration::from_millis(500),
            validation: Duration::from_secs(3),
            iterations: 1000,
            validations: 10,
        };
        assert_eq!(forecast.all(), Duration::from_secs(530));
    }
}
