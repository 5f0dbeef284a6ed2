//! The configuration of a prediction, from what a checkpoint tells of its training.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::config::{Dialect, Node};
use crate::model::NetworkSpec;
use crate::train::Told;

/// What is predicted, and where the results go.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    pub checkpoint: &'a Path,
    pub inputs: &'a [std::path::PathBuf],
    /// Beside the inputs if `None`.
    pub output: Option<&'a Path>,
}

/// The keys of a section `loaders` that say how data are read, not which.
const READING: [&str; 6] = [
    "dataset",
    "num_workers",
    "raw_internal_path",
    "voxel_size",
    "global_normalization",
    "mirror_padding",
];

/// The keys at the top of a configuration that say how a network is used.
const USING: [&str; 5] = ["model", "precision", "class_names", "prediction_channel", "instances"];

/// A configuration as JSON, which is YAML too: the network, the raw transforms of
/// validation, the voxel size and the names of classes are those of the training. Patches,
/// predictor and padding are those of a section `loaders.test` and `predictor` of the
/// training's configuration. Without them, patches are those of validation, half a patch
/// apart and weighted by a Gaussian, as nnU-Net predicts (Isensee et al., Nature Methods 18,
/// 2021); in the dialect of upstream they lie side by side with a halo around each.
///
/// # Errors
/// A file that is no checkpoint, or that does not tell how it was trained.
pub fn prediction_of(files: Files<'_>) -> Result<String> {
    let shown = files.checkpoint.display();
    let Some(told) = Told::by(files.checkpoint)? else {
        bail!(
            "{shown}: does not tell how it was trained, as checkpoints of the Python programs and \
             weights alone do not: write a configuration with `model`, `loaders` and `model_path: \
             {shown}`, and give it with --config in place of --checkpoint"
        );
    };
    let root = told.configuration();
    let all: Value = serde_json::from_str(&root.to_json())?;
    let lacks = |key: &str| {
        anyhow!("{shown}: the configuration in it has no `{key}`: give one with --config")
    };
    let mut top: Map<String, Value> = kept(&all, &USING);
    top.insert("dialect".into(), root.dialect().word().into());
    top.insert("model_path".into(), text(files.checkpoint)?.into());
    let spec = NetworkSpec::read(root.get("model").ok_or_else(|| lacks("model"))?)?;

    let loaders = all.get("loaders").ok_or_else(|| lacks("loaders"))?;
    let validation = loaders.get("val").ok_or_else(|| lacks("loaders.val"))?;
    let raw = validation.pointer("/transformer/raw").filter(|list| list.is_array());
    let mut phase = Map::new();
    let inputs = files.inputs.iter().map(|path| text(path)).collect::<Result<Vec<_>>>()?;
    phase.insert("file_paths".into(), inputs.into());
    phase.insert(
        "transformer".into(),
        json!({"raw": raw.ok_or_else(|| lacks("loaders.val.transformer.raw"))?}),
    );
    let given = loaders.pointer("/test/slice_builder").filter(|section| section.is_object());
    match (given, patch_of(root)) {
        (Some(slices), _) => {
            phase.insert("slice_builder".into(), slices.clone());
            top.extend(kept(&all, &["predictor"]));
        }
        (None, Some(patch)) => {
            let (slices, predictor) = patches(root.dialect(), patch, &spec);
            phase.insert("slice_builder".into(), slices);
            top.insert("predictor".into(), predictor);
        }
        // Whole images are predicted without patches.
        (None, None) => {
            top.insert("predictor".into(), json!({"name": "DSB2018Predictor"}));
        }
    }
    let mut read = kept(loaders, &READING);
    read.insert("test".into(), phase.into());
    if let Some(output) = files.output {
        read.insert("output_dir".into(), text(output)?.into());
    }
    top.insert("loaders".into(), read.into());
    Ok(Value::Object(top).to_string())
}

/// The entries of an object that have one of the keys and are not null.
fn kept(object: &Value, keys: &[&str]) -> Map<String, Value> {
    let entries =
        keys.iter().filter_map(|key| Some(((*key).to_string(), object.get(key)?.clone())));
    entries.filter(|(_, value)| !value.is_null()).collect()
}

/// A path as text, which a configuration holds.
fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_string);
    text.ok_or_else(|| anyhow!("{}: the name is not UTF-8; rename the file", path.display()))
}

/// The patch of validation, or of training.
fn patch_of(root: &Node) -> Option<[usize; 3]> {
    let of = |phase: &str| {
        let shape = root.at(&format!("loaders.{phase}.slice_builder.patch_shape"))?;
        let sizes: Vec<usize> = serde_json::from_str(&shape.to_json()).ok()?;
        sizes.try_into().ok()
    };
    of("val").or_else(|| of("train"))
}

/// The sections `slice_builder` and `predictor` for patches of a size.
fn patches(dialect: Dialect, patch: [usize; 3], spec: &NetworkSpec) -> (Value, Value) {
    match dialect {
        Dialect::Fork => {
            let stride = patch.map(|length| (length / 2).max(1));
            let slices = json!({
                "name": "SliceBuilder", "patch_shape": patch, "stride_shape": stride,
                "skip_shape_check": true,
            });
            let predictor = json!({
                "name": "StandardPredictor", "patch_halo": [0, 0, 0], "blending": "gaussian",
            });
            (slices, predictor)
        }
        Dialect::Upstream => {
            // A quarter of the patch, in steps that the pooling can halve to the end.
            let halo = [0, 1, 2].map(|axis| {
                let step = usize::try_from(spec.anatomy.pool[axis]).unwrap_or(1);
                let step = step.saturating_pow(spec.f_maps.len() as u32 - 1).max(1);
                patch[axis] / 4 / step * step
            });
            let slices = json!({
                "name": "SliceBuilder", "patch_shape": patch, "stride_shape": patch,
                "halo_shape": halo, "skip_shape_check": true,
            });
            (slices, json!({"name": "StandardPredictor"}))
        }
    }
}
