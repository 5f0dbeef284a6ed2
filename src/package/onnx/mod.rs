//! A network as ONNX, which ONNX Runtime and others run.
//!
//! All sizes but the channels are open. Where a decoder grows to the size of its encoder,
//! that size is taken from the encoder's feature maps when the graph runs.

mod nodes;
mod schema;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use prost::Message;

use self::nodes::{Attribute, Nodes};
use self::schema::{
    Dimension, ElementType, GraphMessage, Model, OperatorSet, ShapeMessage, Size, TensorType,
    TypeMessage, ValueInfo,
};
use crate::checkpoint::TensorData;
use crate::files::PartialFile;
use crate::model::{Function, Interpolation, UNet, Value, from_tensor};

/// The set of operators; `Resize` has had its present meaning since 18.
pub const OPSET: i64 = 18;
/// The version of the format that came with [`OPSET`].
const IR_VERSION: i64 = 8;
/// Bytes that a message of protobuf may have.
const LARGEST: usize = i32::MAX as usize;

const INPUT: &str = "raw";
const OUTPUT: &str = "prediction";

/// Writes the network, with its final activation, as an ONNX model in one file.
///
/// # Errors
/// A network of more than 2 GiB or with layers that ONNX has no operator for, a file that
/// exists or cannot be written.
pub fn write_onnx(net: &UNet, target: &Path) -> Result<()> {
    let bytes = onnx(net).with_context(|| format!("{}: cannot be written", target.display()))?;
    let partial = PartialFile::create(target)
        .with_context(|| format!("{}: cannot be written", target.display()))?;
    partial.file().write_all(&bytes).with_context(|| target.display().to_string())?;
    partial.keep_new().with_context(|| target.display().to_string())
}

/// The bytes of the network as an ONNX model.
///
/// # Errors
/// As [`write_onnx`], as far as the network goes.
pub fn onnx(net: &UNet) -> Result<Vec<u8>> {
    let spec = net.spec();
    let (graph, planar) = (net.graph(), spec.anatomy.planar);
    let weights = net
        .state_dict()
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), from_tensor(tensor)?)))
        .collect::<Result<HashMap<_, _>>>()?;
    let grows = (0..3).any(|axis| 2 * spec.unit.padding[axis] > spec.unit.kernel[axis]);
    let mut writer = Writer { weights, planar, grows, nodes: Nodes::default() };
    let mut names: HashMap<Value, String> = [(Value::INPUT, INPUT.to_string())].into();
    for (instruction, result) in graph.steps() {
        let inputs = instruction
            .inputs
            .iter()
            .map(|value| names.get(value).cloned().context("a step uses a later one"))
            .collect::<Result<Vec<_>>>()?;
        let name = writer.write(&instruction.function, &inputs)?;
        names.insert(result, name);
    }
    let output = names.remove(&graph.output()).context("the network computes nothing")?;
    let mut nodes = writer.nodes;
    nodes.rename(&output, OUTPUT);
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        graph: Some(GraphMessage {
            node: nodes.nodes,
            name: spec.family.name.to_string(),
            initializer: nodes.constants,
            input: vec![volume(INPUT, spec.in_channels, planar)],
            output: vec![volume(OUTPUT, spec.out_channels, planar)],
        }),
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: OPSET }],
    };
    let length = model.encoded_len();
    ensure!(
        length < LARGEST,
        "the network has {length} bytes, an ONNX file at most {LARGEST}; export TorchScript \
         (`.pt`) instead"
    );
    Ok(model.encode_to_vec())
}

/// An input or output whose channels alone are fixed.
fn volume(name: &str, channels: i64, planar: bool) -> ValueInfo {
    let open = |name: &str| Size::Name(name.to_string());
    let mut sizes = vec![open("batch"), Size::Value(channels)];
    if !planar {
        sizes.push(open("depth"));
    }
    sizes.extend([open("height"), open("width")]);
    let dim = sizes.into_iter().map(|size| Dimension { size: Some(size) }).collect();
    let tensor_type =
        TensorType { elem_type: ElementType::Float.into(), shape: Some(ShapeMessage { dim }) };
    let r#type = Some(TypeMessage { tensor_type: Some(tensor_type) });
    ValueInfo { name: name.to_string(), r#type }
}

struct Writer {
    weights: HashMap<String, TensorData>,
    /// Whether feature maps are (N, C, H, W).
    planar: bool,
    /// Whether convolutions give more voxels than they take.
    grows: bool,
    nodes: Nodes,
}

impl Writer {
    fn rank(&self) -> usize {
        if self.planar { 2 } else { 3 }
    }

    /// Numbers of z, y and x, or of y and x.
    fn list(&self, numbers: [i64; 3]) -> Vec<i64> {
        numbers[3 - self.rank()..].to_vec()
    }

    /// The same numbers for the beginnings and for the ends of the axes.
    fn pads(&self, numbers: [i64; 3]) -> Attribute<'static> {
        Attribute::Ints(self.list(numbers).repeat(2))
    }

    /// A tensor of the checkpoint, under its name there.
    fn weight(&mut self, name: &str, kind: &str) -> Result<String> {
        let name = format!("{name}.{kind}");
        let data = self.weights.get(&name).with_context(|| format!("no tensor `{name}`"))?;
        let dims = data.shape.iter().map(|size| *size as i64).collect();
        self.nodes.tensor(&name, ElementType::Float, dims, data.bytes.to_vec());
        Ok(name)
    }

    /// A tensor of the checkpoint with a value a channel, so that it can be multiplied with
    /// feature maps.
    fn channels(&mut self, name: &str, kind: &str) -> Result<String> {
        let name = format!("{name}.{kind}");
        let data = self.weights.get(&name).with_context(|| format!("no tensor `{name}`"))?;
        let mut dims = vec![data.shape.iter().product::<usize>() as i64];
        dims.extend(vec![1; self.rank()]);
        self.nodes.tensor(&name, ElementType::Float, dims, data.bytes.to_vec());
        Ok(name)
    }

    /// The sizes of the axes of space.
    fn space(&mut self, of: &str) -> String {
        self.nodes.add("Shape", &[of], &[("start", Attribute::Int(2))])
    }

    /// Appends the nodes of a function and gives the name of their output.
    fn write(&mut self, function: &Function, inputs: &[String]) -> Result<String> {
        let x = inputs.first().map_or("", String::as_str);
        let second = inputs.get(1).map_or("", String::as_str);
        let plain = |nodes: &mut Nodes, kind: &str| nodes.add(kind, &[x], &[]);
        let joined = |nodes: &mut Nodes, kind: &str| nodes.add(kind, &[x, second], &[]);
        Ok(match function {
            Function::Conv { name, bias, padding } => {
                let mut of = vec![x.to_string(), self.weight(name, "weight")?];
                if *bias {
                    of.push(self.weight(name, "bias")?);
                }
                let of: Vec<&str> = of.iter().map(String::as_str).collect();
                let pads = self.pads(*padding);
                self.nodes.add("Conv", &of, &[("pads", pads)])
            }
            Function::TransposedConv { name, bias, .. } => {
                let mut of = vec![x.to_string(), self.weight(name, "weight")?];
                if *bias {
                    of.push(self.weight(name, "bias")?);
                }
                let of: Vec<&str> = of.iter().map(String::as_str).collect();
                // The voxel at the end that is wanted or not does not change the others.
                let extra = i64::from(!second.is_empty());
                let attributes = [
                    ("strides", Attribute::Ints(self.list([2; 3]))),
                    ("pads", self.pads([1; 3])),
                    ("output_padding", Attribute::Ints(self.list([extra; 3]))),
                ];
                let grown = self.nodes.add("ConvTranspose", &of, &attributes);
                if second.is_empty() { grown } else { self.crop(&grown, second) }
            }
            Function::GroupNorm { name, groups } => self.group_norm(x, name, *groups)?,
            Function::BatchNorm { name } => {
                let mut of = vec![x.to_string()];
                for kind in ["weight", "bias", "running_mean", "running_var"] {
                    of.push(self.weight(name, kind)?);
                }
                let of: Vec<&str> = of.iter().map(String::as_str).collect();
                self.nodes.add("BatchNormalization", &of, &[("epsilon", Attribute::Float(EPS))])
            }
            Function::Relu => plain(&mut self.nodes, "Relu"),
            Function::LeakyRelu { slope } => {
                self.nodes.add("LeakyRelu", &[x], &[("alpha", Attribute::Float(*slope))])
            }
            Function::Elu => plain(&mut self.nodes, "Elu"),
            Function::Sigmoid => plain(&mut self.nodes, "Sigmoid"),
            Function::Softmax => self.nodes.add("Softmax", &[x], &[("axis", Attribute::Int(1))]),
            Function::MaxPool { kernel } => {
                let kernel = self.list(*kernel);
                let attributes = [
                    ("kernel_shape", Attribute::Ints(kernel.clone())),
                    ("strides", Attribute::Ints(kernel)),
                ];
                self.nodes.add("MaxPool", &[x], &attributes)
            }
            Function::Resize(Interpolation::Area) => self.area(x, second)?,
            Function::Resize(interpolation) => self.resize(x, second, *interpolation),
            Function::Concatenate => {
                self.nodes.add("Concat", &[x, second], &[("axis", Attribute::Int(1))])
            }
            Function::Add => joined(&mut self.nodes, "Add"),
            Function::Multiply => joined(&mut self.nodes, "Mul"),
            Function::Maximum => joined(&mut self.nodes, "Max"),
            Function::MeanOverSpace => {
                let mean = plain(&mut self.nodes, "GlobalAveragePool");
                self.nodes.add("Flatten", &[&mean], &[("axis", Attribute::Int(1))])
            }
            Function::Linear { name } => {
                let (weight, bias) = (self.weight(name, "weight")?, self.weight(name, "bias")?);
                self.nodes.add("Gemm", &[x, &weight, &bias], &[("transB", Attribute::Int(1))])
            }
            Function::AsChannels => {
                let axes: Vec<i64> = (2..2 + self.rank() as i64).collect();
                let axes = self.nodes.integers(&axes);
                self.nodes.add("Unsqueeze", &[x, &axes], &[])
            }
        })
    }

    /// The first voxels of `x`, as many as `like` has.
    fn crop(&mut self, x: &str, like: &str) -> String {
        let axes: Vec<i64> = (2..2 + self.rank() as i64).collect();
        let starts = self.nodes.integers(&vec![0; self.rank()]);
        let axes = self.nodes.integers(&axes);
        let ends = self.space(like);
        self.nodes.add("Slice", &[x, &starts, &ends, &axes], &[])
    }

    /// Groups become the channels of an instance norm. `GroupNormalization` of this set of
    /// operators has one weight a group, where torch has one a channel.
    fn group_norm(&mut self, x: &str, name: &str, groups: i64) -> Result<String> {
        let (weight, bias) = (self.channels(name, "weight")?, self.channels(name, "bias")?);
        let nodes = &mut self.nodes;
        let grouped = nodes.integers(&[0, groups, -1]);
        let grouped = nodes.add("Reshape", &[x, &grouped], &[]);
        let (ones, zeros) =
            (nodes.floats(1.0, groups as usize), nodes.floats(0.0, groups as usize));
        let of = [grouped.as_str(), &ones, &zeros];
        let normed = nodes.add("InstanceNormalization", &of, &[("epsilon", Attribute::Float(EPS))]);
        let shape = nodes.add("Shape", &[x], &[]);
        let normed = nodes.add("Reshape", &[&normed, &shape], &[]);
        let scaled = nodes.add("Mul", &[&normed, &weight], &[]);
        Ok(nodes.add("Add", &[&scaled, &bias], &[]))
    }

    fn resize(&mut self, x: &str, like: &str, interpolation: Interpolation) -> String {
        let space = self.space(like);
        let nodes = &mut self.nodes;
        let channels = nodes.add("Shape", &[x], &[("end", Attribute::Int(2))]);
        let sizes = nodes.add("Concat", &[&channels, &space], &[("axis", Attribute::Int(0))]);
        let attributes = match interpolation {
            Interpolation::Nearest => [
                ("mode", Attribute::Text("nearest")),
                ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
                ("nearest_mode", Attribute::Text("floor")),
            ],
            _ => [
                ("mode", Attribute::Text("linear")),
                ("coordinate_transformation_mode", Attribute::Text("half_pixel")),
                ("nearest_mode", Attribute::Text("floor")),
            ],
        };
        nodes.add("Resize", &[x, "", "", &sizes], &attributes)
    }

    /// Output voxel i of `to` along an axis is the mean of the voxels from ⌊i · from / to⌋ to
    /// ⌈(i + 1) · from / to⌉ − 1. Where feature maps grow these are two voxels at most, so
    /// that each axis is the mean of two choices of voxels.
    fn area(&mut self, x: &str, like: &str) -> Result<String> {
        if self.grows {
            bail!(
                "`upsample: area` with a `conv_padding` of more than half the kernel cannot be \
                 written as ONNX; export TorchScript (`.pt`) instead"
            );
        }
        let (zero, one) = (self.nodes.integer(0), self.nodes.integer(1));
        let half = self.nodes.floats(0.5, 1);
        let mut grown = x.to_string();
        for axis in 2..2 + self.rank() as i64 {
            let nodes = &mut self.nodes;
            let mut length = |of: &str| {
                let range = [("start", Attribute::Int(axis)), ("end", Attribute::Int(axis + 1))];
                let shape = nodes.add("Shape", &[of], &range);
                nodes.add("Squeeze", &[&shape], &[])
            };
            let (from, to) = (length(x), length(like));
            let places = nodes.add("Range", &[&zero, &to, &one], &[]);
            let scaled = nodes.add("Mul", &[&places, &from], &[]);
            let first = nodes.add("Div", &[&scaled, &to], &[]);
            // The last voxel of the window: ⌈(i + 1) · from / to⌉ − 1 = ⌊((i + 1) · from − 1) / to⌋.
            let end = nodes.add("Add", &[&scaled, &from], &[]);
            let end = nodes.add("Sub", &[&end, &one], &[]);
            let last = nodes.add("Div", &[&end, &to], &[]);
            let along = || [("axis", Attribute::Int(axis))];
            let first = nodes.add("Gather", &[&grown, &first], &along());
            let last = nodes.add("Gather", &[&grown, &last], &along());
            let sum = nodes.add("Add", &[&first, &last], &[]);
            grown = nodes.add("Mul", &[&sum, &half], &[]);
        }
        Ok(grown)
    }
}

/// What norms add to the variance.
const EPS: f64 = 1e-5;
