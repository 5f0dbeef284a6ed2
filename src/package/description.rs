//! What a package's description says, as far as networks of this program go.

use anyhow::{Context, Result, bail, ensure};

use crate::config::{Node, Tree, YamlValue};

/// A model with one input and one output, whose weights are a PyTorch state dict.
#[derive(Clone, Debug)]
pub struct Description {
    pub name: String,
    /// Name of the network's class, as in `model.name`.
    pub network: String,
    /// The class's arguments as JSON, by name.
    pub arguments: Vec<(String, String)>,
    /// Name of the file with the weights.
    pub weights: String,
    /// Axes of the input, a letter each: `bczyx`, `bcyx`.
    pub axes: String,
    /// Voxels of a patch along z, y and x that the network was made for.
    pub patch: [usize; 3],
    /// Voxels along z, y and x that are wrong at the border of an output.
    pub halo: [usize; 3],
    pub preprocessing: Vec<Preprocessing>,
    /// Whether the output is 1 where the network's only channel is above 0.5, else 0.
    pub binarized: bool,
    /// Names of the files with the test arrays.
    pub test_input: String,
    pub test_output: String,
}

/// A step of the preprocessing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Preprocessing {
    /// Zero mean and unit deviation of the whole sample, or of each channel.
    Standardize { channelwise: bool, eps: f64 },
    /// (x − `mean`) / `std`
    Fixed { mean: f64, std: f64 },
    /// The range between two percentiles to [0, 1], of all channels or of each.
    Percentiles { range: [f64; 2], channelwise: bool, eps: f64 },
    /// Values below `min` become `min`, those above `max` become it.
    Clip { min: f64, max: f64 },
}

impl Preprocessing {
    /// Whether it depends on the values of the sample.
    fn looks_at_sample(self) -> bool {
        matches!(self, Preprocessing::Standardize { .. } | Preprocessing::Percentiles { .. })
    }
}

/// Sizes that are chosen where the description leaves them open, along z, y and x.
const USUAL: [usize; 3] = [32, 96, 96];

impl Description {
    /// Reads a description of format 0.3, 0.4 or 0.5.
    ///
    /// # Errors
    /// Models of other frameworks, with several inputs or outputs, or with processing
    /// that this program does not know.
    pub fn read(tree: &Tree) -> Result<Description> {
        let root = &tree.root;
        let text = |node: &Node, key: &str| -> Option<String> {
            node.get(key).and_then(|node| node.text().ok()).map(str::to_string)
        };
        let version = match root.get("format_version").map(|node| &node.value) {
            Some(YamlValue::Text(version)) => version.clone(),
            Some(YamlValue::Number(version)) => version.to_string(),
            _ => bail!("it has no `format_version`"),
        };
        ensure!(
            ["0.3", "0.4", "0.5"].iter().any(|known| version.starts_with(known)),
            "`format_version` {version} is not read; 0.3, 0.4 and 0.5 are"
        );
        let only = |key: &str| -> Result<Node> {
            match root.get(key).map(Node::items) {
                Some(Ok([one])) => Ok(one.clone()),
                Some(Ok(several)) => {
                    bail!("it has {} `{key}`; models with one are read", several.len())
                }
                _ => bail!("`{key}` is missing"),
            }
        };
        let (input, output) = (only("inputs")?, only("outputs")?);
        let weights = root
            .at("weights.pytorch_state_dict")
            .context("it has no weights `pytorch_state_dict`, the only ones that are read")?;
        let (network, mut arguments) = architecture(root, weights)?;
        let axes = axes(&input)?;
        let binarized = postprocessing(&output, &mut arguments)?;
        Ok(Description {
            name: text(root, "name").unwrap_or_else(|| "model".into()),
            network,
            arguments,
            weights: text(weights, "source").context("`weights.….source` is missing")?,
            patch: patch(&input, &axes),
            halo: halo(&output),
            preprocessing: preprocessing(&input, &axes)?,
            binarized,
            test_input: test_array(root, &input, "test_inputs")?,
            test_output: test_array(root, &output, "test_outputs")?,
            axes,
        })
    }
}

/// Name and arguments of the network's class.
fn architecture(root: &Node, weights: &Node) -> Result<(String, Vec<(String, String)>)> {
    let (path, arguments) = match weights.get("architecture") {
        Some(node) if matches!(node.value, YamlValue::Map(_)) => {
            let name = node.get("callable").context("`architecture.callable` is missing")?;
            (name.text()?.to_string(), node.get("kwargs"))
        }
        Some(node) => (node.text()?.to_string(), weights.get("kwargs")),
        // Format 0.3.
        None => {
            let source = root.get("source").context("`weights.….architecture` is missing")?;
            (source.text()?.to_string(), root.get("kwargs"))
        }
    };
    let name = path.rsplit([':', '.']).next().unwrap_or_default().to_string();
    let arguments = match arguments.map(|node| &node.value) {
        Some(YamlValue::Map(entries)) => {
            entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect()
        }
        _ => Vec::new(),
    };
    Ok((name, arguments))
}

/// The axes of an input or output, a letter each.
fn axes(tensor: &Node) -> Result<String> {
    let node = tensor.get("axes").context("`axes` is missing")?;
    let letters = match &node.value {
        YamlValue::Text(letters) => letters.clone(),
        YamlValue::List(items) => items
            .iter()
            .map(|axis| {
                let kind = axis.get("type").and_then(|node| node.text().ok()).unwrap_or("space");
                let id = axis.get("id").and_then(|node| node.text().ok()).unwrap_or("");
                match kind {
                    "batch" => "b",
                    "channel" => "c",
                    _ => id,
                }
                .to_string()
            })
            .collect(),
        _ => bail!("`axes` is neither text nor a list"),
    };
    let mut sorted: Vec<char> = letters.chars().filter(|letter| *letter != 'b').collect();
    sorted.sort_unstable();
    ensure!(
        sorted == ['c', 'x', 'y', 'z'] || sorted == ['c', 'x', 'y'],
        "an input with the axes `{letters}` is not read; channels, (z), y and x are wanted"
    );
    Ok(letters)
}

fn count(node: Option<&Node>) -> Option<usize> {
    match node.map(|node| &node.value) {
        Some(YamlValue::Integer(count)) => usize::try_from(*count).ok(),
        _ => None,
    }
}

/// The patch that the description wants, or a usual one that it allows.
fn patch(input: &Node, axes: &str) -> [usize; 3] {
    let allowed = |min: usize, step: usize, axis: usize| match step {
        0 => min,
        step => min + USUAL[axis].saturating_sub(min).div_ceil(step) * step,
    };
    let mut patch = USUAL;
    if !axes.contains('z') {
        patch[0] = 1;
    }
    for (axis, letter) in "zyx".chars().enumerate() {
        let Some(place) = axes.find(letter) else { continue };
        let of_axis = input.get("axes").and_then(|node| match &node.value {
            YamlValue::List(items) => items.get(place),
            _ => None,
        });
        if let Some(size) = of_axis.and_then(|axis| axis.get("size")) {
            patch[axis] = match (count(Some(size)), count(size.get("min"))) {
                (Some(fixed), _) => fixed,
                (None, Some(min)) => allowed(min, count(size.get("step")).unwrap_or(0), axis),
                _ => patch[axis],
            };
        }
        if let Some(shape) = input.get("shape") {
            let number = |node: Option<&Node>| match node.map(Node::items) {
                Some(Ok(items)) => count(items.get(place)),
                _ => None,
            };
            patch[axis] = match (number(Some(shape)), number(shape.get("min"))) {
                (Some(fixed), _) => fixed,
                (None, Some(min)) => allowed(min, number(shape.get("step")).unwrap_or(0), axis),
                _ => patch[axis],
            };
        }
    }
    patch
}

/// The halo of an output along z, y and x.
fn halo(output: &Node) -> [usize; 3] {
    let letters = axes(output).unwrap_or_default();
    std::array::from_fn(|axis| {
        let letter = ['z', 'y', 'x'][axis];
        let Some(place) = letters.find(letter) else { return 0 };
        let of_list = output.get("halo").and_then(|halo| halo.items().ok()?.get(place));
        let of_axis = output.get("axes").and_then(|axes| match &axes.value {
            YamlValue::List(items) => items.get(place)?.get("halo"),
            _ => None,
        });
        count(of_list).or(count(of_axis)).unwrap_or(0)
    })
}

/// Name and arguments of the steps under a key.
fn steps<'a>(tensor: &'a Node, key: &str) -> Result<Vec<(&'a str, Node)>> {
    let Some(list) = tensor.get(key) else { return Ok(Vec::new()) };
    list.items()?
        .iter()
        .map(|step| {
            let name = step.get("id").or(step.get("name")).context("a step has no name")?;
            Ok((name.text()?, step.section_or_empty("kwargs")))
        })
        .collect()
}

fn number(node: &Node, key: &str) -> Option<f64> {
    match node.get(key).map(|node| &node.value) {
        Some(YamlValue::Number(x)) => Some(*x),
        Some(YamlValue::Integer(i)) => Some(*i as f64),
        Some(YamlValue::List(items)) => match &items[..] {
            [one] => match one.value {
                YamlValue::Number(x) => Some(x),
                YamlValue::Integer(i) => Some(i as f64),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// A number of a step that need not be given.
///
/// # Errors
/// Something else than one number: a value for each channel, for example.
fn number_or(arguments: &Node, step: &str, key: &str, default: f64) -> Result<f64> {
    match arguments.get(key).map(|node| &node.value) {
        None | Some(YamlValue::Null) => Ok(default),
        Some(_) => number(arguments, key)
            .with_context(|| format!("`{key}` of the step `{step}` is not one number")),
    }
}

/// A number of a step that must be given.
fn number_of(arguments: &Node, step: &str, key: &str) -> Result<f64> {
    number(arguments, key).with_context(|| format!("`{key}` of the step `{step}` is no number"))
}

/// The type of number of a step `ensure_dtype`.
fn is_float(arguments: &Node) -> bool {
    let name = arguments.get("dtype").and_then(|node| node.text().ok()).unwrap_or("float32");
    name.starts_with("float")
}

fn preprocessing(input: &Node, axes: &str) -> Result<Vec<Preprocessing>> {
    let mut found: Vec<Preprocessing> = Vec::new();
    for (name, arguments) in steps(input, "preprocessing")? {
        let channelwise = match arguments.get("axes").map(|node| &node.value) {
            // Without axes, all but the batch.
            None => false,
            Some(YamlValue::Text(over)) => !over.contains('c'),
            Some(YamlValue::List(over)) => {
                !over.iter().any(|axis| matches!(axis.text(), Ok("channel" | "c")))
            }
            _ => false,
        };
        let or = |key: &str, default: f64| number_or(&arguments, name, key, default);
        let given = |key: &str| number_of(&arguments, name, key);
        let step = match name {
            "ensure_dtype" if is_float(&arguments) => continue,
            "ensure_dtype" => bail!(
                "the preprocessing `ensure_dtype` makes whole numbers, which no transform here does"
            ),
            "zero_mean_unit_variance" => {
                match arguments.get("mode").and_then(|mode| mode.text().ok()) {
                    Some("fixed") => {
                        Preprocessing::Fixed { mean: given("mean")?, std: given("std")? }
                    }
                    _ => Preprocessing::Standardize { channelwise, eps: or("eps", 1e-6)? },
                }
            }
            "fixed_zero_mean_unit_variance" => {
                Preprocessing::Fixed { mean: given("mean")?, std: given("std")? }
            }
            "scale_range" => Preprocessing::Percentiles {
                range: [or("min_percentile", 0.0)?, or("max_percentile", 100.0)?],
                channelwise,
                eps: or("eps", 1e-6)?,
            },
            "scale_linear" => {
                let (gain, offset) = (or("gain", 1.0)?, or("offset", 0.0)?);
                ensure!(gain > 0.0, "a `scale_linear` with the gain {gain} is not known");
                Preprocessing::Fixed { mean: -offset / gain, std: 1.0 / gain }
            }
            "clip" => {
                let (min, max) = (given("min")?, given("max")?);
                ensure!(min < max, "a `clip` from {min} to {max} is not known");
                Preprocessing::Clip { min, max }
            }
            "binarize" | "sigmoid" | "softmax" => {
                bail!("there is no transform here that does what the preprocessing `{name}` does")
            }
            other => bail!("the preprocessing `{other}` is not known (input axes `{axes}`)"),
        };
        ensure!(
            found.is_empty() || !step.looks_at_sample(),
            "the preprocessing `{name}` looks at what earlier steps make of a sample, which no \
             transform here does"
        );
        found.push(step);
    }
    Ok(found)
}

/// Reads what is done with the outputs. An activation that the network leaves to this
/// becomes its own, in its `arguments`. Gives back whether outputs are made 0 or 1.
///
/// # Errors
/// Steps that change outputs in another way than predictions here can be.
fn postprocessing(output: &Node, arguments: &mut Vec<(String, String)>) -> Result<bool> {
    let is = |arguments: &[(String, String)], key: &str, value: &str| {
        arguments.iter().any(|(name, given)| name == key && given == value)
    };
    let mut binarized = false;
    for (name, step) in steps(output, "postprocessing")? {
        let has_activation = !is(arguments, "is_segmentation", "false");
        ensure!(!binarized || name == "ensure_dtype", "`{name}` after `binarize` is not known");
        match name {
            "ensure_dtype" if binarized || is_float(&step) => {}
            "sigmoid" | "softmax" if !has_activation => {
                arguments.retain(|(key, _)| key != "is_segmentation" && key != "final_sigmoid");
                arguments.push(("is_segmentation".into(), "true".into()));
                arguments.push(("final_sigmoid".into(), (name == "sigmoid").to_string()));
            }
            "sigmoid" | "softmax" => bail!(
                "the postprocessing `{name}` follows the activation that the network has already \
                 (`is_segmentation`)"
            ),
            // Probabilities lie there.
            "clip"
                if has_activation
                    && number_of(&step, name, "min")? <= 0.0
                    && number_of(&step, name, "max")? >= 1.0 => {}
            "scale_linear"
                if number_or(&step, name, "gain", 1.0)? == 1.0
                    && number_or(&step, name, "offset", 0.0)? == 0.0 => {}
            "binarize" => {
                let threshold = number_of(&step, name, "threshold")?;
                ensure!(
                    threshold == 0.5 && is(arguments, "out_channels", "1") && has_activation,
                    "the postprocessing `binarize` is done at 0.5 for the one channel of a \
                     segmentation, not at {threshold} or for several channels"
                );
                binarized = true;
            }
            other => bail!(
                "the postprocessing `{other}` (as it is set) has no counterpart: predictions here \
                 are what the network gives, or 1 where that is above 0.5"
            ),
        }
    }
    Ok(binarized)
}

/// The file of a test array: of the tensor (0.5), or of the list at the top.
fn test_array(root: &Node, tensor: &Node, key: &str) -> Result<String> {
    let file = |node: &Node| -> Option<String> {
        let node = node.get("source").unwrap_or(node);
        node.text().ok().map(str::to_string)
    };
    tensor
        .get("test_tensor")
        .and_then(file)
        .or_else(|| root.get(key)?.items().ok()?.first().and_then(file))
        .with_context(|| format!("it has no test array (`test_tensor` or `{key}`)"))
}
