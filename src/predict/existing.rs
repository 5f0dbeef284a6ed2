//! What stands under the name of an output: whether it may be replaced, and whether it
//! is up to date.

use std::path::Path;

use anyhow::Result;
use log::warn;

use crate::files;
use crate::format::{self, Mark, Standing, VOLUME, h5, standing};
use crate::samples::MADE_BY_PREDICTION;
use crate::volume::VolumeFile;

use super::files::{FilePair, beside, segmentation_path};
use super::output::{Attributes, OutputSpec};
use super::preview::is_whole_preview;

/// Attribute of an output: the state of the files that it was made from
/// ([`files::record`]).
pub const INPUT: &str = "input";

/// The attributes that must be the same for an output to be up to date.
const DECISIVE: [&str; 3] = ["unet3d_version", "settings", "checkpoint_sha256"];

/// By what outputs are known again.
const MARK: Mark = Mark {
    made_by: MADE_BY_PREDICTION,
    volumes: &["predictions", "segmentation"],
    attributes: &[
        "unet3d_version",
        "settings",
        "configuration",
        "checkpoint_sha256",
        INPUT,
        "per_class_metric",
        "average_metric",
    ],
    earlier: &["unet3d_version", "settings", "configuration", "checkpoint_sha256"],
    otherwise: "holds no predictions of this program",
};

/// What stands under a path, for prediction.
pub fn standing_of(path: &Path) -> Standing {
    standing(path, &MARK)
}

/// Names of the volumes that outputs may have, those of `output_dataset` included.
fn names(spec: &OutputSpec) -> Vec<&str> {
    let given = [&spec.probabilities, &spec.segmentation, &spec.regions].into_iter().flatten();
    MARK.volumes.iter().copied().chain(given.map(String::as_str)).collect()
}

/// [`MARK`] with these names of volumes.
fn mark<'a>(volumes: &'a [&'a str]) -> Mark<'a> {
    Mark { volumes, ..MARK }
}

/// Checks that the file at `path` may be replaced: it is an output of this program as
/// it was written, or exactly what pytorch-3dunet writes, which leaves no mark.
///
/// # Errors
/// Any other file, and outputs that were changed since they were written.
pub fn check_replaceable(path: &Path, spec: &OutputSpec) -> Result<()> {
    if h5::holds_only_gzipped(path, "predictions") {
        return Ok(());
    }
    standing(path, &mark(&names(spec))).check_replaceable(path, "set another `loaders.output_dir`")
}

/// Warns if the file at `path` is the result of another input than this one.
pub fn warn_of_other_input(path: &Path, input: &Path) {
    let Ok(file) = format::open_file(path) else { return };
    let Ok(Some(record)) = file.attribute(INPUT) else { return };
    let same = |other: &Path| {
        let input = format::file_of(input);
        files::identity(other).is_none_or(|found| files::identity(&input) == Some(found))
    };
    if let Some(other) = files::recorded_input(&record).filter(|other| !same(other)) {
        warn!("{}: replaces the result of another input, {}", path.display(), other.display());
    }
}

/// Whether the file at `path` is whole and holds the result of these settings for the
/// present input.
pub fn is_up_to_date(pair: &FilePair, spec: &OutputSpec, attributes: &Attributes) -> bool {
    let path = &pair.output;
    let other = |path: &Path, volume: &Option<String>| {
        format::open_file(path)
            .is_ok_and(|file| !is_of_these_settings(&*file, pair, volume, attributes))
    };
    if spec.has_segmentation_apart(path) {
        if other(path, &spec.probabilities) || other(&segmentation_path(path), &spec.segmentation) {
            return false;
        }
    } else if [&spec.probabilities, &spec.segmentation, &spec.regions]
        .into_iter()
        .any(|volume| other(path, volume))
    {
        return false;
    }
    let apart = spec.has_segmentation_apart(path).then(|| segmentation_path(path));
    let whole = |path: &Path| standing(path, &mark(&names(spec)));
    let found = match (whole(path), apart) {
        (Standing::Whole, Some(apart)) => whole(&apart),
        (found, _) => found,
    };
    match found {
        Standing::Whole => !spec.preview || is_whole_preview(&beside(path, "png")),
        Standing::Damaged(why) => {
            warn!("{}: is damaged and is made anew ({why})", path.display());
            false
        }
        // Those that may not be replaced are errors when their turn comes.
        _ => false,
    }
}

fn is_of_these_settings(
    file: &dyn VolumeFile,
    pair: &FilePair,
    volume: &Option<String>,
    attributes: &Attributes,
) -> bool {
    let text = |name: &str| file.attribute(name).ok().flatten();
    let holds = |name: &String| file.has(name) || text(VOLUME).as_ref() == Some(name);
    volume.as_ref().is_none_or(holds)
        && attributes
            .iter()
            .filter(|(name, _)| DECISIVE.contains(name))
            .all(|(name, wanted)| text(name).as_ref() == Some(wanted))
        && text(INPUT)
            .is_some_and(|record| files::is_current(&record, &format::file_of(&pair.input)))
}
