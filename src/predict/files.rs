//! Which file the result of each input is written to.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::files::{destination, identity};
use crate::format;
use crate::samples::SampleFiles;

/// An input file and the file its result is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePair {
    pub input: PathBuf,
    pub output: PathBuf,
    /// The file with the ground truth, where it is another than the input.
    pub truth: Option<PathBuf>,
}

/// Gives each input its output: `<stem>_predictions.h5`, beside the input or in
/// `directory`.
///
/// # Errors
/// A message if an output is one of the inputs, or the output of two of them, whatever
/// links and spellings lead to it.
pub fn pair_files(
    inputs: Vec<SampleFiles>,
    directory: Option<&Path>,
) -> Result<Vec<FilePair>, String> {
    let files: Vec<FilePair> = inputs
        .into_iter()
        .map(|SampleFiles { raw, label, .. }| FilePair {
            output: output_path(&raw, directory),
            input: raw,
            truth: label,
        })
        .collect();
    let inputs: HashSet<_> = files.iter().filter_map(|file| identity(&file.input)).collect();
    for FilePair { input, output, .. } in &files {
        if identity(output).is_some_and(|identity| inputs.contains(&identity)) {
            return Err(format!(
                "{} is an input, and the result of {} would replace it; set another \
                 `loaders.output_dir`",
                output.display(),
                input.display()
            ));
        }
    }
    let mut seen: HashMap<PathBuf, &FilePair> = HashMap::new();
    for file in &files {
        let FilePair { input, output, .. } = file;
        let place =
            destination(output).map_err(|error| format!("{}: {error}", output.display()))?;
        if let Some(other) = seen.insert(place.clone(), file) {
            let twice = identity(input).is_some() && identity(input) == identity(&other.input);
            let remedy = if twice {
                "they are one file: name it once"
            } else {
                "rename one, or leave out `loaders.output_dir`"
            };
            return Err(format!(
                "{} and {} would both be written to {}; {remedy}",
                other.input.display(),
                input.display(),
                place.display()
            ));
        }
    }
    Ok(files)
}

fn output_path(input: &Path, directory: Option<&Path>) -> PathBuf {
    let (beside, stem) = format::output_place(input);
    directory.unwrap_or(&beside).join(format!("{stem}_predictions.h5"))
}
