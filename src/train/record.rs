//! What a checkpoint remembers of a run besides its weights: one type, written and
//! read here alone.

use std::fmt;

use anyhow::{Result, bail, ensure};
use tch::Device;

use crate::checkpoint::{self, Checkpoint, Form, PickleValue, TensorData};
use crate::device::MemoryFormat;
use crate::model::{from_tensor, to_tensor};
use crate::optim::{self, Setting, Settings};
use crate::samples::RawSummary;
use crate::volume::Statistics;

use super::average::Average;
use super::settings::TrainerSpec;

/// Where a run stands after an iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The last iteration done, counted from 1.
    pub iteration: u64,
    /// The epoch under way, counted from 0.
    pub epoch: u64,
    /// Batches of the epoch that were trained on.
    pub batches: u64,
    /// Best score of a validation so far.
    pub best: f64,
    /// Averages since the epoch began.
    pub loss: Average,
    pub score: Average,
    /// Fixes data order and augmentation.
    pub seed: u64,
}

impl Progress {
    pub fn start(seed: u64, higher_is_better: bool) -> Self {
        Progress {
            iteration: 0,
            epoch: 0,
            batches: 0,
            best: if higher_is_better { f64::NEG_INFINITY } else { f64::INFINITY },
            loss: Average::default(),
            score: Average::default(),
            seed,
        }
    }

    fn to_value(&self) -> PickleValue {
        let average = |average: &Average| {
            PickleValue::dict([
                ("sum", average.sum.into()),
                ("count", (average.count as i64).into()),
            ])
        };
        PickleValue::dict([
            ("epoch", PickleValue::from(self.epoch as i64)),
            ("batches", PickleValue::from(self.batches as i64)),
            ("loss", average(&self.loss)),
            ("score", average(&self.score)),
            // As text: a seed may use all 64 bits.
            ("seed", PickleValue::from(self.seed.to_string())),
        ])
    }

    fn from_value(value: &PickleValue, checkpoint: &Checkpoint) -> Option<Self> {
        let count = |value: &PickleValue, key: &str| u64::try_from(value.get(key)?.as_int()?).ok();
        let average = |key: &str| {
            let value = value.get(key)?;
            Some(Average { sum: value.get("sum")?.as_float()?, count: count(value, "count")? })
        };
        Some(Progress {
            iteration: checkpoint.num_iterations,
            epoch: count(value, "epoch")?,
            batches: count(value, "batches")?,
            best: checkpoint.best_eval_score,
            loss: average("loss")?,
            score: average("score")?,
            seed: value.get("seed")?.as_str()?.parse().ok()?,
        })
    }
}

/// The samples of a step and how they are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSize {
    pub processes: usize,
    /// Samples of a batch.
    pub batch_size: usize,
    /// Batches of each process.
    pub accumulate: usize,
}

impl StepSize {
    /// Samples in all.
    pub fn samples(&self) -> usize {
        self.processes * self.batch_size * self.accumulate
    }
}

impl fmt::Display for StepSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StepSize { processes, batch_size, accumulate } = self;
        write!(f, "{processes} process(es), `batch_size: {batch_size}`, `accumulate: {accumulate}`")
    }
}

/// How a run computes. A run that goes on in another way gives numbers that differ
/// in their last bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Computation {
    /// `None` if it is not known.
    pub step: Option<StepSize>,
    pub threads: i64,
    pub precision: String,
    pub memory_format: MemoryFormat,
}

impl fmt::Display for Computation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Computation { step, threads, precision, memory_format } = self;
        if let Some(step) = step.filter(|step| step.processes * step.accumulate > 1) {
            write!(f, "{step}, ")?;
        }
        write!(f, "{threads} thread(s), precision {precision} and {memory_format}")
    }
}

/// The memory format of a name in a checkpoint; earlier versions wrote it in another way.
fn read_format(name: &str) -> Option<MemoryFormat> {
    MemoryFormat::named(match name {
        "ChannelsFirst" => MemoryFormat::ChannelsFirst.name(),
        "ChannelsLast" => MemoryFormat::ChannelsLast.name(),
        other => other,
    })
}

/// What a checkpoint remembers of a run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    pub progress: Progress,
    /// Name of the scheduler.
    pub scheduler: String,
    pub scheduler_state: Settings,
    pub computation: Computation,
    pub device: Device,
    /// Whose keys the checkpoint has.
    pub form: Form,
    /// The configuration as JSON.
    pub config: String,
    /// Folder of TensorBoard's files, below the checkpoint directory.
    pub logs: String,
    /// What the raw data of training are like.
    pub data: Option<RawSummary>,
}

impl RunRecord {
    /// A checkpoint of the run, with the settings of `spec` that the Python program
    /// wants to find in it.
    pub fn into_checkpoint(
        self,
        spec: &TrainerSpec,
        model_state: Vec<(String, TensorData)>,
        optimizer: checkpoint::OptimizerState,
    ) -> Checkpoint {
        let Computation { step, threads, precision, memory_format } = self.computation;
        let divided = step.map(|step| {
            let counts = [
                ("processes", step.processes),
                ("batch_size", step.batch_size),
                ("accumulate", step.accumulate),
            ];
            counts.map(|(name, count)| (name, PickleValue::from(count as i64)))
        });
        Checkpoint {
            form: self.form,
            epoch: self.progress.epoch + 1,
            num_iterations: self.progress.iteration,
            model_state,
            best_eval_score: self.progress.best,
            eval_score_higher_is_better: spec.higher_is_better,
            optimizer,
            device: match self.device {
                Device::Cuda(index) => format!("cuda:{index}"),
                _ => "cpu".to_string(),
            },
            max_num_epochs: spec.epochs,
            max_num_iterations: spec.iters,
            validate_after_iters: spec.validate_after_iters,
            log_after_iters: spec.log_after_iters,
            h5_dir: spec.h5_dir.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
            validate_iters: spec.validate_iters,
            extra: vec![
                ("version".into(), env!("CARGO_PKG_VERSION").into()),
                ("progress".into(), self.progress.to_value()),
                ("scheduler".into(), scheduler_value(&self.scheduler_state)),
                (
                    "run".into(),
                    PickleValue::dict(
                        [
                            ("scheduler", PickleValue::from(self.scheduler)),
                            ("threads", PickleValue::from(threads)),
                            ("precision", PickleValue::from(precision)),
                            ("layout", PickleValue::from(memory_format.name().to_string())),
                            ("logs", PickleValue::from(self.logs)),
                        ]
                        .into_iter()
                        .chain(divided.into_iter().flatten()),
                    ),
                ),
                ("data".into(), self.data.map(summary_value).into()),
                ("config".into(), self.config.into()),
            ],
        }
    }

    /// Where the run of a checkpoint stood; `None` for files of the Python program.
    pub fn progress(checkpoint: &Checkpoint) -> Option<Progress> {
        Progress::from_value(checkpoint.extra("progress")?, checkpoint)
    }

    /// How the run of a checkpoint computed; `None` for files of the Python program.
    pub fn computation(checkpoint: &Checkpoint) -> Option<Computation> {
        let run = checkpoint.extra("run")?;
        let count = |name: &str| usize::try_from(run.get(name)?.as_int()?).ok();
        let step = || {
            Some(StepSize {
                processes: count("processes")?,
                batch_size: count("batch_size")?,
                accumulate: count("accumulate")?,
            })
        };
        Some(Computation {
            step: step(),
            threads: run.get("threads")?.as_int()?,
            precision: run.get("precision")?.as_str()?.to_string(),
            memory_format: read_format(run.get("layout")?.as_str()?)?,
        })
    }

    /// The folder of TensorBoard's files of a checkpoint's run; `None` for files of the
    /// Python program and of earlier versions.
    pub fn logs(checkpoint: &Checkpoint) -> Option<String> {
        let logs = checkpoint.extra("run")?.get("logs")?.as_str()?;
        // A name within the checkpoint directory, wherever the file comes from.
        let harmless = !logs.is_empty() && !logs.starts_with('.') && !logs.contains('/');
        harmless.then(|| logs.to_string())
    }

    /// What the raw data of training are like; `None` for files of the Python program and
    /// of earlier versions. `own` is what this program adds to a checkpoint.
    pub fn data(own: &PickleValue) -> Option<RawSummary> {
        let data = own.get("data")?;
        let number = |key: &str| data.get(key)?.as_float();
        let size = data.get("voxel_size").and_then(PickleValue::items);
        let size = size.and_then(|size| size.iter().map(PickleValue::as_float).collect());
        Some(RawSummary {
            files: usize::try_from(data.get("files")?.as_int()?).ok()?,
            statistics: Statistics {
                min: number("min")?,
                max: number("max")?,
                mean: number("mean")?,
                std: number("std")?,
            },
            voxel_size: size.and_then(|size: Vec<f64>| size.try_into().ok()),
        })
    }

    /// Name and state of the scheduler of a checkpoint; `None` for files of the
    /// Python program.
    pub fn scheduler(checkpoint: &Checkpoint) -> Option<(&str, Settings)> {
        let name = checkpoint.extra("run")?.get("scheduler")?.as_str()?;
        let entries = checkpoint.extra("scheduler")?.entries()?.iter();
        let named = entries.filter_map(|(name, value)| Some((name.as_str()?, value)));
        Some((name, settings(named)))
    }
}

fn summary_value(data: RawSummary) -> PickleValue {
    let Statistics { min, max, mean, std } = data.statistics;
    let size = data.voxel_size.map(|size| PickleValue::List(size.map(PickleValue::from).to_vec()));
    PickleValue::dict([
        ("files", PickleValue::from(data.files as i64)),
        ("min", min.into()),
        ("max", max.into()),
        ("mean", mean.into()),
        ("std", std.into()),
        ("voxel_size", size.into()),
    ])
}

/// The state of a scheduler as a dict. Earlier versions want six numbers of every
/// scheduler: those that it does not have are written as they were then.
fn scheduler_value(state: &Settings) -> PickleValue {
    const FIRST: [(&str, Setting); 6] = [
        ("steps", Setting::Integer(0)),
        ("best", Setting::Number(f64::INFINITY)),
        ("bad_steps", Setting::Integer(0)),
        ("cooldown", Setting::Integer(0)),
        ("t_cur", Setting::Integer(0)),
        ("t_i", Setting::Integer(0)),
    ];
    let first = FIRST.into_iter().map(|(name, absent)| (name, state.get(name).unwrap_or(absent)));
    let known = |name: &str| FIRST.iter().any(|(other, _)| *other == name);
    let others = state.iter().filter(|(name, _)| !known(name));
    PickleValue::dict(first.chain(others).map(|(name, setting)| (name, value_of(setting))))
}

/// The state of an optimizer as a checkpoint stores it.
pub fn optimizer_to_file(state: &optim::OptimizerState) -> Result<checkpoint::OptimizerState> {
    let stored = |index: usize, tensors: &optim::ParameterTensors| {
        let tensors = tensors.iter().map(|(name, tensor)| Ok((name.clone(), from_tensor(tensor)?)));
        let parameter = checkpoint::ParameterState {
            step: state.steps.map(|steps| steps as u64),
            tensors: tensors.collect::<Result<_>>()?,
        };
        Ok((index as u64, parameter))
    };
    let parameters = state.parameters.iter().enumerate();
    let settings = state.settings.iter();
    let group = checkpoint::Group {
        settings: settings.map(|(name, value)| (name.to_string(), value_of(value))).collect(),
        params: (0..state.count as u64).collect(),
    };
    Ok(checkpoint::OptimizerState {
        state: parameters.map(|(index, tensors)| stored(index, tensors)).collect::<Result<_>>()?,
        groups: vec![group],
    })
}

/// The state of an optimizer of `count` parameters from a checkpoint; without
/// parameters if the file has none: no step was made yet, or nothing is kept (SGD
/// without momentum).
///
/// # Errors
/// The state of another number of parameters.
pub fn optimizer_from_file(
    file: &checkpoint::OptimizerState,
    count: usize,
) -> Result<optim::OptimizerState> {
    let group = file.groups.first();
    let named = group.map(|group| group.settings.iter().map(|(name, value)| (&name[..], value)));
    let mut state = optim::OptimizerState {
        count,
        settings: named.map(settings).unwrap_or_default(),
        ..optim::OptimizerState::default()
    };
    if file.state.is_empty() {
        return Ok(state);
    }
    let other = format!(
        "it has {} parameters' states, the network has {count} parameters",
        file.state.len()
    );
    ensure!(file.state.len() <= count, other);
    for id in 0..count as u64 {
        let Some((_, parameter)) = file.state.iter().find(|(other, _)| *other == id) else {
            bail!(other);
        };
        let tensors = parameter.tensors.iter();
        let tensors = tensors.map(|(name, data)| Ok((name.clone(), to_tensor(data)?)));
        state.parameters.push(tensors.collect::<Result<_>>()?);
        state.steps = parameter.step.map(|steps| steps as i64);
    }
    Ok(state)
}

fn value_of(setting: Setting) -> PickleValue {
    match setting {
        Setting::Absent => PickleValue::None,
        Setting::Flag(flag) => flag.into(),
        Setting::Integer(value) => value.into(),
        Setting::Number(value) => value.into(),
        Setting::Pair(first, second) => PickleValue::Tuple(vec![first.into(), second.into()]),
    }
}

/// The values that are settings; others, which no optimizer or scheduler of this
/// program asks for, are left out.
fn settings<'a>(values: impl Iterator<Item = (&'a str, &'a PickleValue)>) -> Settings {
    let setting = |value: &PickleValue| {
        Some(match value {
            PickleValue::None => Setting::Absent,
            PickleValue::Bool(flag) => Setting::Flag(*flag),
            PickleValue::Int(value) => Setting::Integer(*value),
            PickleValue::Float(value) => Setting::Number(*value),
            value => match value.items()? {
                [first, second] => Setting::Pair(first.as_float()?, second.as_float()?),
                _ => return None,
            },
        })
    };
    values.filter_map(|(name, value)| Some((name.to_string(), setting(value)?))).collect()
}
