//! What a run was begun with, as the configuration in its checkpoint tells, compared
//! with what it goes on with.
//!
//! Settings may change when a run goes on; the configuration wins. But another network
//! or optimizer is another run, and scores of another metric cannot be compared.

use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::config::{Entry as _, Node, Tree, number_to_json, tell};
use crate::metric::METRICS;
use crate::model::NetworkSpec;
use crate::optim::OPTIMIZERS;

/// A configuration in its JSON form, as checkpoints hold it.
#[derive(Debug)]
pub(super) struct Configuration {
    pub root: Node,
}

impl Configuration {
    /// That of a checkpoint; `None` for files of the Python program.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        Self::parse(checkpoint.extra("config")?.as_str()?)
    }

    /// From JSON; `None` if it is none.
    pub fn parse(json: &str) -> Option<Self> {
        let tree = Tree::parse(json, "the configuration in the checkpoint", &[]).ok()?;
        if let Ok(verdict) = tell(&tree.root, || None) {
            tree.set_dialect(verdict.dialect);
        }
        Some(Configuration { root: tree.root })
    }

    /// What the network of `then` differs in from this one's, as `key: then, key: now`;
    /// `None` if nothing, or if the two cannot be compared. The final activation may
    /// change: no weight depends on it.
    pub fn network_changes(&self, then: &Configuration) -> Option<String> {
        let network = |configuration: &Configuration| {
            let spec = NetworkSpec::read(configuration.root.get("model")?).ok()?;
            Some(format!(
                "{:?}",
                NetworkSpec { final_sigmoid: true, is_segmentation: true, ..spec }
            ))
        };
        if network(then)? == network(self)? {
            return None;
        }
        let changes = changes(then.root.get("model")?, self.root.get("model")?);
        Some(changes.unwrap_or_else(|| "its defaults have changed".into()))
    }

    /// Name of the optimizer.
    pub fn optimizer(&self) -> Option<&'static str> {
        Some(OPTIMIZERS.open(self.root.get("optimizer")?).ok()?.0.name)
    }

    /// What scores are scores of: the metric with all its parameters, and the
    /// activation that it sees. `None` if this version does not know the metric.
    pub fn judge(&self) -> Option<Value> {
        let node = self.root.section_or_empty("eval_metric");
        let metrics = METRICS.of(node.dialect());
        let (entry, _) = metrics.open(&node).ok()?;
        let mut judge = Map::new();
        for parameter in metrics.keys(entry).iter() {
            let value =
                node.get(parameter.name).map(plain).or_else(|| parameter.fallback.to_json());
            judge.insert(parameter.name.into(), value.unwrap_or_default());
        }
        judge.insert(metrics.name.name.into(), entry.name().into());
        let model = self.root.section_or_empty("model");
        for key in ["final_sigmoid", "is_segmentation"] {
            judge.insert(key.into(), model.get(key).map_or(true.into(), plain));
        }
        Some(judge.into())
    }

    /// What scores are measured on: files, patches and transforms of the validation.
    pub fn measured_on(&self) -> Value {
        let of = |key: &str| self.root.at(key).map(plain).unwrap_or_default();
        let keys = [
            "loaders.val",
            "loaders.label_internal_path",
            "loaders.weight_internal_path",
            "trainer.validate_iters",
        ];
        keys.map(of).to_vec().into()
    }

    /// A section without the keys that are null.
    pub fn section(&self, name: &str) -> Value {
        self.root.get(name).map(plain).unwrap_or_default()
    }
}

/// The values below a node, with whole numbers written in one way and without keys
/// that are null, which say the same as absent ones.
fn plain(node: &Node) -> Value {
    fn tidy(value: Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Null, number_to_json),
            Value::Array(items) => items.into_iter().map(tidy).collect(),
            Value::Object(entries) => {
                let kept = entries.into_iter().filter(|(_, value)| !value.is_null());
                kept.map(|(key, value)| (key, tidy(value))).collect::<Map<_, _>>().into()
            }
            value => value,
        }
    }
    serde_json::from_str(&node.to_json()).map(tidy).unwrap_or_default()
}

/// The keys of two sections whose values differ.
fn changes(then: &Node, now: &Node) -> Option<String> {
    let (Value::Object(then), Value::Object(now)) = (plain(then), plain(now)) else { return None };
    let mut keys: Vec<_> = then.keys().chain(now.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let shown = |section: &Map<String, Value>, key: &str| {
        section.get(key).map_or("absent".to_string(), Value::to_string)
    };
    let differing = keys.into_iter().filter(|key| then.get(*key) != now.get(*key));
    let list: Vec<_> = differing
        .map(|key| format!("`{key}` was {} and is {}", shown(&then, key), shown(&now, key)))
        .collect();
    (!list.is_empty()).then(|| list.join(", "))
}

/// The first value in which the configuration of a rank differs from that of rank 0, both in
/// their JSON form, with its key.
pub fn first_difference(own: &str, other: &str) -> String {
    let parse = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
    let (mut own, mut other, mut key) = (&parse(own), &parse(other), String::new());
    while let (Value::Object(here), Value::Object(there)) = (own, other) {
        let mut keys = here.keys().chain(there.keys());
        let Some(next) = keys.find(|key| here.get(*key) != there.get(*key)) else { break };
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(next);
        own = here.get(next).unwrap_or(&Value::Null);
        other = there.get(next).unwrap_or(&Value::Null);
    }
    format!("`{key}` is {own} there and {other} on rank 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(json: &str) -> Configuration {
        Configuration::parse(json).unwrap()
    }

    #[test]
    fn defaults_that_are_written_out_judge_alike() {
        let absent = configuration("{model: {name: UNet3D}}");
        let written = configuration(
            "{eval_metric: {skip_channels: [], name: MeanIoU, ignore_index: null}, \
             model: {final_sigmoid: true}}",
        );
        assert_eq!(absent.judge(), written.judge());
        for other in [
            "{eval_metric: {name: DiceCoefficient}}",
            "{eval_metric: {ignore_index: 1}}",
            "{model: {final_sigmoid: false}}",
        ] {
            assert_ne!(configuration(other).judge(), absent.judge(), "{other}");
        }
        assert_eq!(configuration("{eval_metric: {name: Unheard}}").judge(), None);
    }

    #[test]
    fn the_first_difference_is_named() {
        let own = "{\"a\": 1, \"loaders\": {\"batch_size\": 2, \"x\": [1]}}";
        let other = "{\"a\": 1, \"loaders\": {\"batch_size\": 3, \"x\": [1]}}";
        let difference = first_difference(own, other);
        assert_eq!(difference, "`loaders.batch_size` is 2 there and 3 on rank 0");
        let difference = first_difference(own, "{\"a\": 1}");
        assert!(difference.starts_with("`loaders` is {"), "{difference}");
        assert!(difference.ends_with("there and null on rank 0"), "{difference}");
    }

    #[test]
    fn networks_whose_weights_have_the_same_shapes_are_told_apart() {
        let model = |keys: &str| {
            configuration(&format!(
                "{{model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [8, 16], {keys}}}}}"
            ))
        };
        let first = model("num_groups: 4");
        assert_eq!(first.network_changes(&model("num_groups: 4.0, layer_order: gcr")), None);
        assert_eq!(first.network_changes(&model("num_groups: 4, final_sigmoid: false")), None);
        for (keys, words) in [
            ("num_groups: 2", "`num_groups` was 2 and is 4"),
            ("num_groups: 4, layer_order: gce", "`layer_order` was \"gce\" and is absent"),
            ("num_groups: 4, pool_kernel_size: [1, 2, 2]", "`pool_kernel_size` was [1,2,2]"),
        ] {
            let changes = first.network_changes(&model(keys)).unwrap();
            assert!(changes.contains(words), "{changes}");
        }
    }
}
