//! The `loaders` section: what all phases have in common.

use std::path::PathBuf;
use std::sync::Arc;

use super::slices::{self, SLICE_BUILDERS, SliceBuilder};
use super::{DATA_SETS, DataSetEntry, file_paths};
use crate::augment::{TRANSFORMER, Transformer};
use crate::config::{ConfigError, Kind, Node, Parameter, Section};

/// The keys of the `loaders` section that all data set classes take.
pub const LOADERS: &[Parameter] = &[
    Parameter::integer("batch_size", 1, "samples of a batch").within(1.0, 65536.0),
    Parameter::integer("num_workers", 1, "threads that prepare samples").within(0.0, 1024.0),
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
pub struct Loaders {
    node: Node,
    pub dataset: &'static DataSetEntry,
    pub batch_size: usize,
    pub num_workers: usize,
    /// Names of the data sets within each file.
    pub raw: String,
    pub label: String,
    /// `None`: no weight map.
    pub weight: Option<String>,
    /// Voxels mirrored at each side of z, y, x; prediction only.
    pub mirror_padding: [usize; 3],
    pub output_dir: Option<PathBuf>,
}

/// A phase of training (`loaders.train`, `loaders.val`), before any file is opened.
pub struct Phase {
    pub name: &'static str,
    pub transformer: Arc<Transformer>,
    /// How patches are cut; `None` if samples are whole images.
    pub patches: Option<Patches>,
    /// Sections and keys, for the places of errors.
    pub node: Node,
    pub file_paths: Node,
    pub transforms: Node,
}

/// How patches are cut from volumes.
pub struct Patches {
    pub builder: Arc<dyn SliceBuilder>,
    /// The `slice_builder` section, for the places of errors.
    pub node: Node,
}

impl Loaders {
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let (dataset, section) = DATA_SETS.open(node)?;
        let single = |key: &str| -> Result<Option<String>, ConfigError> {
            let names = section.texts(key);
            if names.len() > 1 {
                return Err(section.error(
                    key,
                    "no network here takes several data sets; name one, and stack channels in it",
                ));
            }
            Ok(names.first().map(|name| name.to_string()))
        };
        Ok(Loaders {
            node: node.clone(),
            dataset,
            batch_size: section.size("batch_size"),
            num_workers: section.size("num_workers"),
            raw: single("raw_internal_path")?.unwrap_or_else(|| "raw".into()),
            label: single("label_internal_path")?.unwrap_or_else(|| "label".into()),
            weight: single("weight_internal_path")?,
            mirror_padding: section.per_axis("mirror_padding").map(|voxels| voxels as usize),
            output_dir: section.maybe_path("output_dir"),
        })
    }

    /// An error at a key of the section, or at the section if the key is absent.
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.node.error_at(key, message)
    }

    /// The section of a phase (`train`, `val` or `test`), which must be there.
    pub fn phase(&self, name: &str) -> Result<Section<'_>, ConfigError> {
        match self.node.get(name) {
            Some(node) => node.section(PHASE),
            None => Err(self.error(
                name,
                format!("the section `{name}` is missing: which files, which patches?"),
            )),
        }
    }

    /// The phase `train` or `val`, with its transforms and its slice builder.
    ///
    /// # Errors
    /// Missing keys, impossible values, and a slice builder that needs a weight map
    /// where none is loaded.
    pub fn training_phase(&self, name: &'static str) -> Result<Phase, ConfigError> {
        let section = self.phase(name)?;
        let file_paths = section.required("file_paths")?.clone();
        let transforms = section.required("transformer")?.clone();
        let patches = match self.dataset.has_slice_builder {
            true => Some(self.patches(section.required("slice_builder")?)?),
            false => None,
        };
        Ok(Phase {
            name,
            transformer: Arc::new(Transformer::read(&transforms)?),
            patches,
            node: section.node.clone(),
            file_paths,
            transforms,
        })
    }

    fn patches(&self, node: &Node) -> Result<Patches, ConfigError> {
        let builder: Arc<dyn SliceBuilder> = slices::read(node)?.into();
        if builder.needs_weight() && self.weight.is_none() {
            return Err(node.error(
                "draws patches by a weight map, and none is loaded: set \
                 `loaders.weight_internal_path`",
            ));
        }
        Ok(Patches { builder, node: node.clone() })
    }
}

impl Phase {
    /// The files that `file_paths` stands for.
    ///
    /// # Errors
    /// Files that do not exist, folders without files of a known format.
    pub fn paths(&self) -> Result<Vec<PathBuf>, ConfigError> {
        file_paths(&self.file_paths)
    }
}
