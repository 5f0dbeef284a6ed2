//! Python values as data.

use std::sync::Arc;

use super::tensor::Tensor;

/// A Python value of a checkpoint. Text and bytes are shared, so that cloning a
/// value is cheap but for its lists.
#[derive(Clone, Debug)]
pub enum PickleValue {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Vec<PickleValue>),
    Tuple(Vec<PickleValue>),
    /// Entries in the order of insertion. No key occurs twice.
    Dict(Vec<(PickleValue, PickleValue)>),
    /// `collections.OrderedDict`.
    OrderedDict(Vec<(PickleValue, PickleValue)>),
    Tensor(Tensor),
    /// A type or function such as `torch.float32`, by its full name.
    Type(Arc<str>),
    /// An object that is not made here, by the name of the type or function that
    /// would make it.
    Opaque(Arc<str>),
}

impl PickleValue {
    /// The kind of the value, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            PickleValue::None => "None",
            PickleValue::Bool(_) => "a boolean",
            PickleValue::Int(_) => "an integer",
            PickleValue::Float(_) => "a number",
            PickleValue::Str(_) => "text",
            PickleValue::Bytes(_) => "bytes",
            PickleValue::List(_) => "a list",
            PickleValue::Tuple(_) => "a tuple",
            PickleValue::Dict(_) | PickleValue::OrderedDict(_) => "a dict",
            PickleValue::Tensor(_) => "a tensor",
            PickleValue::Type(_) => "a type",
            PickleValue::Opaque(_) => "a Python object",
        }
    }

    /// The entries of a dict of either kind.
    pub fn entries(&self) -> Option<&[(PickleValue, PickleValue)]> {
        match self {
            PickleValue::Dict(entries) | PickleValue::OrderedDict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements of a list or tuple.
    pub fn items(&self) -> Option<&[PickleValue]> {
        match self {
            PickleValue::List(items) | PickleValue::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The value under a text key of a dict.
    pub fn get(&self, key: &str) -> Option<&PickleValue> {
        let found = self.entries()?.iter().find(|(name, _)| name.as_str() == Some(key));
        found.map(|(_, value)| value)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            PickleValue::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            PickleValue::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// An integer, or a number without a fraction: `max_num_iterations` may be `1e5`.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            PickleValue::Int(i) => Some(*i),
            PickleValue::Bool(flag) => Some(i64::from(*flag)),
            PickleValue::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => Some(*x as i64),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            PickleValue::Float(x) => Some(*x),
            PickleValue::Int(i) => Some(*i as f64),
            _ => None,
        }
    }

    /// A dict with text keys.
    pub fn dict<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, PickleValue)>) -> PickleValue {
        let entries = entries.into_iter();
        PickleValue::Dict(
            entries.map(|(key, value)| (PickleValue::from(key.as_ref()), value)).collect(),
        )
    }
}

impl From<bool> for PickleValue {
    fn from(flag: bool) -> Self {
        PickleValue::Bool(flag)
    }
}

impl From<i64> for PickleValue {
    fn from(i: i64) -> Self {
        PickleValue::Int(i)
    }
}

impl From<f64> for PickleValue {
    fn from(x: f64) -> Self {
        PickleValue::Float(x)
    }
}

impl From<&str> for PickleValue {
    fn from(text: &str) -> Self {
        PickleValue::Str(text.into())
    }
}

impl From<String> for PickleValue {
    fn from(text: String) -> Self {
        PickleValue::Str(text.into())
    }
}

impl<T: Into<PickleValue>> From<Option<T>> for PickleValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(PickleValue::None, Into::into)
    }
}
