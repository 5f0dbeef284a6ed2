//! `unet3d explain`: what a key means, or a loss, transform or network of that name.

use anyhow::Result;

use super::settings::TOP;
use crate::cli::{Explain, Usage};
use crate::config::explain::explain as explanation;

/// Prints what the tables of keys say of a word.
pub fn explain(options: &Explain) -> Result<()> {
    print!("{}", explanation(TOP, &options.word).map_err(Usage)?);
    Ok(())
}
