//! The second stage: runs the network and adds its outputs up.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use anyhow::{Context, Result};
use log::warn;
use tch::{Device, Kind, Tensor};

use crate::device::{Failure, Precision, describe, failure, stack};
use crate::ffi::tensor::{empty_cache, memory_info};
use crate::model::UNet;
use crate::stitch::{Block, Plan, Sums};
use crate::volume::Volume;

use super::job::Job;
use super::read::Fed;
use super::write::{Finished, Permits};

/// Bytes of logits that are computed at a time: a stack of planes rather than
/// all classes of a patch.
const LOGITS_BYTES: usize = 64 << 20;

/// Boxes that may be on their way to the file while the next one is computed.
const BLOCKS_AHEAD: usize = 1;

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
    sums: Option<Sums>,
    /// Final voxels that wait to be moved to the host.
    pending: Option<Block>,
    /// Pieces of the part under way that are in already: when memory runs out in
    /// the midst of a part, it is tried again, maybe with fewer patches.
    added: Vec<Piece>,
    /// Set when there is no use in going on with this file.
    dropped: Arc<AtomicBool>,
}

/// Some planes of one of a patch's outputs.
#[derive(Clone, Copy, PartialEq)]
struct Piece {
    patch: [usize; 3],
    /// Index of the flip.
    flip: usize,
    /// First plane of the network's output.
    first: usize,
}

/// Nobody waits for the results any more.
struct Gone;

type Sent = Result<(), Gone>;

struct Lane<'a> {
    network: &'a Network,
    job: &'a Job,
    out: &'a SyncSender<Finished>,
    /// For boxes on their way to the file, besides the one in hand.
    permits: Permits,
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
            permits: Permits::new(BLOCKS_AHEAD),
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
                Fed::Open { index, plan, raw, dropped } => {
                    match lane.begin(index, plan, raw, dropped) {
                        Ok(Ok(file)) => {
                            open = Some(file);
                            Ok(())
                        }
                        Ok(Err(Gone)) => Err(Gone),
                        Err(error) => {
                            let path = job.inputs[index].display().to_string();
                            lane.fail(index, error.context(path))
                        }
                    }
                }
                // A file that failed may still have patches on their way.
                Fed::Batch { patches, raw } => match open.take() {
                    None => Ok(()),
                    // The writer gave it up and has told why.
                    Some(file) if file.dropped.load(Ordering::Relaxed) => Ok(()),
                    Some(mut file) => match lane.add_batch(&mut file, &patches, raw) {
                        Ok(sent) => {
                            open = Some(file);
                            sent
                        }
                        Err(error) => {
                            file.dropped.store(true, Ordering::Relaxed);
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
                    Some(_) => lane.send(Finished::End),
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
        dropped: Arc<AtomicBool>,
    ) -> Result<Result<Open, Gone>> {
        let sums = if plan.patch_count() == 1 && self.job.flips.len() == 1 {
            None
        } else {
            Some(self.new_sums(&plan)?)
        };
        let size = plan.result_size();
        let sent = self.send(Finished::Begin { index, size, raw, dropped: dropped.clone() });
        Ok(sent.map(|()| Open { index, plan, sums, pending: None, added: Vec::new(), dropped }))
    }

    /// Sums on the device if they take less than a third of what is free there.
    fn new_sums(&mut self, plan: &Plan) -> Result<Sums> {
        let channels = self.job.out_channels();
        if let Device::Cuda(index) = self.sums_on {
            let (free, _) = memory_info(index)?;
            if Sums::bytes(plan, channels) as u64 <= free / 3 {
                return Ok(Sums::new(plan, channels, self.sums_on));
            }
        }
        Ok(Sums::new(plan, channels, Device::Cpu))
    }

    /// Sends what is final once a row of patches is in.
    fn release(&self, file: &mut Open, layer: usize, row: usize) -> Result<Sent> {
        let Some(sums) = &mut file.sums else { return Ok(Ok(())) };
        if file.pending.is_none() {
            file.pending = sums.take(&file.plan, layer, row)?;
        }
        let Some(block) = &file.pending else { return Ok(Ok(())) };
        let values = block.values.f_to_device(Device::Cpu)?;
        let block = Block { values, ..*block };
        file.pending = None;
        Ok(self.send(Finished::Block(block, self.permits.take())))
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
            if let Some(sums) = &mut file.sums {
                sums.to_device(Device::Cpu)?;
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
        // Flips one after the other: the feature maps of one are held at a time.
        for (number, flip) in self.job.flips.iter().enumerate() {
            let flipped =
                if flip.is_empty() { part.shallow_clone() } else { part.f_flip(&flip[..])? };
            let features = tch::no_grad(|| self.network.net.features(flipped, false))?;
            for (i, patch) in patches.iter().enumerate() {
                let features = features.f_narrow(0, i as i64, 1)?;
                if let Err(Gone) = self.add_patch(file, *patch, number, &features)? {
                    return Ok(Err(Gone));
                }
            }
        }
        let last = file.plan.axes[2].segments.len() - 1;
        for patch in patches.iter().filter(|patch| patch[2] == last) {
            if let Err(Gone) = self.release(file, patch[0], patch[1])? {
                return Ok(Err(Gone));
            }
        }
        file.added.retain(|piece| !patches.contains(&piece.patch));
        Ok(Ok(()))
    }

    /// The final convolution and activation, some planes at a time.
    fn add_patch(
        &self,
        file: &mut Open,
        patch: [usize; 3],
        number: usize,
        features: &Tensor,
    ) -> Result<Sent> {
        let flip = &self.job.flips[number];
        let [depth, height, width] = self.job.grid.patch;
        let plane = 4 * height * width * self.job.network.out_channels as usize;
        let step = (LOGITS_BYTES / plane).clamp(1, depth);
        for first in (0..depth).step_by(step) {
            let piece = Piece { patch, flip: number, first };
            if file.added.contains(&piece) {
                continue;
            }
            let planes = first..(first + step).min(depth);
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
            match &mut file.sums {
                Some(sums) => {
                    if self.job.flips.len() > 1 {
                        values = values.f_div_scalar(self.job.flips.len() as f64)?;
                    }
                    sums.add(&file.plan, patch, target, &values)?;
                }
                None => {
                    if let Some((z, values)) = without_padding(&file.plan, &target, &values)? {
                        let values = values.f_to_device(Device::Cpu)?.f_contiguous()?;
                        let block = Block { z, y: 0, values };
                        let message = Finished::Block(block, self.permits.take());
                        if let Err(Gone) = self.send(message) {
                            return Ok(Err(Gone));
                        }
                    }
                }
            }
            file.added.push(piece);
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
/// inside the result, and its first plane there.
fn without_padding(
    plan: &Plan,
    planes: &Range<usize>,
    values: &Tensor,
) -> Result<Option<(usize, Tensor)>> {
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
    Ok(Some((first - plan.padding[0], values)))
}
