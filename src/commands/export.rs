//! `unet3d export`: a network and its weights for other programs.

use anyhow::Result;
use log::info;

use crate::cli::{self, ExportFormat, WeightsFormat};
use crate::config::Tree;
use crate::format::check_new;
use crate::package::{self, Credits, ExtraWeights};

use super::CommandSettings;

pub fn export(args: &cli::Export) -> Result<()> {
    let format = args.chosen_format()?;
    let tree = Tree::read(&args.common.config, &args.common.flags.overrides)?;
    let _ = CommandSettings::open(&tree, &args.common.flags)?;
    let target = &args.target;
    let shown = target.display();
    check_new(&[target])?;
    let net = package::load(&tree.root, &args.checkpoint)?;
    match format {
        ExportFormat::Package => {
            let stem = target.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let credits = Credits {
                name: args.name.clone().unwrap_or(stem),
                description: args.description.clone(),
                authors: args.author.clone(),
                license: args.license.clone(),
            };
            let extra = ExtraWeights {
                torchscript: args.weights.contains(&WeightsFormat::Torchscript),
                onnx: args.weights.contains(&WeightsFormat::Onnx),
            };
            package::export(&tree.root, &net, target, &credits, extra)?;
            info!("{shown}: a package of format 0.5");
        }
        ExportFormat::Torchscript => {
            package::write_torchscript(&net, target)?;
            info!("{shown}: TorchScript");
        }
        ExportFormat::Onnx => {
            package::write_onnx(&net, target)?;
            info!("{shown}: ONNX");
        }
    }
    Ok(())
}
