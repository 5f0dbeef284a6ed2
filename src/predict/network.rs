//! The second stage: runs the network and adds its outputs up.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender};

use anyhow::{Context, Result};
use log::warn;
use tch::{Device, Kind, Tensor};

use crate::device::{Failure, Precision, describe, failure, stack};
use crate::ffi::tensor::{empty_cache, memory_info};
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
    /// `None` if one patch covers the volume: its planes are written as they come.
    slab: Option<Slab>,
    /// Final planes that wait to be moved to the host.
    pending: Option<Tensor>,
    /// Pieces of the part under way that are in already: when memory runs out in
    /// the midst of a part, it is tried again from there.
    added: usize,
}

/// Nobody waits for the results any more.
struct Gone;

type Sent = Result<(), Gone>;

struct Lane<'a> {
    network: &'a Network,
    job: &'a Job,
    out: &'a SyncSender<Finished>,
    /// Patches that are known to fit the device's memory at once.
    at_once: usize,
    /// Sums are kept on the device while they fit.
    sums_on: Device,
    /// Memory ran out, and all that was done about it was to free the cache.
    freed: bool,
}

impl Network {
    /// Works off what the reader sends, until it ends.
    pub fn predict_all(&self, job: &Job, fed: Receiver<Fed>, out: &SyncSender<Finished>) {
        let mut lane = Lane {
            network: self,
            job,
            out,
            at_once: job.batch_size,
            sums_on: self.device,
            freed: false,
        };
        let mut open: Option<Open> = None;
        for message in fed {
            let sent = match message {
                Fed::Failed { index, error } => {
                    open = None;
                    lane.fail(index, error)
                }
                Fed::Open { index, plan, raw } => match lane.begin(index, plan, raw) {
                    Ok(Ok(file)) => {
                        open = Some(file);
                        Ok(())
                    }
                    Ok(Err(Gone)) => Err(Gone),
                    Err(error) => {
                        let path = job.inputs[index].display().to_string();
                        lane.fail(index, error.context(path))
                    }
                },
                // A file that failed may still have patches on their way.
                Fed::Batch { patches, raw } => match open.take() {
                    None => Ok(()),
                    Some(mut file) => match lane.add_batch(&mut file, &patches, raw) {
                        Ok(sent) => {
                            open = Some(file);
                            sent
                        }
                        Err(error) => {
                            // Nothing works any more without a CUDA context.
                            let lost = failure(&error) == Failure::ContextLost;
                            let path = job.inputs[file.index].display().to_string();
                            let sent = lane.fail(file.index, error.context(path));
                            if lost {
                                return;
                            }
                            sent
                        }
                    },
                },
                Fed::Close => match open.take() {
                    None => Ok(()),
                    Some(mut file) => match lane.flush(&mut file, usize::MAX) {
                        Ok(sent) => sent.and_then(|()| lane.send(Finished::End)),
                        Err(error) => {
                            let path = job.inputs[file.index].display().to_string();
                            lane.fail(file.index, error.context(path))
                        }
                    },
                },
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

impl Lane<'_> {
    fn send(&self, message: Finished) -> Sent {
        self.out.send(message).map_err(|_| Gone)
    }

    fn fail(&self, index: usize, error: anyhow::Error) -> Sent {
        self.send(Finished::Failed { index, error })
    }

    fn begin(
        &mut self,
        index: usize,
        plan: Plan,
        raw: Option<ndarray::Array2<f32>>,
    ) -> Result<Result<Open, Gone>> {
        let channels = self.job.out_channels();
        let slab = if plan.patch_count() == 1 && self.job.flips.len() == 1 {
            None
        } else {
            Some(self.new_slab(&plan, channels)?)
        };
        let size = plan.result_size();
        let sent = self.send(Finished::Begin { index, size, raw });
        Ok(sent.map(|()| Open { index, plan, slab, pending: None, added: 0 }))
    }

    /// Sums on the device if they take less than a third of what is free there.
    fn new_slab(&mut self, plan: &Plan, channels: usize) -> Result<Slab> {
        if let Device::Cuda(index) = self.sums_on {
            let (free, _) = memory_info(index)?;
            let [_, height, width] = plan.result_size();
            let bytes = 4 * channels * plan.patch[0] * height * width;
            if bytes as u64 <= free / 3 {
                return Ok(Slab::new(channels, self.sums_on));
            }
        }
        Ok(Slab::new(channels, Device::Cpu))
    }

    /// Sends the planes before `end` (in the padded volume), which are final.
    fn flush(&self, file: &mut Open, end: usize) -> Result<Sent> {
        let Some(slab) = &mut file.slab else { return Ok(Ok(())) };
        let end = end.min(file.plan.axes[0].size);
        if file.pending.is_none() {
            file.pending = slab.take_until(&file.plan, end)?.map(|(_, values)| values);
        }
        let Some(values) = &file.pending else { return Ok(Ok(())) };
        let values = values.f_to_device(Device::Cpu)?;
        file.pending = None;
        Ok(self.send(Finished::Planes(values)))
    }

    /// Predicts patches and adds them.
    fn add_batch(
        &mut self,
        file: &mut Open,
        patches: &[[usize; 3]],
        raw: Vec<Volume>,
    ) -> Result<Sent> {
        let batch = stack(raw, self.network.precision.prediction().tensors, Device::Cpu)?;
        let mut done = 0;
        while done < patches.len() {
            let count = self.at_once.min(patches.len() - done);
            let part = batch.f_narrow(0, done as i64, count as i64)?;
            match self.add_part(file, &patches[done..done + count], &part) {
                Ok(Err(Gone)) => return Ok(Err(Gone)),
                Ok(Ok(())) => {
                    done += count;
                    self.freed = false;
                }
                Err(error) if failure(&error) == Failure::OutOfMemory => {
                    self.relieve(file, count, error)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(()))
    }

    /// Makes room after running out of memory, in order of what costs least, or
    /// gives up with an error that says what was needed.
    fn relieve(&mut self, file: &mut Open, count: usize, error: anyhow::Error) -> Result<()> {
        if self.network.device.is_cuda() {
            empty_cache()?;
            if !self.freed {
                self.freed = true;
                warn!("out of memory: trying again with libtorch's cache freed");
                return Ok(());
            }
        }
        if count > 1 {
            self.at_once = count / 2;
            warn!("out of memory with {count} patches at a time: going on with {}", self.at_once);
            return Ok(());
        }
        if self.sums_on != Device::Cpu {
            self.sums_on = Device::Cpu;
            if let Some(slab) = &mut file.slab {
                slab.to_device(Device::Cpu)?;
            }
            warn!("out of memory with a single patch: going on with the sums in host memory");
            return Ok(());
        }
        let network = &self.job.network;
        Err(error).with_context(|| {
            format!(
                "a single patch {:?} with {} channel(s) and feature maps {:?} needs more memory than \
                 there is on {}: reduce `slice_builder.patch_shape`, or use `--device cpu`",
                self.job.grid.patch,
                network.in_channels,
                network.f_maps,
                describe(self.network.device)
            )
        })
    }

    /// Predicts a part of a batch. When it fails for lack of memory it can be tried
    /// again, also with fewer of the patches: what was added is not added twice.
    fn add_part(&self, file: &mut Open, patches: &[[usize; 3]], part: &Tensor) -> Result<Sent> {
        let part = part.f_to_device(self.network.device)?;
        let mut features = Vec::new();
        for flip in &self.job.flips {
            let flipped =
                if flip.is_empty() { part.shallow_clone() } else { part.f_flip(&flip[..])? };
            features.push(tch::no_grad(|| self.network.net.features(&flipped, false))?);
        }
        let mut piece = 0;
        for (i, patch) in patches.iter().enumerate() {
            let end = file.plan.final_planes(patch[0]);
            if let Err(Gone) = self.flush(file, end)? {
                return Ok(Err(Gone));
            }
            for (flip, features) in self.job.flips.iter().zip(&features) {
                let features = features.f_narrow(0, i as i64, 1)?;
                if let Err(Gone) = self.add_patch(file, *patch, flip, &features, &mut piece)? {
                    return Ok(Err(Gone));
                }
            }
        }
        file.added = 0;
        Ok(Ok(()))
    }

    /// The final convolution and activation, some planes at a time. `piece` counts
    /// them through the part of the batch.
    fn add_patch(
        &self,
        file: &mut Open,
        patch: [usize; 3],
        flip: &[i64],
        features: &Tensor,
        piece: &mut usize,
    ) -> Result<Sent> {
        let [depth, height, width] = self.job.grid.patch;
        let plane = 4 * height * width * self.job.network.out_channels as usize;
        let step = (LOGITS_BYTES / plane).clamp(1, depth);
        for low in (0..depth).step_by(step) {
            let planes = low..(low + step).min(depth);
            *piece += 1;
            if *piece <= file.added {
                continue;
            }
            let mut values = self.output_planes(features, &planes)?;
            let mut target = planes.clone();
            if !flip.is_empty() {
                // Without the batch axis, axes are one lower.
                let axes: Vec<i64> = flip.iter().map(|axis| axis - 1).collect();
                values = values.f_flip(&axes[..])?;
                if flip.contains(&2) {
                    target = depth - planes.end..depth - planes.start;
                }
            }
            match &mut file.slab {
                Some(slab) => {
                    if self.job.flips.len() > 1 {
                        values = values.f_div_scalar(self.job.flips.len() as f64)?;
                    }
                    slab.add(&file.plan, patch, target, &values)?;
                }
                None => {
                    if let Some(values) = without_padding(&file.plan, &target, &values)? {
                        let values = values.f_to_device(Device::Cpu)?.f_contiguous()?;
                        if let Err(Gone) = self.send(Finished::Planes(values)) {
                            return Ok(Err(Gone));
                        }
                    }
                }
            }
            file.added += 1;
        }
        Ok(Ok(()))
    }

    /// Probabilities (C, d, H, W) of some planes of the feature maps of a patch.
    fn output_planes(&self, features: &Tensor, planes: &Range<usize>) -> Result<Tensor> {
        tch::no_grad(|| {
            let net = &self.network.net;
            let (start, length) = (planes.start as i64, planes.len() as i64);
            let logits = net.logits(&features.f_narrow(2, start, length)?)?;
            let values = net.activation().forward(&logits)?.f_squeeze_dim(0)?;
            let values = match self.job.channel {
                Some(channel) => values.f_narrow(0, channel as i64, 1)?,
                None => values,
            };
            Ok(values.f_to_kind(Kind::Float)?)
        })
    }
}

/// The part of the planes of a patch as large as the padded volume that lies
/// inside the result.
fn without_padding(plan: &Plan, planes: &Range<usize>, values: &Tensor) -> Result<Option<Tensor>> {
    let size = plan.result_size();
    let first = planes.start.max(plan.padding[0]);
    let last = planes.end.min(plan.padding[0] + size[0]);
    if first >= last {
        return Ok(None);
    }
    let mut values = values.f_narrow(1, (first - planes.start) as i64, (last - first) as i64)?;
    for (axis, (padding, size)) in plan.padding.iter().zip(size).enumerate().skip(1) {
        values = values.f_narrow(axis as i64 + 1, *padding as i64, size as i64)?;
    }
    Ok(Some(values))
}
