//! Weights in the forms in which programs store them: a training checkpoint, a
//! bare state dict, a checkpoint of PyTorch Lightning, with the prefixes that
//! wrappers put before the names.

use std::path::Path;

use super::error::{CheckpointError, Fault, contents};
use super::file::File;
use super::optimizer::reason;
use super::tensor::TensorData;
use super::value::PickleValue;

/// What wrappers put before every name: `DataParallel`, `torch.compile`, and the
/// attribute under which a Lightning module usually keeps its network.
const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "model.", "net."];

/// Reads only the parameters and buffers of a file, as prediction and `pre_trained`
/// need them; the optimizer's tensors are not read. The names are those in the file.
///
/// # Errors
/// If the file cannot be read, holds no weights, or one of them is no tensor.
pub fn read_model_state(path: &Path) -> Result<Vec<(String, TensorData)>, CheckpointError> {
    let file = File::open(path)?;
    model_state(&file.root).map_err(|fault| fault.at(path))
}

/// Removes the prefixes of wrappers, nested in any order. A prefix is one only if
/// all names have it.
pub fn strip_prefixes(state: &mut Vec<(String, TensorData)>) {
    // The counter of `torch.optim.swa_utils.AveragedModel` stands beside the
    // network that it wraps.
    const COUNTER: &str = "n_averaged";
    let averaged = state.iter().all(|(name, _)| name == COUNTER || name.starts_with("module."));
    if averaged && state.len() > 1 {
        state.retain(|(name, _)| name != COUNTER);
    }
    let common = |state: &[(String, TensorData)]| {
        let all = |prefix: &&&str| state.iter().all(|(name, _)| name.starts_with(**prefix));
        PREFIXES.iter().find(all).filter(|_| !state.is_empty()).map(|prefix| prefix.len())
    };
    while let Some(length) = common(state) {
        for (name, _) in state.iter_mut() {
            name.drain(..length);
        }
    }
}

/// The parameters and buffers of a file whose pickle holds `root`.
pub(super) fn model_state(root: &PickleValue) -> Result<Vec<(String, TensorData)>, Fault> {
    let entries = entries(root)?;
    let mut state = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        match (name, value) {
            (PickleValue::Str(name), PickleValue::Tensor(tensor)) => {
                let data = tensor.data().map_err(|error| Fault::Damaged(reason(error)))?;
                state.push((name.to_string(), data));
            }
            (PickleValue::Str(name), PickleValue::Opaque(object)) => {
                return contents(format!(
                    "`{name}` of its model is the Python object `{object}`, which is never created here"
                ));
            }
            (PickleValue::Str(name), other) => {
                return contents(format!("`{name}` of its model is {}", other.describe()));
            }
            _ => return contents("its model has a key that is no text"),
        }
    }
    Ok(state)
}

/// Whether there are weights in the file, though perhaps nothing else.
pub(super) fn has_weights(root: &PickleValue) -> bool {
    entries(root).is_ok()
}

type Entry = (PickleValue, PickleValue);

/// The entries of a file whose keys are the names of the weights.
pub(super) fn entries(root: &PickleValue) -> Result<Vec<&Entry>, Fault> {
    let Some(entries) = root.entries() else {
        return contents(format!("it holds {} and no dict", root.describe()));
    };
    for (key, lightning) in [("model_state_dict", false), ("state_dict", true)] {
        match root.get(key) {
            None => {}
            Some(value) => match value.entries() {
                Some(entries) if lightning => return Ok(network_of_lightning(entries)),
                Some(entries) => return Ok(entries.iter().collect()),
                None => {
                    return contents(format!("the key `{key}` holds {}", value.describe()));
                }
            },
        }
    }
    let bare = |(key, value): &Entry| {
        matches!((key, value), (PickleValue::Str(_), PickleValue::Tensor(_)))
    };
    if !entries.is_empty() && entries.iter().all(bare) {
        return Ok(entries.iter().collect());
    }
    const SHOWN: usize = 8;
    let names: Vec<&str> = entries.iter().filter_map(|(key, _)| key.as_str()).collect();
    let mut keys: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| {
            let short = name.chars().take(24).map(|c| if c.is_control() { '?' } else { c });
            format!("`{}`", short.collect::<String>())
        })
        .collect();
    if names.len() > SHOWN {
        keys.push("…".into());
    }
    contents(format!(
        "the key `model_state_dict` is missing, there is no `state_dict`, and it is no dict of \
         tensors (its keys: {})",
        keys.join(", ")
    ))
}

/// A Lightning module keeps its losses and metrics beside the network, and their
/// buffers stand in its state: what lies under the network's name is the network.
fn network_of_lightning(entries: &[Entry]) -> Vec<&Entry> {
    let below = |prefix: &str| -> Vec<&Entry> {
        let has = |key: &PickleValue| key.as_str().is_some_and(|name| name.starts_with(prefix));
        entries.iter().filter(|(key, _)| has(key)).collect()
    };
    let (model, net) = (below("model."), below("net."));
    match (model.is_empty(), net.is_empty()) {
        (false, true) => model,
        (true, false) => net,
        _ => entries.iter().collect(),
    }
}
