//! One number per class, brought to the logits when it is first needed.

use std::cell::OnceCell;

use tch::{TchError, Tensor};

use crate::config::{ConfigError, Node, Parameter, Section, YamlValue};

/// The key of one weight for each class.
pub(super) const CLASS_WEIGHT: Parameter =
    Parameter::numbers("weight", &[], "one weight for each class, in the order of the channels")
        .at_least(0.0)
        .optional();

/// Weights of the classes (C), in the order of the network's channels.
#[derive(Debug)]
pub(super) struct ClassWeights {
    values: Vec<f64>,
    /// The key that they were read from.
    key: &'static str,
    /// Whether one number stands for all channels.
    one_for_all: bool,
    placed: OnceCell<Tensor>,
}

impl ClassWeights {
    /// The weights under [`CLASS_WEIGHT`], `None` if the key is absent.
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let key = CLASS_WEIGHT.name;
        let values = section.maybe_numbers(key)?;
        if let Some(node) = section.child(key)
            && values.iter().all(|weight| *weight == 0.0)
        {
            node.warn("all classes have the weight 0: nothing is learned");
        }
        Some(Self { values, key, one_for_all: false, placed: OnceCell::new() })
    }

    /// The weights under a key that may hold one number for all channels or a list
    /// of one a channel; `None` if the key is absent.
    ///
    /// # Errors
    /// Anything else than numbers of at least 0.
    pub(super) fn read_any(
        section: &Section<'_>,
        key: &'static str,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(node) = section.child(key) else { return Ok(None) };
        let values = numbers(node)?;
        Ok(Some(Self { values, key, one_for_all: true, placed: OnceCell::new() }))
    }

    /// Compares their number with the channels of the network; `node` is the section
    /// of the loss.
    ///
    /// # Errors
    /// Another number of weights than of channels.
    pub(super) fn check(&self, node: &Node, channels: usize) -> Result<(), ConfigError> {
        let given = self.values.len();
        if given == channels || (self.one_for_all && given == 1) {
            return Ok(());
        }
        Err(node.error_at(
            self.key,
            format!(
                "one number for each of the {channels} output channels is wanted, not {given}: \
                 give {channels}, or set `model.out_channels: {given}`"
            ),
        ))
    }

    /// The weights, (C), with the device and type of `logits`.
    pub(super) fn like(&self, logits: &Tensor) -> Result<Tensor, TchError> {
        let (device, kind) = (logits.device(), logits.f_kind()?);
        match self.placed.get() {
            Some(placed) if placed.device() == device && placed.f_kind()? == kind => {
                Ok(placed.shallow_clone())
            }
            _ => {
                let fresh = Tensor::f_from_slice(&self.values)?.f_to_kind(kind)?.f_to(device)?;
                // Logits of another device or type than the first are rare
                // enough to be served anew each time.
                let _ = self.placed.set(fresh.shallow_clone());
                Ok(fresh)
            }
        }
    }
}

/// The numbers of a key that may hold one or a list.
fn numbers(node: &Node) -> Result<Vec<f64>, ConfigError> {
    let number = |node: &Node| match node.value {
        YamlValue::Integer(i) if i >= 0 => Some(i as f64),
        YamlValue::Number(x) if x >= 0.0 && x.is_finite() => Some(x),
        _ => None,
    };
    match &node.value {
        YamlValue::List(items) if !items.is_empty() => items.iter().map(number).collect(),
        _ => number(node).map(|x| vec![x]),
    }
    .ok_or_else(|| {
        node.error(format!(
            "a number of at least 0, or a list of one a channel, is wanted, not {}",
            node.value.describe()
        ))
    })
}
