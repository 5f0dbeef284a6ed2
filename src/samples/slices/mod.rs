//! Slice builders: where the patches of a volume lie. One family a file.
//!
//! A builder is chosen by the `slice_builder` section of a phase. It gives the
//! windows of a file in a fixed order. Builders that draw at random open streams
//! keyed by the run's seed, the file's index and the builder's name: they give
//! the same windows in every run with the same `manual_seed`.

mod filtered;
mod regular;
mod weighted;

use std::path::Path;

use anyhow::Result;

pub use regular::Grid;

use crate::augment::stream::{Stream, StreamKey};
use crate::config::{self, ConfigError, Dialects, Node, Parameter, Registry, Section};
use crate::volume::{Source, Window};

/// Finds the patches of one file after the other.
pub trait SliceBuilder: Send + Sync {
    /// The windows of a file, in order.
    ///
    /// # Errors
    /// A [`ConfigError`] at the place of the key if the patch does not fit the
    /// volume or no patch is left, other errors if the file cannot be read.
    fn windows(&self, file: &Targets<'_>, draw: &WindowDraws) -> Result<Vec<Window>>;

    /// Depth, height and width of every patch.
    fn patch(&self) -> [usize; 3];

    /// The grid that the windows are taken from; `None` if there is none.
    fn grid(&self) -> Option<Grid> {
        None
    }

    /// Voxels around each patch, along z, y and x, that prediction reads beside it.
    fn halo(&self) -> [usize; 3] {
        [0; 3]
    }

    /// Whether the windows are drawn anew in every epoch.
    fn redraws(&self) -> bool {
        false
    }

    /// Whether the builder looks at the weight map.
    fn needs_weight(&self) -> bool {
        false
    }
}

/// What a slice builder may look at: a file's size, label and weight.
pub struct Targets<'a> {
    /// How errors name the file.
    pub path: &'a Path,
    /// Depth, height and width of the raw volume, mirror padding included.
    pub size: [usize; 3],
    /// Absent in prediction.
    pub label: Option<&'a Source>,
    pub weight: Option<&'a Source>,
}

/// Keys of the streams that a builder draws from for one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowDraws {
    pub seed: u64,
    /// 0 unless the builder draws anew in every epoch.
    pub epoch: u64,
    /// Index of the file in its phase.
    pub file: u64,
}

impl WindowDraws {
    fn open(&self, name: &str) -> Stream {
        let WindowDraws { seed, epoch, file } = *self;
        StreamKey { seed, epoch, sample: file, name, occurrence: 0, data_set: None }.open()
    }
}

/// One slice builder: its name, its keys and how to make it.
pub struct SliceBuilderEntry {
    pub name: &'static str,
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
    pub build: fn(&Section<'_>) -> Result<Box<dyn SliceBuilder>, ConfigError>,
}

impl config::Entry for SliceBuilderEntry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }
}

/// All slice builders.
pub static SLICE_BUILDERS: Dialects<Registry<SliceBuilderEntry>> = Dialects {
    fork: registry(&[
        &regular::ENTRY,
        &weighted::ENTRY,
        &filtered::FILTER,
        &filtered::EMBEDDINGS,
        &filtered::RANDOM,
    ]),
    upstream: registry(&[&regular::UPSTREAM, &filtered::UPSTREAM]),
};

const fn registry(entries: &'static [&'static SliceBuilderEntry]) -> Registry<SliceBuilderEntry> {
    let name = Parameter::text("name", "", "the slice builder").required();
    Registry { kind: "slice builder", name, entries, shared: &[], refused: &[] }
}

/// Makes the slice builder that a `slice_builder` section describes.
///
/// # Errors
/// An unknown name, missing keys, wrong types or impossible values.
pub fn read(node: &Node) -> Result<Box<dyn SliceBuilder>, ConfigError> {
    let (entry, section) = SLICE_BUILDERS.open(node)?;
    (entry.build)(&section)
}

/// Voxels along an axis, at most: more than any volume has.
const LONGEST: f64 = (1 << 20) as f64;
const PATCH_SHAPE: Parameter =
    Parameter::integers("patch_shape", &[], "depth, height and width of a patch")
        .within(1.0, LONGEST)
        .required();
const STRIDE_SHAPE: Parameter =
    Parameter::integers("stride_shape", &[], "voxels from one patch to the next, as z, y, x")
        .within(1.0, LONGEST)
        .of_length(3)
        .required();
const SKIP_SHAPE_CHECK: Parameter =
    Parameter::flag("skip_shape_check", false, "allow patches smaller than 16×64×64");

/// Smallest patch unless `skip_shape_check` is set: what a network with the usual
/// levels can make use of.
const LEAST: [usize; 3] = [16, 64, 64];

/// The patch of `patch_shape`, three numbers, not smaller than `least` unless
/// `skip_shape_check` is set.
fn patch_shape(section: &Section<'_>, least: [usize; 3]) -> Result<[usize; 3], ConfigError> {
    let shape = section.integers("patch_shape");
    let Ok([d, h, w]) = <[i64; 3]>::try_from(shape.as_slice()) else {
        return Err(section.error(
            "patch_shape",
            format!("three integers (depth, height, width) are wanted, not {}", shape.len()),
        ));
    };
    let patch = [d as usize, h as usize, w as usize];
    check_patch(section, patch, least)?;
    Ok(patch)
}

fn check_patch(
    section: &Section<'_>,
    patch: [usize; 3],
    least: [usize; 3],
) -> Result<(), ConfigError> {
    if !section.flag("skip_shape_check") && (0..3).any(|axis| patch[axis] < least[axis]) {
        return Err(section.error(
            "patch_shape",
            format!(
                "a patch {} is smaller than {}; enlarge it, or set `skip_shape_check: true` if it \
                 is meant",
                triple(patch),
                triple(least)
            ),
        ));
    }
    Ok(())
}

/// Refuses a patch that is larger than the volume.
fn check_fit(patch: [usize; 3], file: &Targets<'_>, node: &Node) -> Result<(), ConfigError> {
    if Window::whole(patch).fits(file.size) {
        return Ok(());
    }
    Err(node.error(format!(
        "the patch {} is larger than the volume {} of {}; make the patch smaller",
        triple(patch),
        triple(file.size),
        file.path.display()
    )))
}

fn triple([d, h, w]: [usize; 3]) -> String {
    format!("({d}, {h}, {w})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;

    pub(super) fn build(text: &str) -> Result<Box<dyn SliceBuilder>, ConfigError> {
        let tree = Tree::parse(&format!("slice_builder: {text}"), "c.yaml", &[])?;
        read(tree.root.get("slice_builder").unwrap())
    }

    pub(super) fn targets<'a>(
        size: [usize; 3],
        label: Option<&'a Source>,
        weight: Option<&'a Source>,
    ) -> Targets<'a> {
        Targets { path: Path::new("volume.h5"), size, label, weight }
    }

    fn error(text: &str) -> String {
        build(text).err().unwrap().to_string()
    }

    #[test]
    fn sections_that_make_no_sense() {
        assert!(error("{patch_shape: [16, 64, 64]}").contains("`name` is missing"));
        assert!(error("{name: SlicesBuilder}").contains("is `SliceBuilder` meant?"));
        let small = "{name: SliceBuilder, patch_shape: [8, 64, 64], stride_shape: [8, 8, 8]}";
        let message = error(small);
        assert!(message.contains("c.yaml:1") && message.contains("skip_shape_check"), "{message}");
        assert!(message.contains("`slice_builder.patch_shape`"), "{message}");
        assert!(build(&small.replace("]}", "], skip_shape_check: true}")).is_ok());
        assert!(error("{name: SliceBuilder, patch_shape: [16, 64, 64]}").contains("stride_shape"));
        let stride = "{name: SliceBuilder, patch_shape: [16, 64, 64], stride_shape: [0, 8, 8]}";
        assert!(error(stride).contains("from 1 to"));
        let weighted = "{name: PixelWiseWeightedSliceBuilder, patch_shape: [16, 64, 64]}";
        assert!(error(weighted).contains("num_patches"));
    }

    #[test]
    fn a_patch_larger_than_the_volume_names_both() {
        for name in ["SliceBuilder", "FilterSliceBuilder"] {
            let text =
                format!("{{name: {name}, patch_shape: [16, 64, 64], stride_shape: [8, 8, 8]}}");
            let error = build(&text)
                .unwrap()
                .windows(&targets([12, 64, 64], None, None), &WindowDraws::default())
                .unwrap_err();
            assert!(error.is::<ConfigError>());
            let error = error.to_string();
            for part in ["(16, 64, 64)", "(12, 64, 64)", "volume.h5", "`slice_builder.patch_shape`"]
            {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
