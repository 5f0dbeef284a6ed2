//! Which memory format is the faster one on a processor that nobody has measured.

use std::time::{Duration, Instant};

use tch::{Device, TchError, Tensor};

use crate::device::{FormatChoice, Kinds, MemoryFormat, Purpose};

use super::layer::{ConvUnit, UnitSpec};
use super::spec::NetworkSpec;
use super::state::{Builder, InitialWeights, State, TensorOptions};

/// Another format than the usual one has to be this much faster.
const WORTHWHILE: f64 = 1.15;

/// The time that a trial takes, about.
const TRIAL: Duration = Duration::from_millis(600);

/// Multiplications in one pass through the layer that is timed.
const MULTIPLICATIONS: f64 = 1e9;

/// The memory format of a network: the one that is asked for, or the one that was measured
/// on this kind of processor. Where nothing was measured and the run is `long`, a layer as
/// wide as the network's first level is timed in both, within a second.
///
/// # Errors
/// What fails in the trial.
pub fn choose_format(
    asked: Option<MemoryFormat>,
    spec: &NetworkSpec,
    kinds: Kinds,
    device: Device,
    purpose: Purpose,
    long: bool,
) -> Result<FormatChoice, TchError> {
    let choice = FormatChoice::new(asked, device, kinds, purpose);
    if choice.certain || !long {
        return Ok(choice);
    }
    let usual = choice.format;
    let [slow, fast] = time(spec, kinds, purpose, [usual, usual.other()])?;
    let gain = slow / fast;
    let (format, outcome) = match gain >= WORTHWHILE {
        true => (usual.other(), "the second is faster by 15 % or more"),
        false => (usual, "the second is not faster by 15 %"),
    };
    let reason = format!(
        "timed on one layer ({}: {:.1} ms, {}: {:.1} ms; {outcome})",
        usual,
        slow * 1e3,
        usual.other(),
        fast * 1e3,
    );
    Ok(FormatChoice { format, reason, certain: true })
}

/// Seconds of one pass through a layer in each of two formats, the lowest of several.
fn time(
    spec: &NetworkSpec,
    kinds: Kinds,
    purpose: Purpose,
    formats: [MemoryFormat; 2],
) -> Result<[f64; 2], TchError> {
    let layers = formats.map(|format| Layer::new(spec, kinds, format));
    let [one, other] = layers;
    let layers = [one?, other?];
    let mut best = [f64::INFINITY; 2];
    // The first pass prepares kernels.
    for layer in &layers {
        layer.pass(purpose)?;
    }
    let began = Instant::now();
    loop {
        for (best, layer) in best.iter_mut().zip(&layers) {
            let start = Instant::now();
            layer.pass(purpose)?;
            *best = best.min(start.elapsed().as_secs_f64());
        }
        if began.elapsed() > TRIAL {
            return Ok(best);
        }
    }
}

/// A convolution unit on its own.
struct Layer {
    unit: ConvUnit,
    x: Tensor,
}

impl Layer {
    /// As many channels in and out as the network's first level has.
    fn new(spec: &NetworkSpec, kinds: Kinds, format: MemoryFormat) -> Result<Self, TchError> {
        let channels = spec.f_maps[0];
        let options = TensorOptions {
            kinds,
            device: Device::Cpu,
            format,
            weights: InitialWeights::Uninitialized,
            planar: spec.anatomy.planar,
        };
        let mut state = State::default();
        let mut builder = Builder::new(&mut state, options);
        // Nothing is drawn, here or in dropout: the run's random numbers do not depend on
        // trials.
        let unit = UnitSpec { dropout: 0.0, ..spec.unit.clone() };
        let unit = ConvUnit::new(&mut builder, (channels, channels), &unit)?;
        tch::no_grad(|| {
            state
                .parameters()
                .try_for_each(|(_, tensor)| tensor.shallow_clone().f_fill_(0.01).map(|_| ()))
        })?;
        let kernel: i64 = spec.unit.kernel.iter().product();
        let voxels = MULTIPLICATIONS / (channels * channels * kernel) as f64;
        // A multiple of 16 each, at least, for the convolution's blocks.
        let edge = ((voxels.cbrt() / 16.0).round().max(1.0) * 16.0) as i64;
        let depth = if spec.anatomy.planar { 1 } else { edge };
        let shape = [1, channels, depth, edge, edge];
        let x = Tensor::f_ones(shape, (kinds.tensors, Device::Cpu))?;
        Ok(Layer { unit, x: format.apply(&x)? })
    }

    fn pass(&self, purpose: Purpose) -> Result<(), TchError> {
        match purpose {
            Purpose::Prediction => {
                tch::no_grad(|| self.unit.forward(self.x.shallow_clone(), false)).map(|_| ())
            }
            Purpose::Training => {
                let x = self.x.f_detach()?.f_set_requires_grad(true)?;
                self.unit.forward(x, true)?.f_sum(self.x.f_kind()?)?.f_backward()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::config::Tree;

    #[test]
    fn a_trial_times_both_formats() {
        let text = "{name: UNet3D, in_channels: 1, out_channels: 1, f_maps: 8, num_levels: 2, \
                    layer_order: gcr, num_groups: 4, final_sigmoid: true}";
        let tree = Tree::parse(text, "a", &[]).unwrap();
        let spec = NetworkSpec::read(&tree.root).unwrap();
        let formats = [MemoryFormat::ChannelsFirst, MemoryFormat::ChannelsLast];
        for purpose in [Purpose::Training, Purpose::Prediction] {
            let times = time(&spec, Kind::Float.into(), purpose, formats).unwrap();
            assert!(times.iter().all(|time| time.is_finite() && *time > 0.0), "{times:?}");
        }
    }
}
