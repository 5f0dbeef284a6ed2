//! Which file the result of each input is written to.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::iter;
use std::path::{Path, PathBuf};

use crate::files::{destination, identity};
use crate::format::{self, Format, Inputs};
use crate::samples::SampleFiles;
use crate::volume::{Compression, Encoding};

/// An input file and the file its result is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePair {
    pub input: PathBuf,
    pub output: PathBuf,
    /// The file with the ground truth, where it is another than the input.
    pub truth: Option<PathBuf>,
}

/// A format of results, as `predictor.output_format` names it.
#[derive(Clone, Copy)]
pub struct OutputFormat(&'static Format);

impl PartialEq for OutputFormat {
    fn eq(&self, other: &OutputFormat) -> bool {
        self.0.name == other.0.name
    }
}

impl fmt::Debug for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl OutputFormat {
    /// The format of that name in lower case, `None` if there is none.
    pub fn named(word: &str) -> Option<OutputFormat> {
        format::writable(word).map(OutputFormat)
    }

    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether its files hold numbers of that type.
    pub fn holds(self, encoding: Encoding) -> bool {
        (self.0.holds)(encoding.stored())
    }
}

/// The file of the likeliest classes beside that of the probabilities, for formats whose
/// files hold one volume: `v_segmentation.tif` beside `v_predictions.tif`.
pub fn segmentation_path(predictions: &Path) -> PathBuf {
    let name = predictions.file_name().unwrap_or_default().to_string_lossy();
    let stem = format::stem(predictions);
    let begin = stem.strip_suffix("_predictions").unwrap_or(&stem);
    predictions.with_file_name(format!("{begin}_segmentation{}", &name[stem.len()..]))
}

/// What lies beside a result with another extension, as its preview.
pub fn beside(result: &Path, extension: &str) -> PathBuf {
    result.with_file_name(format!("{}.{extension}", format::stem(result)))
}

/// Gives each input its output: `<stem>_predictions` with the extension of that format, or
/// of the input's, beside the input or in `directory`. `others` gives the other files that the
/// result at a path consists of.
///
/// # Errors
/// A message if an output is one of the inputs or of the files of ground truth, or the output
/// of two inputs, whatever links and spellings lead to it, or if it would lie within a store.
pub fn pair_files(
    inputs: Vec<SampleFiles>,
    directory: Option<&Path>,
    format: Option<OutputFormat>,
    compression: Compression,
    others: impl Fn(&Path) -> Vec<PathBuf>,
) -> Result<Vec<FilePair>, String> {
    let output = |input: &Path| {
        let (beside, stem) = format::output_place(input);
        let format = format.map_or_else(|| format::of_results(input), |format| format.0);
        let name = format!("{stem}_predictions.{}", format.result_extension(compression));
        directory.unwrap_or(&beside).join(name)
    };
    let files: Vec<FilePair> = inputs
        .into_iter()
        .map(|SampleFiles { raw, label, .. }| FilePair {
            output: output(&raw),
            input: raw,
            truth: label,
        })
        .collect();
    let inputs: HashSet<_> = files
        .iter()
        .flat_map(|file| [Some(&file.input), file.truth.as_ref()])
        .flatten()
        .filter_map(|path| identity(&format::file_of(path)))
        .collect();
    for FilePair { input, output, .. } in &files {
        for output in iter::once(output.clone()).chain(others(output)) {
            if identity(&output).is_some_and(|identity| inputs.contains(&identity)) {
                return Err(format!(
                    "{} is an input, and the result of {} would replace it; set another \
                     `loaders.output_dir`",
                    output.display(),
                    input.display()
                ));
            }
        }
    }
    let mut seen: HashMap<PathBuf, &FilePair> = HashMap::new();
    let mut folders: HashSet<PathBuf> = HashSet::new();
    let outputs = files.iter().flat_map(|file| {
        iter::once(file.output.clone()).chain(others(&file.output)).map(move |path| (path, file))
    });
    for (output, file) in outputs {
        let input = &file.input;
        let place =
            destination(&output).map_err(|error| format!("{}: {error}", output.display()))?;
        if place.parent().is_some_and(|folder| folders.insert(folder.to_path_buf())) {
            Inputs::default().check(&output).map_err(|error| format!("{error:#}"))?;
        }
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
