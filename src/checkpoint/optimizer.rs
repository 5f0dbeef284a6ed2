//! The state of an optimizer as torch stores it.
//!
//! `{'state': {id: {...}}, 'param_groups': [{'lr': ..., 'params': [id, ...]}]}`;
//! ids count the parameters in the order of the model.

use super::error::{Fault, contents};
use super::tensor::TensorData;
use super::value::PickleValue;

/// What an optimizer remembers of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParameterState {
    /// Steps made so far, for optimizers that count them. A file may hold it as an
    /// integer or as a tensor.
    pub step: Option<u64>,
    /// Everything else by name, such as Adam's `exp_avg`.
    pub tensors: Vec<(String, TensorData)>,
}

/// Settings shared by a group of parameters.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// All but `params`, in their order: `lr` and what else the optimizer has. Neither
    /// reader nor writer fills in defaults. Tensors of one element are read as the
    /// number they hold.
    pub settings: Vec<(String, PickleValue)>,
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
    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorData> {
        self.tensors.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor)
    }

    fn from_value(id: u64, value: &PickleValue) -> Result<ParameterState, Fault> {
        let mut state = ParameterState::default();
        for (name, value) in value.entries().unwrap_or_default() {
            let Some(name) = name.as_str() else {
                return contents(format!("a name in the state of parameter {id} is no text"));
            };
            match (name, value) {
                (_, PickleValue::None) => {}
                ("step", step) => match scalar(step)? {
                    Some(step) if (0.0..9e15).contains(&step) => state.step = Some(step as u64),
                    _ => return contents(format!("`step` of parameter {id} is no count")),
                },
                (_, PickleValue::Tensor(tensor)) => {
                    let data = tensor.data().map_err(|error| Fault::Damaged(reason(error)))?;
                    state.tensors.push((name.to_string(), data));
                }
                (_, other) => {
                    let what = other.describe();
                    return contents(format!("`{name}` of parameter {id} is {what}, no tensor"));
                }
            }
        }
        Ok(state)
    }

    fn into_value(self) -> PickleValue {
        // torch before 1.12 wants an integer; later versions take both.
        let step = self.step.map(|step| ("step".to_string(), PickleValue::Int(step as i64)));
        let tensors = self.tensors.into_iter();
        let tensors = tensors.map(|(name, data)| (name, PickleValue::Tensor(data.into())));
        PickleValue::dict(step.into_iter().chain(tensors))
    }
}

impl Group {
    /// The setting of that name.
    pub fn setting(&self, name: &str) -> Option<&PickleValue> {
        self.settings.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    fn from_value(value: &PickleValue) -> Result<Group, Fault> {
        let (mut settings, mut params) = (Vec::<(String, PickleValue)>::new(), None);
        for (name, value) in value.entries().unwrap_or_default() {
            match (name.as_str(), value) {
                (Some("params"), ids) => {
                    let id = |id: &PickleValue| id.as_int().and_then(|id| u64::try_from(id).ok());
                    params = ids.items().and_then(|ids| ids.iter().map(id).collect());
                }
                (Some(name), PickleValue::Tensor(_)) => {
                    if let Some(number) = scalar(value)? {
                        settings.push((name.to_string(), number.into()));
                    }
                }
                (Some(name), value) => settings.push((name.to_string(), value.clone())),
                (None, _) => {}
            }
        }
        let rate = settings.iter().find(|(name, _)| name == "lr");
        match (params, rate.and_then(|(_, rate)| rate.as_float())) {
            (Some(params), Some(_)) => Ok(Group { settings, params }),
            _ => contents("a group of its optimizer has no `lr` and `params`"),
        }
    }

    fn into_value(self) -> PickleValue {
        let params = self.params.into_iter().map(|id| PickleValue::Int(id as i64)).collect();
        let params = ("params".to_string(), PickleValue::List(params));
        PickleValue::dict(self.settings.into_iter().chain([params]))
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
