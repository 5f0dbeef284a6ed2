//! `unet3d export`: a network and its weights become a model package of the BioImage
//! Model Zoo.

use anyhow::Result;
use log::info;

use crate::cli;
use crate::config::Tree;
use crate::package::{self, Credits};

use super::CommandSettings;

pub fn export(args: &cli::Export) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let _ = CommandSettings::open(&tree, &args.common)?;
    let stem = args.package.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let credits = Credits {
        name: args.name.clone().unwrap_or(stem),
        description: args.description.clone(),
        authors: args.author.clone(),
        license: args.license.clone(),
    };
    package::export(&tree.root, &args.checkpoint, &args.package, &credits)?;
    info!("{}: a package of format 0.5", args.package.display());
    Ok(())
}
