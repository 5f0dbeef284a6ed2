//! The state of optimizers and schedulers as named values, which checkpoints hold
//! without knowing what they mean.

use tch::Tensor;

/// The numbers of an optimizer that a scheduler may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rate that the configuration asks for at the start.
    pub initial: f64,
    pub learning_rate: f64,
    /// SGD's momentum, Adam's first beta; `None` if the optimizer has nothing like it.
    pub momentum: Option<f64>,
}

/// A value of a state that is no tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    /// Python's `None`.
    Absent,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Pair(f64, f64),
}

impl From<bool> for Setting {
    fn from(value: bool) -> Self {
        Setting::Flag(value)
    }
}

impl From<i64> for Setting {
    fn from(value: i64) -> Self {
        Setting::Integer(value)
    }
}

impl From<f64> for Setting {
    fn from(value: f64) -> Self {
        Setting::Number(value)
    }
}

impl From<(f64, f64)> for Setting {
    fn from((first, second): (f64, f64)) -> Self {
        Setting::Pair(first, second)
    }
}

/// Named values in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Vec<(String, Setting)>);

impl Settings {
    pub fn with(mut self, name: &str, value: impl Into<Setting>) -> Self {
        self.0.push((name.to_string(), value.into()));
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Setting)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    pub fn get(&self, name: &str) -> Option<Setting> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Setting::Integer(value) => Some(value),
            _ => None,
        }
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Setting::Number(value) => Some(value),
            Setting::Integer(value) => Some(value as f64),
            _ => None,
        }
    }

    pub fn pair(&self, name: &str) -> Option<(f64, f64)> {
        match self.get(name)? {
            Setting::Pair(first, second) => Some((first, second)),
            _ => None,
        }
    }
}

impl FromIterator<(String, Setting)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, Setting)>>(values: I) -> Self {
        Settings(values.into_iter().collect())
    }
}

/// The state of an optimizer, as torch's `state_dict()` has it.
#[derive(Debug, Default)]
pub struct OptimizerState {
    /// Number of parameters.
    pub count: usize,
    /// What it keeps of each parameter; empty before the first step, or if it keeps
    /// nothing.
    pub parameters: Vec<ParameterTensors>,
    /// Steps done; `None` if torch's optimizer of that name does not count them.
    pub steps: Option<i64>,
    /// The settings of its only group.
    pub settings: Settings,
}

/// Tensors that an optimizer keeps of a parameter, under torch's names.
pub type ParameterTensors = Vec<(String, Tensor)>;
