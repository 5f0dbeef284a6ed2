//! `unet3d explain`: what a key means, or a loss, transform or network of that name.

use anyhow::{Context, Result};

use super::settings::TOP;
use crate::cli::{Explain, Usage};
use crate::config::Dialect;
use crate::config::explain::explain as explanation;
use crate::runtime::report::print;

/// Prints what the tables of keys say of a word.
pub fn explain(options: &Explain) -> Result<()> {
    let of = |dialect| explanation(TOP.of(dialect), &options.word);
    let text = match (of(Dialect::Fork), of(Dialect::Upstream)) {
        (Ok(fork), Ok(upstream)) if fork != upstream => {
            format!("{fork}\nIn files of wolny/pytorch-3dunet:\n\n{upstream}")
        }
        (Ok(text), _) => text,
        (Err(_), Ok(upstream)) => format!("In files of wolny/pytorch-3dunet:\n\n{upstream}"),
        (Err(error), Err(_)) => return Err(Usage(error).into()),
    };
    print(text.as_bytes()).context("the explanation cannot be printed")
}
