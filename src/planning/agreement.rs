//! Whether a configuration of a prediction agrees with what its checkpoint tells.

use crate::augment::{normalization, normalization_differs};
use crate::config::Node;
use crate::train::Told;

/// In what a configuration, with `root` at its top, contradicts the training that a
/// checkpoint tells of, in one line; `None` if in nothing.
pub fn contradiction(told: &Told, root: &Node) -> Option<String> {
    let then = told.configuration();
    let mut found = Vec::new();
    let steps = |root: &Node, phase: &str| {
        let list = root.at(&format!("loaders.{phase}.transformer.raw"));
        list.map(normalization).unwrap_or_default()
    };
    let (trained, predicting) = (steps(then, "val"), steps(root, "test"));
    found.extend(normalization_differs(("trained", &trained), ("predicting", &predicting)));
    let global = |root: &Node| root.at("loaders.global_normalization").map(Node::to_json);
    if then.dialect() == root.dialect() && !trained.is_empty() && global(then) != global(root) {
        found.push("`loaders.global_normalization` is another".into());
    }
    let shown = |size: &Option<String>| size.clone().unwrap_or_else(|| "any size".into());
    let size = |root: &Node| root.at("loaders.voxel_size").map(Node::to_json);
    let (trained, predicting) = (size(then), size(root));
    if trained != predicting {
        found.push(format!(
            "trained with voxels of {}, predicting with voxels of {}",
            shown(&trained),
            shown(&predicting)
        ));
    }
    if let Some(changes) = told.network_changes(root) {
        found.push(format!("the network is another: {changes}"));
    }
    (!found.is_empty()).then(|| found.join("; "))
}
