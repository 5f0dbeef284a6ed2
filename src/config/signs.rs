//! Which dialect a configuration is written in, told by keys and names that only one
//! of the two programs has.

use super::{ConfigError, Dialect, Node, YamlValue};

/// The dialect of a configuration, and how it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub dialect: Dialect,
    /// The sign that decided.
    pub reason: String,
}

/// How much a sign proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Only files of the dialect have it.
    Sure,
    /// Files of the other dialect may carry it as well: it decides where nothing else
    /// does.
    Hint,
}

/// What a value must be to be a sign.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// Anything but null.
    Anything,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Text with one of these letters.
    Letters(&'static str),
    /// Text that begins so.
    Start(&'static str),
}

/// A key or name by which a dialect is told.
struct Sign {
    /// Dotted path; `*` stands for any key or any item of a list.
    path: &'static str,
    holds: Holds,
    dialect: Dialect,
    proof: Proof,
}

const fn key(dialect: Dialect, path: &'static str) -> Sign {
    Sign { path, holds: Holds::Anything, dialect, proof: Proof::Sure }
}

const fn name(dialect: Dialect, path: &'static str, holds: Holds) -> Sign {
    Sign { path, holds, dialect, proof: Proof::Sure }
}

const fn hint(dialect: Dialect, path: &'static str) -> Sign {
    Sign { path, holds: Holds::Anything, dialect, proof: Proof::Hint }
}

/// Every key of a transform; `raw`, `label` and `weight` have the same transforms.
const TRANSFORM: &str = "loaders.*.transformer.*.*.name";

/// Keys that this program takes under the same name in either dialect, and leftovers
/// that upstream's own files carry, are no signs: `predictor.save_segmentation`,
/// `predictor.patch_halo`, `loaders.output_dir`, `optimizer.betas`,
/// `transformer.weight`, `eval_metric.threshold`, `use_first_input` and
/// `ignore_index`.
const SIGNS: &[Sign] = {
    use Dialect::{Fork, Upstream};
    use Holds::{Letters, Start, Words};
    &[
        key(Fork, "trainer.epochs"),
        key(Fork, "trainer.iters"),
        key(Fork, "trainer.checkpoint_after_iters"),
        key(Fork, "trainer.h5_dir"),
        key(Fork, "trainer.batch_size"),
        key(Fork, "loaders.mirror_padding"),
        key(Fork, "loaders.weight_internal_path"),
        key(Fork, "loaders.*.slice_builder.num_patches"),
        key(Fork, "prediction_channel"),
        key(Fork, "dest_dataset_name"),
        key(Fork, "optimizer.algorithm"),
        key(Fork, "loss.sigmoid_normalization"),
        key(Fork, "loss.beta"),
        key(Fork, "loss.alphs"),
        name(Fork, "predictor.name", Words(&["EmbeddingsPredictor"])),
        name(
            Fork,
            "loss.name",
            Words(&["PixelWiseCrossEntropyLoss", "ContrastiveLoss", "TagsAngularLoss"]),
        ),
        name(Fork, "eval_metric.name", Words(&["PixelWiseMeanIoU"])),
        name(Fork, "eval_metric.name", Start("Embeddings")),
        name(
            Fork,
            "loaders.*.slice_builder.name",
            Words(&[
                "PixelWiseWeightedSliceBuilder",
                "EmbeddingsSliceBuilder",
                "RandomFilterSliceBuilder",
            ]),
        ),
        name(
            Fork,
            TRANSFORM,
            Words(&[
                "RandomAffineTransform",
                "RandomITKDeformation",
                "BSplineDeformation",
                "GradualGaussianBlur",
                "BlobsWithBoundary",
                "FlyWingBoundary",
            ]),
        ),
        name(Fork, "device", Start("cuda:")),
        // Upstream ignores keys that networks, metrics and transforms do not know.
        hint(Fork, "eval_metric.skip_channels"),
        hint(Fork, "eval_metric.weight_equal"),
        hint(Fork, "loaders.*.transformer.*.*.blobs"),
        hint(Fork, "loaders.*.transformer.*.*.blur"),
        hint(Fork, "loaders.*.transformer.*.*.force_180"),
        hint(Fork, "loaders.*.transformer.*.*.cval"),
        hint(Fork, "model.testing"),
        hint(Fork, "model.conv_kernel_size"),
        hint(Fork, "model.pool_kernel_size"),
        key(Upstream, "loaders.*.slice_builder.halo_shape"),
        key(Upstream, "loaders.global_normalization"),
        key(Upstream, "loaders.random_scale"),
        key(Upstream, "loaders.random_scale_probability"),
        key(Upstream, "loaders.expand_dims"),
        key(Upstream, "predictor.prediction_channel"),
        key(Upstream, "predictor.output_dataset"),
        key(Upstream, "predictor.performance_metric"),
        key(Upstream, "predictor.gt_internal_path"),
        name(Upstream, "predictor.name", Words(&["DSB2018Predictor"])),
        key(Upstream, "model.upsample"),
        key(Upstream, "model.conv_upscale"),
        key(Upstream, "model.dropout_prob"),
        name(Upstream, "model.name", Words(&["ResidualUNetSE3D", "ResidualUNet2D"])),
        name(Upstream, "model.layer_order", Letters("dD")),
        key(Upstream, "optimizer.name"),
        key(Upstream, "loss.normalization"),
        key(Upstream, "eval_metric.skip_background"),
        name(
            Upstream,
            TRANSFORM,
            Words(&[
                "RandomGammaCorrection",
                "GaussianBlur3D",
                "PercentileNormalizer",
                "LabelToTensor",
                "RgbToLabel",
            ]),
        ),
        key(Upstream, "loaders.*.transformer.*.*.foreground"),
        key(Upstream, "loaders.*.transformer.*.*.channelwise"),
        key(Upstream, "loaders.*.transformer.*.*.norm01"),
        key(Upstream, "loaders.*.transformer.*.*.normalize"),
        key(Upstream, "loaders.*.transformer.*.*.run_cc"),
        key(Upstream, "loaders.*.transformer.*.*.append_original"),
        key(Upstream, "loaders.*.transformer.*.*.ignore_label"),
        key(Upstream, "trainer.max_val_images"),
        name(Upstream, "device", Words(&["mps"])),
        // This program takes them as other names of `epochs` and `iters` in the fork's
        // files as well.
        hint(Upstream, "trainer.max_num_epochs"),
        hint(Upstream, "trainer.max_num_iterations"),
    ]
};

/// The first node that a path with `*` leads to and whose value is such.
pub(super) fn find<'a>(root: &'a Node, path: &str, holds: Holds) -> Option<&'a Node> {
    let mut found = Vec::new();
    let parts: Vec<&str> = path.split('.').collect();
    collect(root, &parts, &mut found);
    found.into_iter().find(|node| holds.fits(&node.value))
}

impl Holds {
    fn fits(self, value: &YamlValue) -> bool {
        match (self, value) {
            (_, YamlValue::Null) => false,
            (Holds::Anything, _) => true,
            (Holds::Words(words), YamlValue::Text(text)) => words.contains(&text.as_str()),
            (Holds::Letters(letters), YamlValue::Text(text)) => {
                text.chars().any(|letter| letters.contains(letter))
            }
            (Holds::Start(start), YamlValue::Text(text)) => text.starts_with(start),
            _ => false,
        }
    }
}

/// The nodes that a path with `*` leads to.
fn collect<'a>(node: &'a Node, path: &[&str], found: &mut Vec<&'a Node>) {
    let Some((first, rest)) = path.split_first() else {
        found.push(node);
        return;
    };
    match (&node.value, *first) {
        (YamlValue::Map(entries), "*") => {
            entries.iter().for_each(|(_, child)| collect(child, rest, found));
        }
        (YamlValue::List(items), "*") => items.iter().for_each(|item| collect(item, rest, found)),
        (YamlValue::Map(_), name) => {
            if let Some(child) = node.get(name) {
                collect(child, rest, found);
            }
        }
        _ => {}
    }
}

/// A sign in words: the key, its value where that is the sign, and its line.
fn describe(sign: &Sign, node: &Node) -> String {
    let value = match (sign.holds, &node.value) {
        (Holds::Anything, _) => String::new(),
        (_, YamlValue::Text(text)) => format!(": {text}"),
        _ => String::new(),
    };
    format!("`{}{value}`", node.path)
}

/// Tells the dialect of a configuration: by its key `dialect`, by the keys and names
/// that only one dialect has, by the form of the checkpoint to predict with
/// (`checkpoint`, asked only then), by weaker hints. Without any sign it is the
/// fork's.
///
/// # Errors
/// Signs of both dialects that only one of them can have; the message lists them.
pub fn tell(
    root: &Node,
    checkpoint: impl FnOnce() -> Option<Verdict>,
) -> Result<Verdict, ConfigError> {
    if let Some(word) = root.get("dialect")
        && let YamlValue::Text(text) = &word.value
        && let Some(dialect) = Dialect::named(text)
    {
        return Ok(Verdict { dialect, reason: format!("`dialect: {text}`") });
    }
    let found = |dialect: Dialect, proof: Proof| -> Vec<(String, &Node)> {
        let signs = SIGNS.iter().filter(|sign| sign.dialect == dialect && sign.proof == proof);
        signs
            .filter_map(|sign| Some((sign, find(root, sign.path, sign.holds)?)))
            .map(|(s, n)| (describe(s, n), n))
            .collect()
    };
    let fork = found(Dialect::Fork, Proof::Sure);
    let upstream = found(Dialect::Upstream, Proof::Sure);
    let list = |signs: &[(String, &Node)]| {
        signs.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(", ")
    };
    if let (false, Some((_, node))) = (fork.is_empty(), upstream.first()) {
        return Err(node.error(format!(
            "the file has signs of both programs of this name: only the fork \
             (flavell-lab/pytorch-3dunet) has {}, only upstream (wolny/pytorch-3dunet) has {}; \
             remove those that are not meant, or write `dialect: fork` or `dialect: upstream` at \
             the top",
            list(&fork),
            list(&upstream)
        )));
    }
    let verdict = |dialect, signs: &[(String, &Node)]| {
        (!signs.is_empty()).then(|| Verdict { dialect, reason: list(signs) })
    };
    if let Some(verdict) =
        verdict(Dialect::Upstream, &upstream).or_else(|| verdict(Dialect::Fork, &fork))
    {
        return Ok(verdict);
    }
    if root.get("trainer").is_none()
        && let Some(verdict) = checkpoint()
    {
        return Ok(verdict);
    }
    let fork = found(Dialect::Fork, Proof::Hint);
    let upstream = found(Dialect::Upstream, Proof::Hint);
    // Of a training file, the keys that bound its length say more than the leftovers
    // in `model`.
    Ok(verdict(Dialect::Upstream, &upstream)
        .or_else(|| verdict(Dialect::Fork, &fork))
        .unwrap_or_else(|| Verdict {
            dialect: Dialect::Fork,
            reason: "nothing in it is upstream's alone".to_string(),
        }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;

    fn told(yaml: &str) -> Result<Verdict, String> {
        let tree = Tree::parse(yaml, "c.yaml", &[]).unwrap();
        tell(&tree.root, || None).map_err(|error| error.to_string())
    }

    fn dialect(yaml: &str) -> Dialect {
        told(yaml).unwrap().dialect
    }

    #[test]
    fn training_files_are_told_by_the_keys_of_their_length() {
        assert_eq!(dialect("trainer: {epochs: 3, iters: 4}"), Dialect::Fork);
        assert_eq!(
            dialect("trainer: {max_num_epochs: 3, max_num_iterations: 4}"),
            Dialect::Upstream
        );
        // Other names of the same keys in the fork's files.
        assert_eq!(dialect("trainer: {epochs: 3, max_num_iterations: 4}"), Dialect::Fork);
        let yaml = "{trainer: {max_num_iterations: 4}, optimizer: {algorithm: SGD}}";
        assert_eq!(dialect(yaml), Dialect::Fork);
        assert_eq!(dialect("trainer: {}"), Dialect::Fork);
    }

    #[test]
    fn prediction_files_are_told_by_what_only_one_has() {
        let verdict = told("loaders: {test: {slice_builder: {halo_shape: [1, 2, 3]}}}").unwrap();
        assert_eq!(verdict.dialect, Dialect::Upstream);
        assert_eq!(verdict.reason, "`loaders.test.slice_builder.halo_shape`");
        assert_eq!(dialect("loaders: {mirror_padding: 3}"), Dialect::Fork);
        assert_eq!(dialect("model: {layer_order: gcrd}"), Dialect::Upstream);
        assert_eq!(dialect("loaders: {weight_internal_path: null}"), Dialect::Fork);
        let transforms = "loaders: {test: {transformer: {raw: [{name: Standardize}, \
                          {name: GaussianBlur3D}]}}}";
        assert_eq!(dialect(transforms), Dialect::Upstream);
        assert_eq!(dialect("{dialect: upstream, loaders: {mirror_padding: 3}}"), Dialect::Upstream);
    }

    #[test]
    fn what_both_carry_proves_nothing() {
        let yaml = "{predictor: {patch_halo: [4, 8, 8], save_segmentation: true}, \
                    loaders: {output_dir: out, weight_internal_path: null}}";
        let tree = Tree::parse(yaml, "c.yaml", &[]).unwrap();
        let from_checkpoint = Verdict { dialect: Dialect::Upstream, reason: "its form".into() };
        let found = tell(&tree.root, || Some(from_checkpoint.clone())).unwrap();
        assert_eq!(found, from_checkpoint);
        assert_eq!(dialect(yaml), Dialect::Fork);
    }

    #[test]
    fn signs_of_both_are_an_error_that_lists_them() {
        let error = told("{trainer: {epochs: 3}, optimizer: {name: AdamW}}").unwrap_err();
        assert!(error.contains("`trainer.epochs`"), "{error}");
        assert!(error.contains("`optimizer.name`"), "{error}");
        assert!(error.contains("dialect: upstream"), "{error}");
    }
}
