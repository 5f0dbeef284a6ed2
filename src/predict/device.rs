//! The second stage: runs the network and adds its outputs up.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender};

use anyhow::{Context, Result};
use log::{debug, warn};
use ndarray::s;
use tch::{Device, Kind, Tensor};

use crate::device::{Failure, MemoryFormat, Precision, Purpose, describe, failure, stack};
use crate::ffi::tensor::{empty_cache, from_vec, memory_info};
use crate::model::{UNet, choose_format};
use crate::stitch::{FinishedBlock, Sums, Tiling};
use crate::volume::Volume;

use super::embeddings::{RegionSpec, Stitched};
use super::error::StageError;
use super::plan::PredictionPlan;
use super::reader::{CancelFlag, InputSummary, ReaderMessage};
use super::run::PredictionRun;
use super::writer::{Permits, WriterMessage};

/// Bytes of logits that are computed at a time: a stack of planes rather than
/// all classes of a patch.
const LOGITS_BYTES: usize = 64 << 20;

/// Boxes that may be on their way to the file while the next one is computed.
const BLOCKS_AHEAD: usize = 1;

/// What decides the last bits of results.
#[derive(Clone, Copy, Debug)]
pub struct Computing {
    /// The kind of device.
    pub device: &'static str,
    pub memory_format: MemoryFormat,
}

/// A network with its weights on one device.
pub struct DeviceNetwork {
    net: UNet,
    device: Device,
    precision: Precision,
}

impl DeviceNetwork {
    /// Builds the network of a run on a device and loads its checkpoint.
    pub fn load(run: &PredictionRun, device: Device) -> Result<Self> {
        let plan = &run.plan;
        let (precision, purpose) = (plan.precision, Purpose::Prediction);
        let kinds = precision.prediction();
        let (asked, long) = (plan.memory_format, run.is_long());
        let choice = choose_format(asked, &plan.network, kinds, device, purpose, long)?;
        debug!("{choice}");
        let net = UNet::uninitialized(&plan.network, kinds, device)?;
        net.set_memory_format(choice.format)?;
        let checkpoint = plan.checkpoint()?;
        net.load_checkpoint(checkpoint)?;
        if let Some(name) = net.not_finite()? {
            warn!(
                "{}: `{name}` holds values that are NaN or infinite; was it saved in a training \
                 that failed?",
                checkpoint.display()
            );
        }
        Ok(DeviceNetwork { net, device, precision })
    }

    /// On what and how it computes.
    pub fn computing(&self) -> Computing {
        Computing {
            device: if self.device.is_cuda() { "cuda" } else { "cpu" },
            memory_format: self.net.memory_format(),
        }
    }

    /// Predicts what the reader sends, until it ends or the device is lost.
    pub fn predict_all(
        &self,
        run: &PredictionRun,
        messages: Receiver<ReaderMessage>,
        out: &SyncSender<WriterMessage>,
    ) {
        let mut predictor = DevicePredictor {
            network: self,
            run,
            plan: &run.plan,
            out,
            permits: Permits::new(BLOCKS_AHEAD),
            patches_at_once: run.plan.batch_size,
            sums_device: self.device,
            cache_freed: false,
            current: None,
        };
        for message in messages {
            if predictor.handle(message).is_err() {
                return;
            }
        }
    }
}

/// The volume whose patches are being predicted.
struct UnfinishedVolume {
    index: usize,
    tiling: Tiling,
    /// `None` if one patch covers the volume: its planes are sent as they come. `None` as
    /// well where regions are made.
    sums: Option<Sums>,
    /// The regions of embeddings, if these are made.
    regions: Option<Stitched>,
    /// Final voxels that have not been moved to the host yet.
    pending: Option<FinishedBlock>,
    /// Pieces of the current part of a batch that are added already. When memory runs
    /// out in the middle of a part, the part is repeated, maybe with fewer patches.
    added: Vec<Piece>,
    cancel: CancelFlag,
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

/// The network stage on one device, with what it learned about the device's memory.
struct DevicePredictor<'a> {
    network: &'a DeviceNetwork,
    run: &'a PredictionRun,
    plan: &'a PredictionPlan,
    out: &'a SyncSender<WriterMessage>,
    /// Limits the boxes on their way to the file.
    permits: Permits,
    /// Number of patches that fit the device's memory at once, as far as is known.
    patches_at_once: usize,
    /// Where sums are kept while they fit.
    sums_device: Device,
    /// Whether libtorch's cache was freed since the last success.
    cache_freed: bool,
    current: Option<UnfinishedVolume>,
}

impl DevicePredictor<'_> {
    /// Works on a message.
    ///
    /// # Errors
    /// Only if no further message can be worked on. Errors of a file are sent to the
    /// writer.
    fn handle(&mut self, message: ReaderMessage) -> Result<(), StageError> {
        match message {
            ReaderMessage::Failed { index, error } => {
                self.current = None;
                self.send(WriterMessage::Failed { index, error })
            }
            ReaderMessage::Begin { index, tiling, input, cancel } => {
                let begun = self.begin(index, tiling, input, cancel.clone());
                self.settle(begun, index, &cancel)
            }
            ReaderMessage::Batch { patches, raw } => {
                // A file that failed may still have patches on their way.
                let Some(mut volume) = self.current.take() else { return Ok(()) };
                // The writer has given the file up and has reported why.
                if volume.cancel.is_set() {
                    return Ok(());
                }
                let added = self.add_batch(&mut volume, &patches, raw);
                let (index, cancel) = (volume.index, volume.cancel.clone());
                self.current = added.is_ok().then_some(volume);
                self.settle(added, index, &cancel)
            }
            ReaderMessage::Complete { index, result, voxels } => {
                self.current = None;
                self.send(WriterMessage::Complete { index, result, voxels })
            }
            ReaderMessage::End => {
                let Some(volume) = self.current.take() else { return Ok(()) };
                let sent = self.send_regions(&volume);
                self.settle(sent, volume.index, &volume.cancel)?;
                if volume.cancel.is_set() { Ok(()) } else { self.send(WriterMessage::End) }
            }
        }
    }

    /// Sends the error of a file to the writer; passes on errors that end the stage.
    fn settle(
        &self,
        result: Result<(), StageError>,
        index: usize,
        cancel: &CancelFlag,
    ) -> Result<(), StageError> {
        let path = || self.run.files[index].input.display().to_string();
        match result {
            Ok(()) => Ok(()),
            Err(StageError::Ended) => Err(StageError::Ended),
            Err(StageError::File(error)) => {
                cancel.set();
                self.send(WriterMessage::Failed { index, error: error.context(path()) })
            }
            Err(StageError::DeviceLost(error)) => {
                cancel.set();
                self.send(WriterMessage::Failed { index, error: error.context(path()) })?;
                Err(StageError::Ended)
            }
        }
    }

    fn send(&self, message: WriterMessage) -> Result<(), StageError> {
        self.out.send(message).map_err(|_| StageError::Ended)
    }

    fn begin(
        &mut self,
        index: usize,
        tiling: Tiling,
        input: Box<InputSummary>,
        cancel: CancelFlag,
    ) -> Result<(), StageError> {
        self.current = None;
        if let Some((result, _)) = &input.block
            && result.memory_format != self.network.net.memory_format()
        {
            self.network.net.set_memory_format(result.memory_format)?;
        }
        let regions = self.plan.regions.as_ref();
        let regions = regions.map(|_| Stitched::new([0, 1, 2].map(|axis| tiling.axes[axis].size)));
        let direct = tiling.is_one_patch() && self.plan.flips.len() == 1;
        let sums = if direct || regions.is_some() { None } else { Some(self.new_sums(&tiling)?) };
        let size = tiling.result_size();
        let message = WriterMessage::Begin { index, size, input, cancel: cancel.clone() };
        self.send(message)?;
        let (pending, added) = (None, Vec::new());
        self.current =
            Some(UnfinishedVolume { index, tiling, sums, regions, pending, added, cancel });
        Ok(())
    }

    /// Sends the regions of a volume, if these are made, without its padding.
    fn send_regions(&self, volume: &UnfinishedVolume) -> Result<(), StageError> {
        let Some(regions) = &volume.regions else { return Ok(()) };
        let ([z, y, x], [d, h, w]) = (volume.tiling.padding, volume.tiling.result_size());
        for plane in 0..d {
            let labels = regions.labels().slice(s![z + plane, y..y + h, x..x + w]);
            let values = labels.iter().map(|label| *label as f32).collect();
            let values = from_vec::<f32>(values, &[1, 1, h as i64, w as i64])?;
            let block = FinishedBlock { z: plane, y: 0, values };
            self.send(WriterMessage::Block(block, self.permits.take()))?;
        }
        Ok(())
    }

    /// Sums on the device if they take less than a third of what is free there.
    fn new_sums(&mut self, tiling: &Tiling) -> Result<Sums> {
        let channels = self.plan.out_channels();
        if let Device::Cuda(index) = self.sums_device {
            let (free, _) = memory_info(index)?;
            if Sums::bytes(tiling, channels) as u64 <= free / 3 {
                return Ok(Sums::new(tiling, channels, self.sums_device));
            }
        }
        Ok(Sums::new(tiling, channels, Device::Cpu))
    }

    /// Sends what is final once a row of patches is added.
    fn release(
        &self,
        volume: &mut UnfinishedVolume,
        layer: usize,
        row: usize,
    ) -> Result<(), StageError> {
        let Some(sums) = &mut volume.sums else { return Ok(()) };
        if volume.pending.is_none() {
            volume.pending = sums.take(&volume.tiling, layer, row)?;
        }
        let Some(block) = &volume.pending else { return Ok(()) };
        let values = block.values.f_to_device(Device::Cpu)?;
        let block = FinishedBlock { values, ..*block };
        volume.pending = None;
        self.send(WriterMessage::Block(block, self.permits.take()))
    }

    /// Predicts patches and adds them.
    fn add_batch(
        &mut self,
        volume: &mut UnfinishedVolume,
        patches: &[[usize; 3]],
        raw: Vec<Volume>,
    ) -> Result<(), StageError> {
        let batch = stack(raw, self.network.precision.prediction().tensors, Device::Cpu)?;
        let mut done = 0;
        while done < patches.len() {
            let count = self.patches_at_once.min(patches.len() - done);
            let part = batch.f_narrow(0, done as i64, count as i64)?;
            match self.add_part(volume, &patches[done..done + count], &part) {
                Ok(()) => {
                    done += count;
                    self.cache_freed = false;
                }
                Err(StageError::File(error)) if failure(&error) == Failure::OutOfMemory => {
                    self.relieve_memory(volume, count, error)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes room after running out of memory, by what costs least.
    ///
    /// # Errors
    /// If nothing is left to try: an error that says what was needed.
    fn relieve_memory(
        &mut self,
        volume: &mut UnfinishedVolume,
        count: usize,
        error: anyhow::Error,
    ) -> Result<()> {
        if self.network.device.is_cuda() {
            empty_cache()?;
            if !self.cache_freed {
                self.cache_freed = true;
                warn!("out of memory: trying again with libtorch's cache freed");
                return Ok(());
            }
        }
        if count > 1 {
            self.patches_at_once = count / 2;
            let now = self.patches_at_once;
            warn!("out of memory with {count} patches at a time: going on with {now}");
            return Ok(());
        }
        if self.sums_device != Device::Cpu {
            self.sums_device = Device::Cpu;
            if let Some(sums) = &mut volume.sums {
                sums.to_device(Device::Cpu)?;
            }
            warn!("out of memory with a single patch: going on with the sums in host memory");
            return Ok(());
        }
        let network = &self.plan.network;
        Err(error).with_context(|| {
            format!(
                "a single patch {:?} with {} channel(s) and feature maps {:?} needs more memory than \
                 there is on {}: reduce `slice_builder.patch_shape`, or use `--device cpu`",
                self.plan.tiling.grid.patch,
                network.in_channels,
                network.f_maps,
                describe(self.network.device)
            )
        })
    }

    /// Predicts a part of a batch. When it fails for lack of memory it can be repeated,
    /// also with fewer of the patches: nothing is added twice.
    fn add_part(
        &self,
        volume: &mut UnfinishedVolume,
        patches: &[[usize; 3]],
        part: &Tensor,
    ) -> Result<(), StageError> {
        let part = part.f_to_device(self.network.device)?;
        // One flip after the other, so that the feature maps of one are in memory.
        for (number, flip) in self.plan.flips.iter().enumerate() {
            let flipped =
                if flip.is_empty() { part.shallow_clone() } else { part.f_flip(&flip[..])? };
            let features = tch::no_grad(|| self.network.net.features(flipped, false))?;
            for (i, patch) in patches.iter().enumerate() {
                let features = features.f_narrow(0, i as i64, 1)?;
                match &self.plan.regions {
                    Some(spec) => self.add_regions(volume, *patch, spec, &features)?,
                    None => self.add_patch(volume, *patch, number, &features)?,
                }
            }
        }
        let last = volume.tiling.axes[2].segments.len() - 1;
        for patch in patches.iter().filter(|patch| patch[2] == last) {
            self.release(volume, patch[0], patch[1])?;
        }
        volume.added.retain(|piece| !patches.contains(&piece.patch));
        Ok(())
    }

    /// Clusters the embeddings of a patch and adds its regions.
    fn add_regions(
        &self,
        volume: &mut UnfinishedVolume,
        patch: [usize; 3],
        spec: &RegionSpec,
        features: &Tensor,
    ) -> Result<(), StageError> {
        let piece = Piece { patch, flip: 0, first: 0 };
        let Some(regions) = &mut volume.regions else { return Ok(()) };
        if volume.added.contains(&piece) {
            return Ok(());
        }
        let embeddings = self.output_planes(features, &(0..volume.tiling.patch[0]))?;
        let labels = spec.clustering.segment(&embeddings)?;
        regions.add(volume.tiling.corner(patch), labels, spec);
        volume.added.push(piece);
        Ok(())
    }

    /// Runs the final convolution and the activation on the feature maps of a patch,
    /// some planes at a time, and adds the result.
    fn add_patch(
        &self,
        volume: &mut UnfinishedVolume,
        patch: [usize; 3],
        number: usize,
        features: &Tensor,
    ) -> Result<(), StageError> {
        let flips = &self.plan.flips;
        let flip = &flips[number];
        let [depth, height, width] = volume.tiling.patch;
        let plane = 4 * height * width * self.plan.network.out_channels as usize;
        let step = (LOGITS_BYTES / plane).clamp(1, depth);
        for first in (0..depth).step_by(step) {
            let piece = Piece { patch, flip: number, first };
            if volume.added.contains(&piece) {
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
            match &mut volume.sums {
                Some(sums) => {
                    if flips.len() > 1 {
                        values = values.f_div_scalar(flips.len() as f64)?;
                    }
                    sums.add(&volume.tiling, patch, target, &values)?;
                }
                None => {
                    if let Some((z, values)) = without_padding(&volume.tiling, &target, &values)? {
                        let values = values.f_to_device(Device::Cpu)?.f_contiguous()?;
                        let block = FinishedBlock { z, y: 0, values };
                        self.send(WriterMessage::Block(block, self.permits.take()))?;
                    }
                }
            }
            volume.added.push(piece);
        }
        Ok(())
    }

    /// Probabilities (C, d, H, W) of some planes of the feature maps of a patch.
    fn output_planes(&self, features: &Tensor, planes: &Range<usize>) -> Result<Tensor> {
        tch::no_grad(|| {
            let net = &self.network.net;
            let (start, length) = (planes.start as i64, planes.len() as i64);
            let logits = net.logits(&features.f_narrow(2, start, length)?)?;
            let values = net.activation().forward(&logits)?.f_squeeze_dim(0)?;
            let values = match self.plan.channel {
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
    tiling: &Tiling,
    planes: &Range<usize>,
    values: &Tensor,
) -> Result<Option<(usize, Tensor)>> {
    let size = tiling.result_size();
    let first = planes.start.max(tiling.padding[0]);
    let last = planes.end.min(tiling.padding[0] + size[0]);
    if first >= last {
        return Ok(None);
    }
    let mut values = values.f_narrow(1, (first - planes.start) as i64, (last - first) as i64)?;
    for (axis, (padding, size)) in tiling.padding.iter().zip(size).enumerate().skip(1) {
        values = values.f_narrow(axis as i64 + 1, *padding as i64, size as i64)?;
    }
    Ok(Some((first - tiling.padding[0], values)))
}
