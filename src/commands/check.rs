//! `unet3d check`: reads everything, reports, runs nothing.

use anyhow::Result;
use log::{info, warn};
use tch::{Device, Kind};

use crate::cli;
use crate::config::Tree;
use crate::model::{NetworkSpec, UNet};

use super::Settings;

pub fn check(args: &cli::Check) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let settings = Settings::open(&tree)?;
    let network = NetworkSpec::read(settings.required("model")?)?;
    let net = UNet::new(&network, Kind::Float, Device::Cpu)?;
    info!("{:?}: {} parameters", network.architecture, net.parameter_count());
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    Ok(())
}
