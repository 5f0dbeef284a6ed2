//! The second stage: runs the network and adds its outputs up.

use std::sync::mpsc::{Receiver, SyncSender};

use anyhow::{Context, Result, anyhow};
use log::warn;
use tch::{Device, Tensor};

use crate::device::{Failure, Precision, failure, stack};
use crate::ffi::tensor::empty_cache;
use crate::model::UNet;
use crate::stitch::{Plan, Slab};
use crate::volume::Volume;

use super::job::Job;
use super::read::Fed;
use super::write::Finished;

/// Bytes of logits that are computed at a time: a stack of planes rather than
/// all classes of a patch.
const LOGITS_BYTES: usize = 64 << 20;

/// A network that predicts on one device.
pub struct Network {
    pub net: UNet,
    pub device: Device,
    pub precision: Precision,
}

/// The file being put together.
struct Open {
    index: usize,
    plan: Plan,
    slab: Slab,
}

impl Network {
    /// Works off what the reader sends, until it ends.
    pub fn predict_all(&self, job: &Job, fed: Receiver<Fed>, out: &SyncSender<Finished>) {
        let mut open: Option<Open> = None;
        for message in fed {
            let done = match message {
                Fed::Failed { index, error } => {
                    open = None;
                    out.send(Finished::Failed { index, error }).is_ok()
                }
                Fed::Open { index, plan } => {
                    match Slab::new(&plan, job.out_channels(), Device::Cpu) {
                        Ok(slab) => {
                            let begun = Finished::Begin { index, size: plan.result_size() };
                            open = Some(Open { index, plan, slab });
                            out.send(begun).is_ok()
                        }
                        Err(error) => out.send(Finished::Failed { index, error }).is_ok(),
                    }
                }
                // A file that failed may still have patches on their way.
                Fed::Batch { patches, raw } => match open.as_mut() {
                    None => true,
                    Some(file) => match self.add_batch(job, file, &patches, raw, out) {
                        Ok(alive) => alive,
                        Err(error) => {
                            let index = file.index;
                            let error = error.context(job.inputs[index].display().to_string());
                            open = None;
                            out.send(Finished::Failed { index, error }).is_ok()
                        }
                    },
                },
                Fed::Close => match open.take() {
                    None => true,
                    Some(mut file) => {
                        match file.slab.take_until(&file.plan, file.plan.axes[0].size) {
                            Ok(planes) => {
                                send_planes(planes, out) && out.send(Finished::End).is_ok()
                            }
                            Err(error) => {
                                out.send(Finished::Failed { index: file.index, error }).is_ok()
                            }
                        }
                    }
                },
            };
            if !done {
                return;
            }
        }
    }

    /// Predicts patches and adds them; false when nobody waits for the result.
    fn add_batch(
        &self,
        job: &Job,
        file: &mut Open,
        patches: &[[usize; 3]],
        raw: Vec<Volume>,
        out: &SyncSender<Finished>,
    ) -> Result<bool> {
        let batch = stack(raw, self.precision.kind(), Device::Cpu)?;
        let mut size = patches.len();
        let mut done = 0;
        while done < patches.len() {
            let count = size.min(patches.len() - done);
            let part = batch.f_narrow(0, done as i64, count as i64)?;
            match self.features(&part) {
                Ok(features) => {
                    for (i, patch) in patches[done..done + count].iter().enumerate() {
                        let end = file.plan.final_planes(patch[0]);
                        if !send_planes(file.slab.take_until(&file.plan, end)?, out) {
                            return Ok(false);
                        }
                        let features = features.f_narrow(0, i as i64, 1)?;
                        self.add_patch(job, file, *patch, &features)?;
                    }
                    done += count;
                }
                Err(error) if failure(&error) == Failure::OutOfMemory && count > 1 => {
                    size = count / 2;
                    warn!("out of memory with {count} patches at a time: going on with {size}");
                    empty_cache()?;
                }
                Err(error) if failure(&error) == Failure::OutOfMemory => {
                    return Err(error).with_context(|| {
                        format!(
                            "a single patch {:?} with {} channels needs more memory than there is: \
                             reduce `patch_shape`, or use `--device cpu`",
                            job.grid.patch, job.network.in_channels
                        )
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn features(&self, part: &Tensor) -> Result<Tensor> {
        let part = part.f_to_device(self.device)?;
        Ok(tch::no_grad(|| self.net.features(&part, false))?)
    }

    /// The final convolution and activation, some planes at a time.
    fn add_patch(
        &self,
        job: &Job,
        file: &mut Open,
        patch: [usize; 3],
        features: &Tensor,
    ) -> Result<()> {
        let [depth, height, width] = job.grid.patch;
        let plane = 4 * height * width * job.network.out_channels as usize;
        let step = (LOGITS_BYTES / plane).clamp(1, depth);
        for low in (0..depth).step_by(step) {
            let high = (low + step).min(depth);
            let values = tch::no_grad(|| -> Result<Tensor> {
                let planes = features.f_narrow(2, low as i64, (high - low) as i64)?;
                let logits = self.net.logits(&planes)?;
                let values = self.net.activation().forward(&logits)?.f_squeeze_dim(0)?;
                let values = match job.channel {
                    Some(channel) => values.f_narrow(0, channel as i64, 1)?,
                    None => values,
                };
                Ok(values.f_to_device(Device::Cpu)?.f_to_kind(tch::Kind::Float)?)
            })?;
            file.slab.add(&file.plan, patch, low..high, &values)?;
        }
        Ok(())
    }
}

fn send_planes(planes: Option<(usize, Tensor)>, out: &SyncSender<Finished>) -> bool {
    match planes {
        None => true,
        Some((first, values)) => out.send(Finished::Planes { first, values }).is_ok(),
    }
}

/// A panic's text, for an error message.
pub fn panic_error(what: &str, panic: Box<dyn std::any::Any + Send>) -> anyhow::Error {
    let cause = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
        .unwrap_or_else(|| "unknown cause".into());
    anyhow!("{what} failed inside the program: {cause}")
}
