//! A network with its weights as a package of format 0.5.

use std::fmt::Write as _;
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ndarray::Array4;
use sha2::{Digest, Sha256};
use tch::{Device, Kind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{npy, onnx, torchscript};
use crate::augment::Transformer;
use crate::augment::stream::SampleKey;
use crate::checkpoint::{PickleValue, write};
use crate::config::{Dialect, Node, YamlValue};
use crate::device::stack;
use crate::ffi::tensor::as_slice;
use crate::files::PartialFile;
use crate::model::{NetworkSpec, UNet, from_tensor};
use crate::volume::{Statistics, Volume};

/// Who made a package, and on what terms.
#[derive(Clone, Debug)]
pub struct Credits {
    pub name: String,
    pub description: String,
    pub authors: Vec<String>,
    /// An SPDX name, such as `MIT`.
    pub license: String,
}

/// Version of libtorch.
const PYTORCH: &str = "2.11.0";
/// The networks of the fork as one file of Python.
const NETWORK: &str = include_str!("network.py");

/// Formats of the weights in a package beside the state dict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraWeights {
    pub torchscript: bool,
    pub onnx: bool,
}

/// The network that a configuration (`config`, its top) describes, with the weights of a
/// checkpoint.
///
/// # Errors
/// A checkpoint of another network, or that cannot be read.
pub fn load(config: &Node, checkpoint: &Path) -> Result<UNet> {
    let model = config.get("model").context("the section `model` is missing")?;
    let net = UNet::uninitialized(&NetworkSpec::read(model)?, Kind::Float, Device::Cpu)?;
    net.load_checkpoint(checkpoint)?;
    Ok(net)
}

/// Writes a package of a network, which is that of a configuration (`config`, its top).
///
/// The test input is made of pseudo-random numbers, the test output is what the network
/// makes of it.
///
/// # Errors
/// Transforms that the format has no words for, an archive that exists already or cannot be
/// written.
pub fn export(
    config: &Node,
    net: &UNet,
    target: &Path,
    credits: &Credits,
    extra: ExtraWeights,
) -> Result<()> {
    let (spec, model) = (net.spec(), config.get("model").context("no section `model`")?);
    let transforms = ["test", "val"]
        .iter()
        .find_map(|phase| config.at(&format!("loaders.{phase}.transformer")))
        .context("`loaders.test.transformer` is missing: how are volumes normalized?")?;

    let planar = spec.anatomy.planar;
    let step = if spec.f_maps.len() > 1 { 1usize << (spec.f_maps.len() - 1) } else { 1 };
    let least = step * 16usize.div_ceil(step);
    let size = [if planar { 1 } else { least }, 2 * least, 2 * least];
    let input = test_input(spec.in_channels as usize, size);
    let output = run(net, transforms, input.clone())?;

    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| files.push((name.to_string(), bytes));
    add("test_input.npy", npy::write(&shape(&input, planar), input.iter().copied()));
    add("test_output.npy", npy::write(&shape(&output, planar), output.iter().copied()));
    add("cover.png", cover(&input, &output)?);
    add(WEIGHTS, weights(net)?);
    if extra.torchscript {
        add(TORCHSCRIPT, torchscript::torchscript(net)?);
    }
    if extra.onnx {
        add(ONNX, onnx::onnx(net)?);
    }
    add("README.md", readme(credits, spec).into_bytes());
    add("configuration.json", config.to_json().into_bytes());
    let from_library = config.dialect() == Dialect::Upstream;
    if from_library {
        add("environment.yaml", ENVIRONMENT.as_bytes().to_vec());
    } else {
        add("network.py", NETWORK.as_bytes().to_vec());
    }
    let description =
        PackageText { config, model, transforms, credits, extra, planar, least, step };
    let text = description.text(&files)?;
    files.push(("rdf.yaml".into(), text.into_bytes()));

    let partial = PartialFile::create(target)
        .with_context(|| format!("{}: cannot be written", target.display()))?;
    pack(&files)
        .and_then(|archive| Ok(partial.file().write_all(&archive)?))
        .with_context(|| format!("{}: cannot be written", target.display()))?;
    partial.keep_new().with_context(|| target.display().to_string())
}

/// A zip archive of these files. It is made in memory, as its writer prints what it cannot
/// write.
fn pack(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .large_file(bytes.len() > 1 << 30);
        archive.start_file(name, options)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Names of the files with weights.
const WEIGHTS: &str = "weights.pt";
const TORCHSCRIPT: &str = "weights_torchscript.pt";
const ONNX: &str = "weights.onnx";

/// What upstream's networks need.
const ENVIRONMENT: &str = "\
name: unet3d
channels:
  - conda-forge
dependencies:
  - python
  - pytorch
  - pip
  - pip:
      - pytorch3dunet==1.9.6
";

/// Pseudo-random numbers from 0 to 1000, always the same.
fn test_input(channels: usize, [d, h, w]: [usize; 3]) -> Array4<f32> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    Array4::from_shape_simple_fn((channels, d, h, w), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 * 1000.0
    })
}

/// What the network makes of raw data (C, D, H, W) after the transforms.
fn run(net: &UNet, transforms: &Node, raw: Array4<f32>) -> Result<Array4<f32>> {
    let transformer = Transformer::read_raw(transforms)?;
    let volume = Volume::channelled(raw);
    let statistics = Statistics::of(&volume)?;
    let key = SampleKey { seed: 0, epoch: 0, sample: 0 };
    let raw = transformer.apply_raw(volume, key, &statistics)?;
    let batch = stack(vec![raw], Kind::Float, Device::Cpu)?;
    let output = tch::no_grad(|| -> Result<_> {
        let logits = net.forward(&batch, false)?;
        Ok(net.activation().forward(&logits)?.f_to_kind(Kind::Float)?.f_contiguous()?)
    })?;
    let size: Vec<usize> = output.size().iter().map(|n| *n as usize).collect();
    let values = as_slice::<f32>(&output)?.to_vec();
    Ok(Array4::from_shape_vec((size[1], size[2], size[3], size[4]), values)?)
}

/// With a batch axis, and without z for networks of single planes.
fn shape(array: &Array4<f32>, planar: bool) -> Vec<usize> {
    let (c, d, h, w) = array.dim();
    if planar { vec![1, c, h, w] } else { vec![1, c, d, h, w] }
}

/// The weights as `torch.save(model.state_dict())` writes them.
fn weights(net: &UNet) -> Result<Vec<u8>> {
    let entries = net
        .state_dict()
        .iter()
        .map(|(name, tensor)| {
            let data = from_tensor(tensor)?;
            Ok((PickleValue::from(name.as_str()), PickleValue::Tensor(data.into())))
        })
        .collect::<Result<Vec<_>>>()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.pt");
    write(&path, &PickleValue::OrderedDict(entries))?;
    Ok(std::fs::read(&path)?)
}

/// The middle planes of input and output side by side, as a grey PNG image.
fn cover(input: &Array4<f32>, output: &Array4<f32>) -> Result<Vec<u8>> {
    let (_, depth, height, width) = input.dim();
    let grey = |array: &Array4<f32>| -> Vec<Vec<u8>> {
        let plane = |y: usize, x: usize| array[(0, depth / 2, y, x)];
        let all = || (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let (min, max) = all().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), (y, x)| {
            (low.min(plane(y, x)), high.max(plane(y, x)))
        });
        let scale = 255.0 / (max - min).max(f32::MIN_POSITIVE);
        (0..height)
            .map(|y| (0..width).map(|x| ((plane(y, x) - min) * scale) as u8).collect())
            .collect()
    };
    // Enlarged, so that a few voxels can be seen.
    let factor = 4;
    let (left, right) = (grey(input), grey(output));
    let mut pixels = Vec::new();
    for y in 0..height * factor {
        for row in [&left[y / factor], &right[y / factor]] {
            pixels.extend((0..width * factor).map(|x| row[x / factor]));
        }
    }
    let mut bytes = Vec::new();
    let mut encoder =
        png::Encoder::new(&mut bytes, (2 * width * factor) as u32, (height * factor) as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn readme(credits: &Credits, spec: &NetworkSpec) -> String {
    format!(
        "# {}\n\n{}\n\n{} with feature maps {:?}, from {} to {} channels, trained with unet3d or \
         pytorch-3dunet; `configuration.json` has the settings.\n\n## Validation\n\nCompare \
         predictions with a ground truth of your own data.\n",
        credits.name,
        credits.description,
        spec.family.name,
        spec.f_maps,
        spec.in_channels,
        spec.out_channels
    )
}

/// The pieces of the text of `rdf.yaml`.
struct PackageText<'a> {
    config: &'a Node,
    model: &'a Node,
    transforms: &'a Node,
    credits: &'a Credits,
    extra: ExtraWeights,
    planar: bool,
    least: usize,
    step: usize,
}

impl PackageText<'_> {
    fn text(&self, files: &[(String, Vec<u8>)]) -> Result<String> {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let hash = |name: &str| -> String {
            let bytes = files.iter().find(|(other, _)| other == name).map(|(_, bytes)| bytes);
            let digest = Sha256::digest(bytes.map_or(&[][..], |bytes| bytes));
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let Credits { name, description, authors, license } = self.credits;
        let authors: Vec<String> =
            authors.iter().map(|author| format!("{{name: {}}}", quote(author))).collect();
        let axes: &[&str] = if self.planar { &["y", "x"] } else { &["z", "y", "x"] };
        let halo = self.halo();
        let mut text = format!(
            "format_version: 0.5.3\ntype: model\nname: {}\ndescription: {}\nauthors: [{}]\n\
             license: {license}\ndocumentation: README.md\ncovers: [cover.png]\ntimestamp: {}\n\
             tags: [unet3d, semantic-segmentation]\ncite:\n  - text: \"Wolny et al., Accurate and \
             versatile 3D segmentation of plant tissues at cellular resolution, eLife 2020\"\n    \
             doi: 10.7554/eLife.57613\nattachments:\n  - source: configuration.json\n",
            quote(name),
            quote(description),
            authors.join(", "),
            timestamp()
        );
        let channels = |key: &str, prefix: &str| -> String {
            let count = match self.model.get(key).map(|node| &node.value) {
                Some(YamlValue::Integer(count)) => *count,
                _ => 1,
            };
            let names: Vec<String> = (0..count).map(|i| format!("{prefix}{i}")).collect();
            names.join(", ")
        };
        let _ = write!(
            text,
            "inputs:\n  - id: raw\n    test_tensor: {{source: test_input.npy, sha256: {}}}\n    \
             data: {{type: float32}}\n    axes:\n      - {{type: batch}}\n      - {{type: \
             channel, channel_names: [{}]}}\n",
            hash("test_input.npy"),
            channels("in_channels", "raw")
        );
        let (least, step) = (self.least, self.step);
        for axis in axes {
            let _ = writeln!(
                text,
                "      - {{type: space, id: {axis}, size: {{min: {least}, step: {step}}}}}"
            );
        }
        let _ = writeln!(text, "    preprocessing:");
        for line in self.preprocessing(axes)? {
            let _ = writeln!(text, "      - {line}");
        }
        let _ = write!(
            text,
            "outputs:\n  - id: prediction\n    test_tensor: {{source: test_output.npy, sha256: \
             {}}}\n    data: {{type: float32}}\n    axes:\n      - {{type: batch}}\n      - \
             {{type: channel, channel_names: [{}]}}\n",
            hash("test_output.npy"),
            channels("out_channels", "channel")
        );
        for axis in axes {
            let place = ["z", "y", "x"].iter().position(|other| other == axis).unwrap_or(0);
            let halo = match halo[place] {
                0 => String::new(),
                // The smallest input must keep a voxel.
                halo => format!(", halo: {}", halo.min(least / 2 - 1)),
            };
            let _ = writeln!(
                text,
                "      - {{type: space, id: {axis}, size: {{tensor_id: raw, axis_id: \
                 {axis}}}{halo}}}"
            );
        }
        let name = self.model.get("name").map(|name| name.text()).transpose()?.unwrap_or_default();
        let _ = write!(
            text,
            "weights:\n  pytorch_state_dict:\n    source: {WEIGHTS}\n    sha256: {}\n    \
             pytorch_version: {PYTORCH}\n",
            hash(WEIGHTS)
        );
        if self.config.dialect() == Dialect::Upstream {
            let _ = writeln!(
                text,
                "    dependencies: {{source: environment.yaml, sha256: {}}}",
                hash("environment.yaml")
            );
        }
        let _ = writeln!(text, "    architecture:\n      callable: {name}");
        if self.config.dialect() == Dialect::Upstream {
            let _ = writeln!(text, "      import_from: pytorch3dunet.unet3d.model");
        } else {
            let _ =
                writeln!(text, "      source: network.py\n      sha256: {}", hash("network.py"));
        }
        let _ = writeln!(text, "      kwargs:");
        if let YamlValue::Map(entries) = &self.model.value {
            for (key, node) in entries.iter().filter(|(key, _)| key != "name") {
                let _ = writeln!(text, "        {key}: {}", node.to_json());
            }
        }
        if self.extra.torchscript {
            let _ = write!(
                text,
                "  torchscript:\n    source: {TORCHSCRIPT}\n    sha256: {}\n    \
                 pytorch_version: {PYTORCH}\n    parent: pytorch_state_dict\n",
                hash(TORCHSCRIPT)
            );
        }
        if self.extra.onnx {
            let _ = write!(
                text,
                "  onnx:\n    source: {ONNX}\n    sha256: {}\n    opset_version: {}\n    \
                 parent: pytorch_state_dict\n",
                hash(ONNX),
                onnx::OPSET
            );
        }
        Ok(text)
    }

    /// Voxels along z, y and x that the configuration cuts from patches.
    fn halo(&self) -> [usize; 3] {
        let node = match self.config.dialect() {
            Dialect::Upstream => self.config.at("loaders.test.slice_builder.halo_shape"),
            Dialect::Fork => self.config.at("predictor.patch_halo"),
        };
        let items = node.and_then(|node| node.items().ok());
        std::array::from_fn(|axis| match items.and_then(|items| items.get(axis)) {
            Some(Node { value: YamlValue::Integer(halo), .. }) => *halo as usize,
            _ => 0,
        })
    }

    /// The transforms in the words of the format.
    fn preprocessing(&self, axes: &[&str]) -> Result<Vec<String>> {
        let mut lines = vec!["{id: ensure_dtype, kwargs: {dtype: float32}}".to_string()];
        let number = |node: &Node, key: &str| match node.get(key).map(|node| &node.value) {
            Some(YamlValue::Number(x)) => Some(*x),
            Some(YamlValue::Integer(i)) => Some(*i as f64),
            _ => None,
        };
        let over = |node: &Node| {
            let by_channel =
                node.get("channelwise").is_some_and(|flag| flag.value == YamlValue::Flag(true));
            let first = if by_channel { "" } else { "channel, " };
            format!("[{first}{}]", axes.join(", "))
        };
        let list = self.transforms.get("raw").context("the list `raw` is missing")?;
        for step in list.items()? {
            let name = step.get("name").context("a transform has no name")?.text()?;
            match name {
                "ToTensor" | "Identity" => {}
                "Standardize" => match (number(step, "mean"), number(step, "std")) {
                    (Some(mean), Some(std)) => lines.push(format!(
                        "{{id: fixed_zero_mean_unit_variance, kwargs: {{mean: {mean:?}, std: \
                         {std:?}}}}}"
                    )),
                    _ => lines.push(format!(
                        "{{id: zero_mean_unit_variance, kwargs: {{axes: {}, eps: 1.0e-06}}}}",
                        over(step)
                    )),
                },
                "PercentileNormalizer" => lines.push(format!(
                    "{{id: scale_range, kwargs: {{axes: {}, min_percentile: {:?}, max_percentile: \
                     {:?}, eps: 1.0e-06}}}}",
                    over(step),
                    number(step, "pmin").unwrap_or(1.0),
                    number(step, "pmax").unwrap_or(99.6)
                )),
                "Normalize"
                    if number(step, "min_value").is_none()
                        && number(step, "max_value").is_none() =>
                {
                    lines.push(format!(
                        "{{id: scale_range, kwargs: {{axes: {}, eps: 1.0e-06}}}}",
                        over(step)
                    ));
                    let to_01 =
                        step.get("norm01").is_some_and(|f| f.value == YamlValue::Flag(true));
                    if !to_01 {
                        lines.push("{id: scale_linear, kwargs: {gain: 2.0, offset: -1.0}}".into());
                    }
                }
                other => bail!(
                    "the transform `{other}` of `{}`, as it is set, has no counterpart in a model \
                     package",
                    list.path
                ),
            }
        }
        Ok(lines)
    }
}

/// The time now, as `2026-11-27T15:00:00`.
fn timestamp() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days to a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", second % 60)
}
