//! The `loaders` section: what all phases have in common.

use std::path::PathBuf;

use super::slices::SLICE_BUILDERS;
use super::{DATA_SETS, Entry};
use crate::augment::TRANSFORMER;
use crate::config::{ConfigError, Kind, Node, Parameter, Section};

/// The keys of the `loaders` section that all data set classes take.
pub const LOADERS: &[Parameter] = &[
    Parameter::integer("batch_size", 1, "samples of a batch").at_least(1.0),
    Parameter::integer("num_workers", 1, "threads that prepare samples").at_least(0.0),
    Parameter::texts("raw_internal_path", "raw", "data set of the raw data"),
    Parameter::texts("label_internal_path", "label", "data set of the labels"),
    Parameter::texts("weight_internal_path", "", "data set of the weight map, none if absent")
        .optional(),
    Parameter::per_axis("mirror_padding", &[0, 0, 0], "prediction: voxels mirrored at each side"),
    Parameter::path("output_dir", "where predictions go; beside their input if absent"),
    Parameter::section("train", PHASE, "files, patches and transforms of training"),
    Parameter::section("val", PHASE, "files, patches and transforms of validation"),
    Parameter::section("test", PHASE, "files, patches and transforms of prediction"),
];

/// The keys of a phase: `loaders.train`, `loaders.val`, `loaders.test`.
pub const PHASE: &[Parameter] = &[
    Parameter::custom("file_paths", &[Kind::Texts], "files, or directories of HDF5 files"),
    Parameter::entry("slice_builder", &SLICE_BUILDERS, "how patches are cut"),
    Parameter::section("transformer", TRANSFORMER, "what is done to each patch"),
];

/// The typed `loaders` section.
#[derive(Clone, Debug)]
pub struct Loaders<'a> {
    pub section: Section<'a>,
    pub dataset: &'static Entry,
    pub batch_size: usize,
    pub num_workers: usize,
    pub raw: &'a str,
    pub label: &'a str,
    /// `None`: no weight map.
    pub weight: Option<&'a str>,
    /// Voxels mirrored at each side of z, y, x; prediction only.
    pub mirror_padding: [usize; 3],
    pub output_dir: Option<PathBuf>,
}

impl<'a> Loaders<'a> {
    pub fn read(node: &'a Node) -> Result<Self, ConfigError> {
        let (dataset, section) = DATA_SETS.open(node)?;
        let single = |key: &str| -> Result<Option<&'a str>, ConfigError> {
            let names = section.texts(key);
            if names.len() > 1 {
                return Err(section.error(
                    key,
                    "no network here takes several data sets; name one, and stack channels in it",
                ));
            }
            Ok(names.first().copied())
        };
        Ok(Loaders {
            dataset,
            batch_size: section.size("batch_size"),
            num_workers: section.size("num_workers"),
            raw: single("raw_internal_path")?.unwrap_or("raw"),
            label: single("label_internal_path")?.unwrap_or("label"),
            weight: single("weight_internal_path")?,
            mirror_padding: section.per_axis("mirror_padding").map(|voxels| voxels as usize),
            output_dir: section.maybe_path("output_dir"),
            section,
        })
    }

    /// The section of a phase (`train`, `val` or `test`), which must be there.
    pub fn phase(&self, name: &str) -> Result<Section<'a>, ConfigError> {
        match self.section.child(name) {
            Some(node) => node.section(PHASE),
            None => Err(self.section.error(
                name,
                format!("the section `{name}` is missing: which files, which patches?"),
            )),
        }
    }
}

/// A child of a section that must be there.
pub fn required<'a>(section: &Section<'a>, name: &str) -> Result<&'a Node, ConfigError> {
    section.child(name).ok_or_else(|| section.node.error(format!("the key `{name}` is missing")))
}
