//! `unet3d import`: a model package of the BioImage Model Zoo becomes a configuration and
//! a checkpoint.

use std::path::PathBuf;

use anyhow::Result;
use log::info;

use crate::cli;
use crate::package::{self, Package};

pub fn import(args: &cli::Import) -> Result<()> {
    let package = Package::open(&args.package)?;
    let directory = args.output.clone().unwrap_or_else(|| {
        let stem = args.package.file_stem().unwrap_or_default();
        PathBuf::from(format!("{}_imported", stem.to_string_lossy()))
    });
    let imported = package::import(&package, &directory)?;
    info!("{}: the test output is reached to {:.1e}", imported.name, imported.difference);
    info!("{}: the weights", imported.checkpoint.display());
    info!(
        "{}: predicts with them; set `loaders.test.file_paths` and run `unet3d predict --config`",
        imported.configuration.display()
    );
    Ok(())
}
