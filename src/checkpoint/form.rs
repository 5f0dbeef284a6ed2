//! Which program's form a checkpoint has.

use std::path::Path;

use super::error::CheckpointError;
use super::file::File;
use super::value::PickleValue;
use super::weights::entries;

/// The program that reads a checkpoint of this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `flavell-lab/pytorch-3dunet`.
    Fork,
    /// `wolny/pytorch-3dunet` 1.9.
    Upstream,
}

/// Whose form a checkpoint has, and by what that is told: keys beside the weights, or
/// names and shapes of the weights. `None` for weights that both programs keep so.
///
/// # Errors
/// A file that is no checkpoint.
pub fn form(path: &Path) -> Result<Option<(Form, String)>, CheckpointError> {
    let file = File::open(path)?;
    let root = &file.root;
    if root.get("model_state_dict").is_some() {
        for (key, form) in [("epoch", Form::Fork), ("num_epochs", Form::Upstream)] {
            if root.get(key).is_some() {
                return Ok(Some((form, format!("its key `{key}`"))));
            }
        }
    }
    const NAMES: [(&str, Form); 4] = [
        ("basic_module.conv1.weight", Form::Upstream),
        ("upsampling.upsample.conv_transposed.weight", Form::Upstream),
        ("basic_module.conv1.conv.weight", Form::Fork),
        ("upsampling.upsample.weight", Form::Fork),
    ];
    let Ok(weights) = entries(root) else { return Ok(None) };
    for (name, value) in weights {
        let (Some(name), PickleValue::Tensor(tensor)) = (name.as_str(), value) else { continue };
        if let Some((_, form)) = NAMES.iter().find(|(end, _)| name.ends_with(end)) {
            return Ok(Some((*form, format!("the name of its weight `{name}`"))));
        }
        if name.ends_with("conv.weight") && tensor.shape().len() == 4 {
            return Ok(Some((Form::Upstream, format!("the four axes of its weight `{name}`"))));
        }
    }
    Ok(None)
}
