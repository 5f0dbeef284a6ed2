//! A package as a configuration and a checkpoint, after its own test.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ndarray::Array4;
use tch::{Device, Kind};

use super::description::{Description, Preprocessing};
use super::npy::{self, NpyArray};
use super::source::Package;
use crate::augment::Transformer;
use crate::augment::stream::SampleKey;
use crate::checkpoint::{Form, form};
use crate::config::{Dialect, Tree};
use crate::device::stack;
use crate::ffi::tensor::as_slice;
use crate::files::PartialFile;
use crate::format::check_new;
use crate::model::{NetworkSpec, UNet};
use crate::volume::{Statistics, Volume};

/// What [`import`] wrote, and how its test went.
#[derive(Debug)]
pub struct Imported {
    pub name: String,
    pub configuration: PathBuf,
    pub checkpoint: PathBuf,
    /// Largest difference between the network's output for the test input and the
    /// package's test output.
    pub difference: f64,
}

/// Largest difference from the test output that counts as the same, absolute and
/// relative to the value.
const TOLERANCE: f64 = 1e-3;

/// Writes the weights of a package and a configuration that predicts with them into
/// `directory`, which is made if it does not exist.
///
/// # Errors
/// A package that cannot be read or is of another network, a test output that is not
/// reached: then nothing is left. Files that stand there already are not replaced.
pub fn import(package: &Package, directory: &Path) -> Result<Imported> {
    let shown = package.path().display().to_string();
    let description = Description::read(&package.description()?).with_context(|| shown.clone())?;
    fs::create_dir_all(directory)
        .with_context(|| format!("{}: cannot be made", directory.display()))?;
    let directory = directory.canonicalize()?;
    let (checkpoint, configuration) =
        (directory.join("weights.pytorch"), directory.join("predict.yaml"));
    check_new(&[&checkpoint, &configuration])?;

    let weights = package.read(&description.weights)?;
    let partial = PartialFile::create(&checkpoint)
        .with_context(|| format!("{}: cannot be written", checkpoint.display()))?;
    partial.file().write_all(&weights).with_context(|| checkpoint.display().to_string())?;
    drop(weights);
    // Plain networks of both dialects have the same names, and may differ in the slope of a
    // leaky ReLU; upstream's is the older home of these classes.
    let dialects: &[Dialect] = match form(partial.path())? {
        Some((Form::Fork, _)) => &[Dialect::Fork],
        Some((Form::Upstream, _)) => &[Dialect::Upstream],
        None => &[Dialect::Upstream, Dialect::Fork],
    };
    let mut attempts = dialects
        .iter()
        .map(|dialect| attempt(package, &description, &checkpoint, *dialect, partial.path()));
    // What the first one says is of more use than that the second does not fit either.
    let first = attempts.next().context("there is no dialect")?;
    let found = first.or_else(|fault| attempts.find_map(Result::ok).ok_or(fault));
    let (yaml, difference) = found.with_context(|| shown.clone())?;
    let failed = || format!("{}: cannot be written", configuration.display());
    let file = PartialFile::of_text(&configuration, &yaml).with_context(failed)?;
    partial.keep_new().with_context(|| checkpoint.display().to_string())?;
    file.keep_new().with_context(failed)?;
    Ok(Imported { name: description.name, configuration, checkpoint, difference })
}

/// The configuration of a dialect, if the package's own test is reached with it, and the
/// largest difference from the test output.
fn attempt(
    package: &Package,
    description: &Description,
    checkpoint: &Path,
    dialect: Dialect,
    weights: &Path,
) -> Result<(String, f64)> {
    let shown = package.path().display().to_string();
    let yaml = configuration_text(description, &shown, checkpoint, dialect)?;
    let tree = Tree::parse(&yaml, "the configuration made of the package", &[])?;
    tree.set_dialect(dialect);
    let difference =
        test(package, description, &tree, weights).context("the package's own test")?;
    Ok((yaml, difference))
}

/// The configuration that predicts as the package says.
fn configuration_text(
    description: &Description,
    package: &str,
    checkpoint: &Path,
    dialect: Dialect,
) -> Result<String> {
    let Description { network, arguments, patch, halo, preprocessing, binarized, .. } = description;
    let mut text = String::new();
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let _ = writeln!(text, "# Made by `unet3d import` from {}.", package.replace('\n', " "));
    let _ = writeln!(text, "# Edit: file_paths.\n\ndialect: {}", dialect.word());
    let _ = writeln!(text, "model_path: {}", quote(&checkpoint.display().to_string()));
    let _ = writeln!(text, "model:\n  name: {}", quote(network));
    for (key, value) in arguments {
        let _ = writeln!(text, "  {key}: {value}");
    }
    let (mut extra, mut builder) = (String::new(), String::new());
    let segments = if *binarized { "\n  save_segmentation: true" } else { "" };
    let mut stride = *patch;
    match dialect {
        Dialect::Upstream => {
            let _ = writeln!(text, "predictor:\n  name: StandardPredictor{segments}");
            // The statistics of the file would take the place of those of each channel.
            let is_by_channel = |step: &Preprocessing| {
                matches!(step, Preprocessing::Standardize { channelwise: true, .. })
            };
            if !preprocessing.iter().any(is_by_channel) {
                extra.push_str("  global_normalization: true\n");
            }
            let _ = writeln!(builder, "      halo_shape: {halo:?}");
        }
        Dialect::Fork => {
            let _ = writeln!(text, "predictor:\n  patch_halo: {halo:?}{segments}");
            let _ = writeln!(extra, "  mirror_padding: {halo:?}");
            stride = [0, 1, 2].map(|axis| patch[axis].saturating_sub(2 * halo[axis]).max(1));
        }
    }
    let _ = writeln!(text, "loaders:\n  raw_internal_path: raw\n{extra}  test:");
    let _ = writeln!(text, "    file_paths:\n      - /path/to/volumes");
    let _ = writeln!(
        text,
        "    slice_builder:\n      name: SliceBuilder\n      patch_shape: {patch:?}\n      \
         stride_shape: {stride:?}\n{builder}      skip_shape_check: true"
    );
    let _ = writeln!(text, "    transformer:\n      raw:");
    for step in preprocessing {
        for transform in transforms(step, dialect)? {
            let _ = writeln!(text, "        - {transform}");
        }
    }
    let _ = writeln!(text, "        - {{name: ToTensor, expand_dims: true}}");
    Ok(text)
}

/// The transforms of a dialect that do a step together.
///
/// # Errors
/// Steps that only upstream's transforms can do.
fn transforms(step: &Preprocessing, dialect: Dialect) -> Result<Vec<String>> {
    let fixed =
        |mean: f64, std: f64| format!("{{name: Standardize, mean: {mean:?}, std: {std:?}}}");
    Ok(match (step, dialect) {
        (Preprocessing::Standardize { channelwise: false, eps }, _) => {
            vec![format!("{{name: Standardize, eps: {eps:?}}}")]
        }
        (Preprocessing::Standardize { eps, .. }, Dialect::Upstream) => {
            vec![format!("{{name: Standardize, eps: {eps:?}, channelwise: true}}")]
        }
        (Preprocessing::Fixed { mean, std }, _) => vec![fixed(*mean, *std)],
        (
            Preprocessing::Percentiles { range: [low, high], channelwise, eps },
            Dialect::Upstream,
        ) => {
            vec![format!(
                "{{name: PercentileNormalizer, pmin: {low:?}, pmax: {high:?}, channelwise: \
                 {channelwise}, eps: {eps:?}}}"
            )]
        }
        // From [−1, 1] to [0, 1].
        (
            Preprocessing::Percentiles { range: [0.0, 100.0], channelwise: false, .. },
            Dialect::Fork,
        ) => {
            vec!["{name: Normalize}".into(), fixed(-1.0, 2.0)]
        }
        // To [0, 1] or [−1, 1], where `Normalize` clips, and back.
        (Preprocessing::Clip { min, max }, Dialect::Upstream) => vec![
            format!("{{name: Normalize, min_value: {min:?}, max_value: {max:?}, norm01: true}}"),
            fixed(-min / (max - min), 1.0 / (max - min)),
        ],
        (Preprocessing::Clip { min, max }, Dialect::Fork) => vec![
            format!("{{name: Normalize, min_value: {min:?}, max_value: {max:?}}}"),
            fixed(-(min + max) / (max - min), 2.0 / (max - min)),
        ],
        (step, Dialect::Fork) => bail!(
            "the network is one of flavell-lab/pytorch-3dunet, whose transforms know neither \
             percentiles nor channels by themselves: {step:?}"
        ),
    })
}

/// Runs the test input through transforms and network. Gives back the largest difference
/// from the test output.
fn test(package: &Package, description: &Description, tree: &Tree, weights: &Path) -> Result<f64> {
    let root = &tree.root;
    let spec = NetworkSpec::read(root.get("model").context("no model")?)?;
    let transformer = Transformer::read_raw(root.at("loaders.test.transformer").context("none")?)?;
    let array = |name: &str| -> Result<NpyArray> {
        npy::read(&package.read(name)?).with_context(|| format!("`{name}`"))
    };
    let input = volume(array(&description.test_input)?, &description.axes)?;
    let wanted = array(&description.test_output)?;
    let statistics = Statistics::of(&input)?;
    let key = SampleKey { seed: 0, epoch: 0, sample: 0 };
    let raw = transformer.apply_raw(input, key, &statistics)?;
    let net = UNet::uninitialized(&spec, Kind::Float, Device::Cpu)?;
    net.load_checkpoint(weights)?;
    let batch = stack(vec![raw], Kind::Float, Device::Cpu)?;
    let output = tch::no_grad(|| -> Result<_> {
        let logits = net.forward(&batch, false)?;
        Ok(net.activation().forward(&logits)?.f_to_kind(Kind::Float)?.f_contiguous()?)
    })?;
    let found = as_slice::<f32>(&output)?;
    ensure!(
        found.len() == wanted.values.len(),
        "the network gives {:?}, the test output is {:?}",
        output.size(),
        wanted.shape
    );
    let mut largest = 0.0f64;
    for (found, wanted) in found.iter().zip(&wanted.values) {
        // What is as good as on the threshold may fall on either side.
        if description.binarized && (found - 0.5).abs() < TOLERANCE as f32 {
            continue;
        }
        let found = if description.binarized { f32::from(*found > 0.5) } else { *found };
        let difference = f64::from((found - wanted).abs());
        ensure!(
            difference <= TOLERANCE * (1.0 + f64::from(wanted.abs())),
            "the network gives {found} where the test output is {wanted}"
        );
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// A test input with these axes as a volume (C, D, H, W).
fn volume(array: NpyArray, axes: &str) -> Result<Volume> {
    let NpyArray { shape, values } = array;
    ensure!(shape.len() == axes.len(), "the test input is {shape:?}, its axes are `{axes}`");
    let ordered: String = axes.chars().filter(|letter| *letter != 'b').collect();
    ensure!(
        ordered == "czyx" || ordered == "cyx",
        "a test input with the axes `{axes}` is not read; channels come first, x last"
    );
    let size = |letter: char| axes.find(letter).map_or(1, |place| shape[place]);
    ensure!(size('b') == 1, "the test input holds {} samples; one is wanted", size('b'));
    let shape = (size('c'), size('z'), size('y'), size('x'));
    Ok(Volume::channelled(Array4::from_shape_vec(shape, values)?))
}
