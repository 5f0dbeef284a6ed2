//! Results that are made block by block, so that memory does not depend on the size of a
//! volume and several processes can work on one.
//!
//! A block is predicted on its own, from all patches that reach it, in the order of the
//! whole. So it does not matter which process makes it, nor what was made before.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use log::info;
use ndarray::Array4;
use serde_json::{Value, json};

use crate::device::MemoryFormat;
use crate::files::FileState;
use crate::format;
use crate::stitch::FinishedBlock;
use crate::volume::{
    Block, Encoding, SharedEnd, SharedSpec, SharedWriter, Statistics, VolumeReader, Window,
};

use super::device::Computing;
use super::existing::{INPUT, check_replaceable, warn_of_other_input};
use super::output::{likeliest, view};
use super::plan::PredictionPlan;
use super::run::PredictionRun;

/// Whether the result of a file is made block by block: its format lets blocks be written
/// apart, and nothing else is made of the result, for which all of it is needed in order.
pub fn is_shared(plan: &PredictionPlan, output: &std::path::Path, has_stage: bool) -> bool {
    format::named(output).is_some_and(|format| format.shared.is_some())
        && !has_stage
        && !plan.output.preview
        && plan.performance.is_none()
        && plan.regions.is_none()
        // What is resampled comes in sequence, too.
        && plan.voxel_size.is_none()
}

/// The result of a file that is being made block by block, perhaps by several processes.
pub struct SharedResult {
    pub index: usize,
    writer: Box<dyn SharedWriter>,
    /// What stood under the name when this process began.
    seen: Option<FileState>,
    texts: Vec<(String, String)>,
    /// Patches that the network computes at once, for all processes.
    pub batch_size: usize,
    /// The order of feature maps in memory, for all processes.
    pub memory_format: MemoryFormat,
}

impl SharedResult {
    /// Begins the result of file `index`, or goes on with it.
    ///
    /// # Errors
    /// Files under its name that prediction did not write, and what fails on the disk.
    pub fn open(
        run: &PredictionRun,
        index: usize,
        reader: &dyn VolumeReader,
        record: &str,
        computing: Computing,
    ) -> Result<SharedResult> {
        let (plan, pair) = (&run.plan, &run.files[index]);
        let path = &pair.output;
        check_replaceable(path, &plan.output)?;
        let seen = FileState::of(path).ok();
        warn_of_other_input(path, &pair.input);
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("{}: cannot be made", directory.display()))?;
        }
        let stores = format::named(path).and_then(|format| format.shared.as_ref());
        let stores = stores.with_context(|| format!("{}: no store", path.display()))?;
        let spec = &plan.output;
        let volumes = spec.volumes(plan.out_channels(), reader.size());
        let volumes: Vec<_> = volumes.into_iter().flatten().collect();
        let calibration = match &volumes[..] {
            // A store says one thing of all its volumes.
            [volume] if volume.has_channels => {
                plan.result_calibration(&reader.calibration(), plan.out_channels())
            }
            _ => plan.result_calibration(&reader.calibration(), 0),
        };
        let mut texts: Vec<(String, String)> =
            run.attributes.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
        texts.push((INPUT.to_owned(), record.to_owned()));
        if spec.encoding == Encoding::ScaledUint8 {
            texts.push((format::SCALE.to_owned(), (1.0f64 / 255.0).to_string()));
        }
        // What decides the voxels to the last bit; the configuration may name other files.
        let decisive = texts.iter().filter(|(name, _)| name != "configuration");
        let [d, h, w] = reader.size();
        let identity = json!({
            "made_from": decisive.collect::<Vec<_>>(),
            "device": computing.device,
            "shape": [plan.out_channels(), d, h, w],
        });
        let settings = json!({
            "batch_size": plan.batch_size,
            "threads": tch::get_num_threads(),
            "memory_format": computing.memory_format.name(),
        });
        let (identity, settings) = (identity.to_string(), settings.to_string());
        let block_bytes = spec.block_memory << 20;
        let agreed = SharedSpec { identity: &identity, settings: &settings, block_bytes };
        let writer = (stores.create)(path, &volumes, &calibration, &agreed)?;
        let noted: Value = serde_json::from_str(writer.settings()).unwrap_or_default();
        let number = |key: &str| noted.get(key).and_then(Value::as_u64);
        let batch_size = number("batch_size").map_or(plan.batch_size, |n| n as usize);
        if let Some(threads) = number("threads").and_then(|n| i32::try_from(n).ok())
            && threads != tch::get_num_threads()
        {
            info!("{}: was begun with {threads} thread(s), which is kept", path.display());
            tch::set_num_threads(threads);
        }
        let named = noted.get("memory_format").and_then(Value::as_str);
        let memory_format = named.and_then(MemoryFormat::named);
        let memory_format = memory_format.unwrap_or(computing.memory_format);
        if memory_format != computing.memory_format {
            info!("{}: was begun with {memory_format}, which is kept", path.display());
        }
        Ok(SharedResult { index, writer, seen, texts, batch_size, memory_format })
    }

    /// The statistics of the input, which one process finds for all of them.
    pub fn statistics(&self, reader: &dyn VolumeReader) -> Result<Statistics> {
        let find = || -> Result<String> {
            let Statistics { min, max, mean, std } = reader.statistics()?;
            // As bits: nothing is rounded.
            Ok([min, max, mean, std].map(|x| format!("{:016x}", x.to_bits())).join(" "))
        };
        let text = self.writer.kept("statistics", &find)?;
        let numbers: Vec<f64> = text
            .split_whitespace()
            .filter_map(|word| u64::from_str_radix(word, 16).ok().map(f64::from_bits))
            .collect();
        let [min, max, mean, std]: [f64; 4] =
            numbers.try_into().ok().context("the statistics that were kept cannot be read")?;
        Ok(Statistics { min, max, mean, std })
    }

    /// The blocks that this process has to make.
    pub fn blocks(&self, run: &PredictionRun) -> Vec<usize> {
        let all: Vec<usize> = (0..self.writer.blocks()).collect();
        let all = match run.block_shard {
            Some(shard) => shard.select(all),
            None => all,
        };
        all.into_iter().filter(|number| !self.writer.is_done(*number)).collect()
    }

    pub fn count(&self) -> usize {
        self.writer.blocks()
    }

    pub fn window(&self, block: usize) -> Window {
        self.writer.block(block)
    }

    /// Ends this process's work on the result, which is complete if all blocks are done.
    pub fn leave(&self, run: &PredictionRun) -> Result<()> {
        let path = &run.files[self.index].output;
        let may_replace = |path: &std::path::Path| match FileState::of(path).ok() {
            now if now.is_some() && now == self.seen => Ok(()),
            _ => check_replaceable(path, &run.plan.output),
        };
        match self.writer.leave(&self.texts, run.compressors, &may_replace)? {
            SharedEnd::Complete => {}
            SharedEnd::Left(count) => {
                info!("{}: {count} block(s) are left to other processes", path.display());
            }
            SharedEnd::Others => {
                info!("{}: the last process at work completes it", path.display());
            }
        }
        Ok(())
    }
}

/// A block that is being put together.
pub struct BlockOutput {
    pub result: Arc<SharedResult>,
    number: usize,
    probabilities: Option<Array4<f32>>,
    segmentation: Option<Array4<f32>>,
}

impl BlockOutput {
    pub fn new(run: &PredictionRun, result: Arc<SharedResult>, number: usize) -> BlockOutput {
        let [d, h, w] = result.window(number).size;
        let spec = &run.plan.output;
        let array = |wanted: bool, channels| wanted.then(|| Array4::zeros((channels, d, h, w)));
        BlockOutput {
            probabilities: array(spec.probabilities.is_some(), run.plan.out_channels()),
            segmentation: array(spec.segmentation.is_some(), 1),
            result,
            number,
        }
    }

    /// Takes a box of the block.
    pub fn write(&mut self, block: &FinishedBlock) -> Result<()> {
        let FinishedBlock { z, y, values } = block;
        let place = |array: &mut Array4<f32>, values: ndarray::ArrayView4<'_, f32>| {
            let (_, d, h, _) = values.dim();
            array.slice_mut(ndarray::s![.., *z..z + d, *y..y + h, ..]).assign(&values);
        };
        if let Some(array) = &mut self.probabilities {
            let values = values.f_contiguous()?;
            place(array, view(&values)?);
        }
        if let Some(array) = &mut self.segmentation {
            place(array, view(&likeliest(values)?)?);
        }
        Ok(())
    }

    /// Writes the block.
    pub fn finish(self, run: &PredictionRun) -> Result<()> {
        let volumes: Vec<Block<'_>> = [&self.probabilities, &self.segmentation]
            .into_iter()
            .flatten()
            .map(|array| Block::F32(array.view()))
            .collect();
        ensure!(!volumes.is_empty(), "nothing is to be written");
        self.result.writer.write(self.number, &volumes, run.compressors)?;
        let (path, count) = (&run.files[self.result.index].output, self.result.count());
        log::debug!("{}: block {} of {count} is done", path.display(), self.number + 1);
        Ok(())
    }
}
