//! `unet3d completions` and `unet3d man`: what shells and `man` know of the command line,
//! from the same definitions as the flags.

use std::fs;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::{Cli, Completions, Man};
use crate::runtime::report::print;

/// Prints the completions of a shell.
pub fn completions(options: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "unet3d", &mut script);
    print(&script).context("the completions cannot be written")
}

/// Writes a man page for the program and for each of its commands.
pub fn man(options: &Man) -> Result<()> {
    let folder = &options.output;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("{}: man pages cannot be written there", folder.display()))
}
