//! `unet3d explain`: what a key means, or a loss, transform or network of that name.

use anyhow::Result;

use super::settings::TOP;
use crate::cli::{Explain, Usage};
use crate::config::Dialect;
use crate::config::explain::explain as explanation;

/// Prints what the tables of keys say of a word.
pub fn explain(options: &Explain) -> Result<()> {
    let of = |dialect| explanation(TOP.of(dialect), &options.word);
    match (of(Dialect::Fork), of(Dialect::Upstream)) {
        (Ok(fork), Ok(upstream)) if fork != upstream => {
            print!("{fork}\nIn files of wolny/pytorch-3dunet:\n\n{upstream}");
        }
        (Ok(text), _) => print!("{text}"),
        (Err(_), Ok(upstream)) => print!("In files of wolny/pytorch-3dunet:\n\n{upstream}"),
        (Err(error), Err(_)) => return Err(Usage(error).into()),
    }
    Ok(())
}
