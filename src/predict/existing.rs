//! What stands under the name of an output: whether it may be replaced, and whether
//! it is up to date.

use std::fs;
use std::path::Path;

use crate::format;

use super::files::FilePair;
use super::output::{Attributes, OutputSpec};

/// The attributes that must be the same for an output to be up to date.
const DECISIVE: [&str; 3] = ["unet3d_version", "settings", "checkpoint_sha256"];

/// Whether a file is an output of prediction, and nothing is lost by replacing it.
pub fn is_output(path: &Path) -> bool {
    format::open_file(path).is_ok_and(|file| {
        ["predictions", "segmentation"].iter().any(|name| file.has(name)) && !file.has("raw")
    })
}

/// Whether the file at `path` holds the result of these settings, made after the
/// input was last changed.
pub fn is_up_to_date(file: &FilePair, spec: &OutputSpec, attributes: &Attributes) -> bool {
    let FilePair { input, output: path } = file;
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let (Some(made), Some(given)) = (changed(path), changed(input)) else { return false };
    if made < given {
        return false;
    }
    let Ok(file) = format::open_file(path) else { return false };
    let holds = |name: &str, wanted: bool| !wanted || file.has(name);
    (!spec.preview || path.with_extension("png").is_file())
        && holds("predictions", spec.probabilities)
        && holds("segmentation", spec.segmentation)
        && attributes.iter().filter(|(name, _)| DECISIVE.contains(name)).all(|(name, text)| {
            file.attribute(name).is_ok_and(|found| found.as_ref() == Some(text))
        })
}
