//! The flags of `unet3d export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Common, Usage};

#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    pub common: Common,
    /// The checkpoint with the weights.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// The file to write: a model package (.zip), TorchScript (.pt) or ONNX (.onnx).
    #[arg(value_name = "FILE")]
    pub target: PathBuf,
    /// What to write, where the ending of the file does not tell.
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// Packages: formats of the weights beside the PyTorch state dict, such as
    /// torchscript,onnx.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1, value_name = "FORMAT,FORMAT")]
    pub weights: Vec<WeightsFormat>,
    /// Name of the model (default: that of the archive).
    #[arg(long)]
    pub name: Option<String>,
    /// What the model does, in a sentence.
    #[arg(long, default_value = "A U-Net for microscopy volumes.")]
    pub description: String,
    /// Who made the model; may be repeated. Packages need one.
    #[arg(long, value_name = "NAME")]
    pub author: Vec<String>,
    /// Licence of the model, by its SPDX name.
    #[arg(long, value_name = "SPDX", default_value = "CC-BY-4.0")]
    pub license: String,
}

/// A kind of file that `unet3d export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    Package,
    Torchscript,
    Onnx,
}

/// A format of weights in a model package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsFormat {
    Torchscript,
    Onnx,
}

impl Export {
    /// The format by its flag, or by the ending of the file.
    ///
    /// # Errors
    /// An ending that tells none, flags of packages with another format, a package without
    /// an author.
    pub fn chosen_format(&self) -> Result<ExportFormat, Usage> {
        let ending = self.target.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let format = match (self.format, &*ending) {
            (Some(format), _) => format,
            (None, "zip") => ExportFormat::Package,
            (None, "pt" | "ts" | "torchscript") => ExportFormat::Torchscript,
            (None, "onnx") => ExportFormat::Onnx,
            _ => {
                return Err(Usage(format!(
                    "{}: the ending tells no format; .zip (a model package), .pt (TorchScript) \
                     and .onnx do, or --format",
                    self.target.display()
                )));
            }
        };
        if format == ExportFormat::Package {
            if self.author.is_empty() {
                return Err(Usage("a model package needs --author".into()));
            }
        } else if !self.weights.is_empty() {
            return Err(Usage("--weights is for model packages (.zip)".into()));
        }
        Ok(format)
    }
}
