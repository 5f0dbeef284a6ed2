//! The state of an optimizer as torch stores it.
//!
//! `{'state': {id: {...}}, 'param_groups': [{'lr': ..., 'params': [id, ...]}]}`;
//! ids count the parameters in the order of the model.

use super::error::{Fault, contents};
use super::tensor::TensorData;
use super::value::PickleValue;

/// What an optimizer remembers of one parameter; which fields are there tells
/// which optimizer it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParameterState {
    /// Adam: steps made so far, the power of its betas. A file may hold it as an
    /// integer or as a tensor.
    pub step: Option<u64>,
    /// Adam: running mean of the gradient, of the parameter's shape.
    pub exp_avg: Option<TensorData>,
    /// Adam: running mean of its square.
    pub exp_avg_sq: Option<TensorData>,
    /// Adam with `amsgrad`: the largest `exp_avg_sq` so far.
    pub max_exp_avg_sq: Option<TensorData>,
    /// SGD with momentum.
    pub momentum_buffer: Option<TensorData>,
}

/// Settings shared by a group of parameters. Settings of the other optimizer are
/// `None`; neither reader nor writer fills in defaults.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub lr: f64,
    pub weight_decay: f64,
    /// Adam.
    pub betas: Option<(f64, f64)>,
    /// Adam.
    pub eps: Option<f64>,
    /// Adam.
    pub amsgrad: Option<bool>,
    /// SGD.
    pub momentum: Option<f64>,
    /// SGD.
    pub dampening: Option<f64>,
    /// SGD.
    pub nesterov: Option<bool>,
    /// Some schedulers keep the rate they started from here.
    pub initial_lr: Option<f64>,
    /// Ids of the parameters.
    pub params: Vec<u64>,
}

/// `optimizer.state_dict()`.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// By parameter id; parameters without a step so far are absent.
    pub state: Vec<(u64, ParameterState)>,
    pub groups: Vec<Group>,
}

impl OptimizerState {
    pub(super) fn from_value(value: &PickleValue) -> Result<OptimizerState, Fault> {
        let entries = value.get("state").and_then(PickleValue::entries);
        let groups = value.get("param_groups").and_then(PickleValue::items);
        let (Some(entries), Some(groups)) = (entries, groups) else {
            return contents("its `optimizer_state_dict` holds no `state` and `param_groups`");
        };
        let mut state = Vec::with_capacity(entries.len());
        for (id, parameter) in entries {
            let Some(id) = id.as_int().and_then(|id| u64::try_from(id).ok()) else {
                return contents("its optimizer has a parameter id that is no number");
            };
            state.push((id, ParameterState::from_value(id, parameter)?));
        }
        let groups = groups.iter().map(Group::from_value).collect::<Result<_, _>>()?;
        Ok(OptimizerState { state, groups })
    }

    pub(super) fn into_value(self) -> PickleValue {
        let state = self.state.into_iter();
        let state =
            state.map(|(id, state)| (PickleValue::Int(id as i64), state.into_value())).collect();
        let groups = self.groups.into_iter().map(Group::into_value).collect();
        PickleValue::dict([
            ("state", PickleValue::Dict(state)),
            ("param_groups", PickleValue::List(groups)),
        ])
    }
}

impl ParameterState {
    fn from_value(id: u64, value: &PickleValue) -> Result<ParameterState, Fault> {
        let tensor = |name: &str| match value.get(name) {
            None | Some(PickleValue::None) => Ok(None),
            Some(PickleValue::Tensor(tensor)) => {
                tensor.data().map(Some).map_err(|error| Fault::Damaged(reason(error)))
            }
            Some(other) => {
                contents(format!("`{name}` of parameter {id} is {}, no tensor", other.describe()))
            }
        };
        let step = match value.get("step") {
            None | Some(PickleValue::None) => None,
            Some(step) => match scalar(step)? {
                Some(step) if (0.0..9e15).contains(&step) => Some(step as u64),
                _ => return contents(format!("`step` of parameter {id} is no count")),
            },
        };
        Ok(ParameterState {
            step,
            exp_avg: tensor("exp_avg")?,
            exp_avg_sq: tensor("exp_avg_sq")?,
            max_exp_avg_sq: tensor("max_exp_avg_sq")?,
            momentum_buffer: tensor("momentum_buffer")?,
        })
    }

    fn into_value(self) -> PickleValue {
        let mut entries = Vec::new();
        if let Some(step) = self.step {
            // torch before 1.12 wants an integer; later versions take both.
            entries.push(("step", PickleValue::Int(step as i64)));
        }
        let tensors = [
            ("exp_avg", self.exp_avg),
            ("exp_avg_sq", self.exp_avg_sq),
            ("max_exp_avg_sq", self.max_exp_avg_sq),
            ("momentum_buffer", self.momentum_buffer),
        ];
        for (name, tensor) in tensors {
            if let Some(data) = tensor {
                entries.push((name, PickleValue::Tensor(data.into())));
            }
        }
        PickleValue::dict(entries)
    }
}

impl Group {
    fn from_value(value: &PickleValue) -> Result<Group, Fault> {
        let number = |name: &str| match value.get(name) {
            None | Some(PickleValue::None) => Ok(None),
            Some(found) => match scalar(found)? {
                Some(number) => Ok(Some(number)),
                None => contents(format!("`{name}` of its optimizer is {}", found.describe())),
            },
        };
        let flag = |name: &str| value.get(name).and_then(PickleValue::as_bool);
        let params = value.get("params").and_then(PickleValue::items);
        let ids = params.map(|params| {
            params.iter().map(|id| id.as_int().and_then(|id| u64::try_from(id).ok())).collect()
        });
        let (Some(lr), Some(Some(params))) = (number("lr")?, ids) else {
            return contents("a group of its optimizer has no `lr` and `params`");
        };
        let betas = match value.get("betas").and_then(PickleValue::items) {
            None => None,
            Some([first, second]) => match (scalar(first)?, scalar(second)?) {
                (Some(first), Some(second)) => Some((first, second)),
                _ => return contents("`betas` of its optimizer are no numbers"),
            },
            Some(_) => return contents("`betas` of its optimizer are not two"),
        };
        Ok(Group {
            lr,
            weight_decay: number("weight_decay")?.unwrap_or(0.0),
            betas,
            eps: number("eps")?,
            amsgrad: flag("amsgrad"),
            momentum: number("momentum")?,
            dampening: number("dampening")?,
            nesterov: flag("nesterov"),
            initial_lr: number("initial_lr")?,
            params,
        })
    }

    fn into_value(self) -> PickleValue {
        let mut entries: Vec<(&str, PickleValue)> = vec![("lr", self.lr.into())];
        if let Some((first, second)) = self.betas {
            entries.push(("betas", PickleValue::Tuple(vec![first.into(), second.into()])));
        }
        let numbers =
            [("eps", self.eps), ("momentum", self.momentum), ("dampening", self.dampening)];
        entries.extend(numbers.into_iter().filter_map(|(name, x)| Some((name, x?.into()))));
        entries.push(("weight_decay", self.weight_decay.into()));
        let flags = [("amsgrad", self.amsgrad), ("nesterov", self.nesterov)];
        entries.extend(flags.into_iter().filter_map(|(name, x)| Some((name, x?.into()))));
        if let Some(rate) = self.initial_lr {
            entries.push(("initial_lr", rate.into()));
        }
        // torch takes the settings of a group as they are stored and has
        // defaults for these only if its version knows them.
        entries.push(("maximize", false.into()));
        entries.push(("foreach", PickleValue::None));
        if self.betas.is_some() {
            entries.push(("capturable", false.into()));
        }
        entries.push(("differentiable", false.into()));
        entries.push(("fused", PickleValue::None));
        let params = self.params.into_iter().map(|id| PickleValue::Int(id as i64)).collect();
        entries.push(("params", PickleValue::List(params)));
        PickleValue::dict(entries)
    }
}

/// A number: as such, or as a tensor of one element.
pub(super) fn scalar(value: &PickleValue) -> Result<Option<f64>, Fault> {
    match value {
        PickleValue::Tensor(tensor) if tensor.shape().iter().product::<usize>() == 1 => {
            let data = tensor.data().map_err(|error| Fault::Damaged(reason(error)))?;
            Ok(data.to_f64().first().copied())
        }
        value => Ok(value.as_float()),
    }
}

/// The message of an error without the file's name, which its caller adds.
pub(super) fn reason(error: super::CheckpointError) -> String {
    use super::CheckpointError::*;
    match error {
        Damaged { what, .. } | Contents { what, .. } | Unsupported { what, .. } => what,
        Read { source, .. } | Write { source, .. } => source.to_string(),
        UnknownGlobal { name, .. } => name,
    }
}
