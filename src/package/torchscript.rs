//! A network as TorchScript, which `torch.jit.load` and libtorch run without its code.
//!
//! The module has the parameters of the checkpoint under their names, and a method `forward`
//! of which every size is computed when it runs, so that it takes patches of every size.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::ffi::script::{ScriptTensor, script};
use crate::files;
use crate::model::{Function, Graph, Interpolation, UNet, Value};

/// Writes the network, with its final activation, as a TorchScript archive.
///
/// # Errors
/// A file that exists or cannot be written.
pub fn write_torchscript(net: &UNet, target: &Path) -> Result<()> {
    let archive = torchscript(net)?;
    files::write_new(target, |mut file| file.write_all(&archive))
        .with_context(|| format!("{}: cannot be written", target.display()))
}

/// The bytes of the network as a TorchScript archive.
///
/// # Errors
/// A network that TorchScript does not take.
pub fn torchscript(net: &UNet) -> Result<Vec<u8>> {
    let trained: Vec<String> = net.parameters().into_iter().map(|entry| entry.name).collect();
    let tensors: Vec<ScriptTensor> = net
        .state_dict()
        .into_iter()
        .map(|(name, tensor)| ScriptTensor { trained: trained.contains(&name), name, tensor })
        .collect();
    let source = source(&net.graph(), net.spec().anatomy.planar);
    Ok(script(&source, &tensors)?)
}

/// The method `forward`.
fn source(graph: &Graph, planar: bool) -> String {
    let writer = Writer { planar };
    let mut text = format!("def forward(self, {}: Tensor) -> Tensor:\n", variable(Value::INPUT));
    for (instruction, result) in graph.steps() {
        let inputs: Vec<String> = instruction.inputs.iter().copied().map(variable).collect();
        let expression = writer.expression(&instruction.function, &inputs);
        let _ = writeln!(text, "  {} = {expression}", variable(result));
    }
    let _ = writeln!(text, "  return {}", variable(graph.output()));
    text
}

fn variable(value: Value) -> String {
    format!("x{}", value.index())
}

/// The tensor `kind` of the module `name`. Modules whose name is a number, as in torch's
/// lists, are not attributes that can be written after a dot.
fn attribute(name: &str, kind: &str) -> String {
    let mut path = "self".to_string();
    for part in name.split('.').chain([kind]) {
        path = match part.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("getattr({path}, \"{part}\")"),
            false => format!("{path}.{part}"),
        };
    }
    path
}

struct Writer {
    planar: bool,
}

impl Writer {
    /// Numbers of z, y and x, or of y and x.
    fn list(&self, numbers: [i64; 3]) -> String {
        if self.planar { format!("{:?}", &numbers[1..]) } else { format!("{numbers:?}") }
    }

    fn rank(&self) -> usize {
        if self.planar { 2 } else { 3 }
    }

    fn expression(&self, function: &Function, inputs: &[String]) -> String {
        let x = &inputs[0];
        let second = inputs.get(1).map_or("", String::as_str);
        let rank = self.rank();
        let bias = |name: &str, has: bool| match has {
            true => attribute(name, "bias"),
            false => "None".to_string(),
        };
        match function {
            Function::Conv { name, bias: has_bias, padding } => format!(
                "torch.conv{rank}d({x}, {}, {}, {}, {})",
                attribute(name, "weight"),
                bias(name, *has_bias),
                self.list([1; 3]),
                self.list(*padding)
            ),
            Function::TransposedConv { name, bias: has_bias, kernel } => {
                let extra = match inputs.get(1) {
                    None => self.list([0; 3]),
                    Some(wanted) => self.missing_voxels(x, wanted, *kernel),
                };
                format!(
                    "torch.conv_transpose{rank}d({x}, {}, {}, {}, {}, {extra})",
                    attribute(name, "weight"),
                    bias(name, *has_bias),
                    self.list([2; 3]),
                    self.list([1; 3])
                )
            }
            Function::GroupNorm { name, groups } => format!(
                "torch.group_norm({x}, {groups}, {}, {}, 1.0e-05)",
                attribute(name, "weight"),
                attribute(name, "bias")
            ),
            Function::BatchNorm { name } => format!(
                "torch.batch_norm({x}, {}, {}, {}, {}, False, 0.1, 1.0e-05, True)",
                attribute(name, "weight"),
                attribute(name, "bias"),
                attribute(name, "running_mean"),
                attribute(name, "running_var")
            ),
            Function::Relu => format!("torch.relu({x})"),
            Function::LeakyRelu { slope } => format!("torch.leaky_relu({x}, {slope:?})"),
            Function::Elu => format!("torch.elu({x})"),
            Function::Sigmoid => format!("torch.sigmoid({x})"),
            Function::Softmax => format!("torch.softmax({x}, 1)"),
            Function::MaxPool { kernel } => {
                let kernel = self.list(*kernel);
                format!("torch.max_pool{rank}d({x}, {kernel}, {kernel})")
            }
            Function::Resize(interpolation) => {
                let size = format!("{second}.size()[2:]");
                match (interpolation, self.planar) {
                    (Interpolation::Nearest, _) => {
                        format!("torch.upsample_nearest{rank}d({x}, {size}, None)")
                    }
                    (Interpolation::Trilinear, false) => {
                        format!("torch.upsample_trilinear3d({x}, {size}, False, None)")
                    }
                    (Interpolation::Trilinear, true) => {
                        format!("torch.upsample_bilinear2d({x}, {size}, False, None)")
                    }
                    (Interpolation::Area, _) => {
                        format!("torch.adaptive_avg_pool{rank}d({x}, {size})")
                    }
                }
            }
            Function::Concatenate => format!("torch.cat([{x}, {second}], 1)"),
            Function::Add => format!("torch.add({x}, {second})"),
            Function::Multiply => format!("torch.mul({x}, {second})"),
            Function::Maximum => format!("torch.maximum({x}, {second})"),
            Function::MeanOverSpace => {
                let axes: Vec<usize> = (2..2 + rank).collect();
                format!("torch.mean({x}, {axes:?})")
            }
            Function::Linear { name } => format!(
                "torch.linear({x}, {}, {})",
                attribute(name, "weight"),
                attribute(name, "bias")
            ),
            Function::AsChannels => {
                let ones = vec!["1"; rank].join(", ");
                format!("torch.reshape({x}, [{x}.size(0), {x}.size(1), {ones}])")
            }
        }
    }

    /// What a transposed convolution must add at the end of each axis of `x` to have the
    /// size of `wanted`.
    fn missing_voxels(&self, x: &str, wanted: &str, kernel: [i64; 3]) -> String {
        let first = 3 - self.rank();
        let each: Vec<String> = (first..3)
            .map(|axis| {
                let place = axis - first + 2;
                format!("{wanted}.size({place}) - (2 * {x}.size({place}) + {})", kernel[axis] - 4)
            })
            .collect();
        format!("[{}]", each.join(", "))
    }
}
