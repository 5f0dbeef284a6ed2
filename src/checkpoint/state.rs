//! What a training run stores: the keys of the `.pytorch` files, with types.

use std::io::{Read, Seek};
use std::path::Path;

use super::error::{CheckpointError, Fault, contents};
use super::file::File;
use super::form::Form;
use super::optimizer::{OptimizerState, scalar};
use super::tensor::TensorData;
use super::value::PickleValue;
use super::weights::{has_weights, model_state};
use super::write::write;

/// The key under which everything stands that only this program knows.
const OWN: &str = "unet3d";

/// Upstream's name of `epoch`.
const UPSTREAM_EPOCH: &str = "num_epochs";

/// A training run at the end of an iteration.
///
/// All keys that the Python program expects are written always; when reading,
/// those that only repeat the configuration may be missing.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Whose keys it has. Of upstream's files, what those keys do not tell is left at
    /// its default.
    pub form: Form,
    /// The epoch that was running plus 1, counted from 0.
    pub epoch: u64,
    /// The last iteration done, counted from 1.
    pub num_iterations: u64,
    /// Parameters and buffers by name, in the order of the model.
    pub model_state: Vec<(String, TensorData)>,
    /// −∞ or +∞ before the first validation.
    pub best_eval_score: f64,
    pub eval_score_higher_is_better: bool,
    pub optimizer: OptimizerState,
    /// `cpu`, `cuda`, `cuda:N`.
    pub device: String,
    pub max_num_epochs: u64,
    pub max_num_iterations: u64,
    pub validate_after_iters: u64,
    pub log_after_iters: u64,
    /// Empty when batches are not dumped.
    pub h5_dir: String,
    pub validate_iters: Option<u64>,
    /// Of this program alone: scheduler, random state, configuration. Empty in
    /// files of the Python program.
    pub extra: Vec<(String, PickleValue)>,
}

impl Checkpoint {
    pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let file = File::open(path)?;
        Self::from_value(&file.root).map_err(|fault| fault.at(path))
    }

    /// The same from anything that can be read and sought in; `name` stands in
    /// messages.
    pub fn from_reader(
        name: &Path,
        reader: impl Read + Seek + Send + 'static,
    ) -> Result<Checkpoint, CheckpointError> {
        let file = File::from_reader(name, reader)?;
        Self::from_value(&file.root).map_err(|fault| fault.at(name))
    }

    /// Replaces the file at `path`, or leaves it as it was.
    pub fn write(self, path: &Path) -> Result<(), CheckpointError> {
        write(path, &self.into_value())
    }

    /// The value of one of this program's own keys.
    pub fn extra(&self, key: &str) -> Option<&PickleValue> {
        self.extra.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn from_value(root: &PickleValue) -> Result<Checkpoint, Fault> {
        if root.entries().is_none() {
            return contents(format!("it holds {} and no dict", root.describe()));
        }
        let keys = Keys { root };
        let optimizer = match root.get("optimizer_state_dict") {
            Some(value) => OptimizerState::from_value(value)?,
            None if has_weights(root) => {
                return contents(
                    "it holds weights, but no `optimizer_state_dict` to resume with; to start \
                     from its weights, name it in `trainer.pre_trained`",
                );
            }
            None => return contents("the key `optimizer_state_dict` is missing"),
        };
        let extra = match root.get(OWN) {
            None => Vec::new(),
            Some(own) => match own.entries() {
                Some(entries) => entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.as_str()?.to_string(), value.clone())))
                    .collect(),
                None => return contents(format!("the key `{OWN}` holds no dict")),
            },
        };
        let form = match root.get("epoch").is_none() && root.get(UPSTREAM_EPOCH).is_some() {
            true => Form::Upstream,
            false => Form::Fork,
        };
        Ok(Checkpoint {
            form,
            epoch: keys.required(match form {
                Form::Fork => "epoch",
                Form::Upstream => UPSTREAM_EPOCH,
            })?,
            num_iterations: keys.required("num_iterations")?,
            model_state: model_state(root)?,
            best_eval_score: keys.score()?,
            eval_score_higher_is_better: root
                .get("eval_score_higher_is_better")
                .and_then(PickleValue::as_bool)
                .unwrap_or(true),
            optimizer,
            device: keys.text("device")?.unwrap_or_else(|| "cpu".into()),
            max_num_epochs: keys.count("max_num_epochs")?.unwrap_or(100),
            max_num_iterations: keys.count("max_num_iterations")?.unwrap_or(100_000),
            validate_after_iters: keys.count("validate_after_iters")?.unwrap_or(100),
            log_after_iters: keys.count("log_after_iters")?.unwrap_or(100),
            h5_dir: keys.text("h5_dir")?.unwrap_or_default(),
            validate_iters: keys.count("validate_iters")?,
            extra,
        })
    }

    fn into_value(self) -> PickleValue {
        let count = |count: u64| PickleValue::Int(count as i64);
        let model = self.model_state.into_iter();
        let model =
            model.map(|(name, data)| (PickleValue::from(name), PickleValue::Tensor(data.into())));
        let model = PickleValue::OrderedDict(model.collect());
        let mut entries = match self.form {
            Form::Fork => vec![
                ("epoch", count(self.epoch)),
                ("num_iterations", count(self.num_iterations)),
                ("model_state_dict", model),
                ("best_eval_score", self.best_eval_score.into()),
                ("eval_score_higher_is_better", self.eval_score_higher_is_better.into()),
                ("optimizer_state_dict", self.optimizer.into_value()),
                ("device", self.device.into()),
                ("max_num_epochs", count(self.max_num_epochs)),
                ("max_num_iterations", count(self.max_num_iterations)),
                ("validate_after_iters", count(self.validate_after_iters)),
                ("log_after_iters", count(self.log_after_iters)),
                ("h5_dir", self.h5_dir.into()),
                ("validate_iters", self.validate_iters.map_or(PickleValue::None, count)),
            ],
            Form::Upstream => vec![
                (UPSTREAM_EPOCH, count(self.epoch)),
                ("num_iterations", count(self.num_iterations)),
                ("model_state_dict", model),
                ("best_eval_score", self.best_eval_score.into()),
                ("optimizer_state_dict", self.optimizer.into_value()),
            ],
        };
        if !self.extra.is_empty() {
            entries.push((OWN, PickleValue::dict(self.extra)));
        }
        PickleValue::dict(entries)
    }
}

struct Keys<'a> {
    root: &'a PickleValue,
}

impl Keys<'_> {
    /// A count that may be absent or None.
    fn count(&self, key: &str) -> Result<Option<u64>, Fault> {
        let value = match self.root.get(key) {
            None | Some(PickleValue::None) => return Ok(None),
            Some(value) => value,
        };
        match scalar(value)? {
            Some(x) if x.fract() == 0.0 && (0.0..9e15).contains(&x) => Ok(Some(x as u64)),
            _ => contents(format!("the key `{key}` holds {}, no count", value.describe())),
        }
    }

    fn required(&self, key: &str) -> Result<u64, Fault> {
        match self.count(key)? {
            Some(count) => Ok(count),
            None => contents(format!("the key `{key}` is missing")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, Fault> {
        match self.root.get(key) {
            None | Some(PickleValue::None) => Ok(None),
            Some(PickleValue::Str(text)) => Ok(Some(text.to_string())),
            Some(other) => contents(format!("the key `{key}` holds {}, no text", other.describe())),
        }
    }

    fn score(&self) -> Result<f64, Fault> {
        const KEY: &str = "best_eval_score";
        match self.root.get(KEY) {
            None => contents(format!("the key `{KEY}` is missing")),
            Some(value) => match scalar(value)? {
                Some(score) => Ok(score),
                None => contents(format!("the key `{KEY}` holds {}", value.describe())),
            },
        }
    }
}
