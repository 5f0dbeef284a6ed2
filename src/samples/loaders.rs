//! The `loaders` section: what all phases have in common.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::{ENTRY, FilePaths, SampleFiles};
use super::slices::{self, SLICE_BUILDERS, SliceBuilder};
use super::{DATA_SETS, DataSetEntry};
use crate::augment::{StatisticsOf, TRANSFORMER, Transformer};
use crate::config::{ConfigError, Dialects, Kind, Node, Parameter, Section};

/// The keys of the `loaders` section that all data set classes take.
pub const LOADERS: Dialects<&[Parameter]> = Dialects {
    fork: &[
        BATCH_SIZE,
        NUM_WORKERS,
        RAW,
        LABEL,
        Parameter::texts("weight_internal_path", "", "data set of the weight map, none if absent")
            .optional(),
        Parameter::per_axis(
            "mirror_padding",
            &[0, 0, 0],
            "prediction: voxels mirrored at each side",
        ),
        VOXEL_SIZE,
        OUTPUT_DIR,
        Parameter::section("train", PHASE.fork, "files, patches and transforms of training"),
        Parameter::section("val", PHASE.fork, "files, patches and transforms of validation"),
        Parameter::section("test", PHASE.fork, "files, patches and transforms of prediction"),
    ],
    upstream: &[
        BATCH_SIZE,
        NUM_WORKERS,
        RAW,
        LABEL,
        Parameter::flag(
            "global_normalization",
            false,
            "mean and deviation of the whole file for `Standardize` and `RandomContrast`, not of \
             the patch",
        ),
        Parameter::integer(
            "random_scale",
            1,
            "training and validation: each side of a patch moves by less than so many voxels, and \
             the patch is scaled back to its size; no more than any stride",
        )
        .at_least(1.0)
        .optional(),
        Parameter::probability(
            "random_scale_probability",
            0.5,
            "how often `random_scale` leaves a patch as it is",
        ),
        VOXEL_SIZE,
        OUTPUT_DIR,
        Parameter::section("train", PHASE.upstream, "files, patches and transforms of training"),
        Parameter::section("val", PHASE.upstream, "files, patches and transforms of validation"),
        Parameter::section("test", PHASE.upstream, "files, patches and transforms of prediction"),
    ],
};

const BATCH_SIZE: Parameter =
    Parameter::integer("batch_size", 1, "samples of a batch").within(1.0, 65536.0);
const NUM_WORKERS: Parameter =
    Parameter::integer("num_workers", 1, "threads that prepare samples").within(0.0, 1024.0);
const RAW: Parameter = Parameter::texts("raw_internal_path", "raw", "data set of the raw data");
const LABEL: Parameter = Parameter::texts("label_internal_path", "label", "data set of the labels");
const VOXEL_SIZE: Parameter = Parameter::numbers(
    "voxel_size",
    &[],
    "size of a voxel along z, y and x in micrometres, to which volumes are resampled as they are \
     read; predictions have the voxels of their input again",
)
.of_length(3)
.at_least(f64::MIN_POSITIVE)
.optional();
const OUTPUT_DIR: Parameter =
    Parameter::path("output_dir", "where predictions go; beside their input if absent");

/// The keys of a phase: `loaders.train`, `loaders.val`, `loaders.test`.
pub const PHASE: Dialects<&[Parameter]> = Dialects {
    fork: &[
        FILE_PATHS,
        LABEL_PATHS,
        WEIGHT_PATHS,
        AXES,
        Parameter::entry("slice_builder", &SLICE_BUILDERS.fork, "how patches are cut"),
        Parameter::section("transformer", TRANSFORMER.fork, "what is done to each patch"),
    ],
    upstream: &[
        FILE_PATHS,
        LABEL_PATHS,
        AXES,
        Parameter::entry("slice_builder", &SLICE_BUILDERS.upstream, "how patches are cut"),
        Parameter::section("transformer", TRANSFORMER.upstream, "what is done to each patch"),
    ],
};

const FILE_PATHS: Parameter = Parameter::custom(
    "file_paths",
    &[Kind::Text, Kind::Items(&[Kind::Text, Kind::Section(ENTRY)])],
    "files, patterns such as `images/*.tif`, directories of files, or `{raw: …, label: …, weight: \
     …}` for volumes in files of their own",
);
const LABEL_PATHS: Parameter = Parameter::texts(
    "label_paths",
    "",
    "files of the labels, one for each of `file_paths`, paired by names; in the same files if \
     absent",
)
.optional();
const WEIGHT_PATHS: Parameter = Parameter::texts(
    "weight_paths",
    "",
    "files of the weight maps, as `label_paths`; in the same files if absent",
)
.optional();

const AXES: Parameter = Parameter::text(
    "axes",
    "",
    "what the axes of the raw files are, the slowest first, as in `zyx` or `czyx`, in place of \
     what TIFF, Zarr, NRRD, NIfTI and MetaImage files say; `:axes=zyx` at the end of a path goes first",
)
.optional();

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
    /// Whose mean and deviation normalize a patch.
    pub statistics: StatisticsOf,
    /// Random changes of the size of training patches.
    pub random_scale: Option<RandomScale>,
    /// Size of a voxel along z, y, x in micrometres to which volumes are brought.
    pub voxel_size: Option<[f64; 3]>,
    pub output_dir: Option<PathBuf>,
}

/// See the keys `random_scale` and `random_scale_probability`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomScale {
    /// One more than the voxels by which a side moves at most.
    pub range: usize,
    /// How often nothing changes.
    pub spared: f64,
}

/// A phase of training (`loaders.train`, `loaders.val`), before any file is opened.
pub struct Phase {
    pub name: &'static str,
    pub transformer: Arc<Transformer>,
    /// How patches are cut; `None` if samples are whole images.
    pub patches: Option<Patches>,
    /// Sections and keys, for the places of errors.
    pub node: Node,
    pub file_paths: FilePaths,
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
            weight: match section.knows("weight_internal_path") {
                // Files of weight maps need no name where their format has none.
                true => single("weight_internal_path")?
                    .or_else(|| gives_weight_files(node).then(|| "weight".into())),
                false => None,
            },
            mirror_padding: match section.knows("mirror_padding") {
                true => section.per_axis("mirror_padding").map(|voxels| voxels as usize),
                false => [0; 3],
            },
            statistics: match section.knows("global_normalization") {
                true if !section.flag("global_normalization") => StatisticsOf::Patch,
                _ => StatisticsOf::File,
            },
            random_scale: match section.knows("random_scale") {
                true => section.maybe_size("random_scale").map(|range| RandomScale {
                    range,
                    spared: section.number("random_scale_probability"),
                }),
                false => None,
            },
            voxel_size: match section.maybe_numbers("voxel_size") {
                Some(_) if !dataset.has_slice_builder => {
                    return Err(
                        section.error("voxel_size", "images have no size of voxels; leave it out")
                    );
                }
                size => size.and_then(|size| size.try_into().ok()),
            },
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
            Some(node) => node.section(*PHASE.of(node.dialect())),
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
        let file_paths = FilePaths::read(&section)?;
        let transforms = section.required("transformer")?.clone();
        let patches = match self.dataset.has_slice_builder {
            true => Some(self.patches(section.required("slice_builder")?)?),
            false => None,
        };
        Ok(Phase {
            name,
            transformer: Arc::new(
                Transformer::read(&transforms)?.with_statistics(self.statistics)?,
            ),
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
        if let (Some(scale), Some(grid)) = (self.random_scale, builder.grid())
            && grid.stride.iter().any(|stride| *stride < scale.range)
        {
            return Err(self.error(
                "random_scale",
                format!("{} must be no more than any stride, {:?}", scale.range, grid.stride),
            ));
        }
        Ok(Patches { builder, node: node.clone() })
    }
}

/// Whether a phase of training names files of weight maps.
fn gives_weight_files(loaders: &Node) -> bool {
    ["train", "val"].iter().filter_map(|phase| loaders.get(phase)).any(|phase| {
        let entries = phase.get("file_paths").and_then(|paths| paths.items().ok()).unwrap_or(&[]);
        phase.get("weight_paths").is_some()
            || entries.iter().any(|entry| entry.get("weight").is_some())
    })
}

impl Phase {
    /// The files that `file_paths` stands for, with those of labels and weights.
    ///
    /// # Errors
    /// Files that do not exist, folders without files of a known format, files without
    /// partners.
    pub fn files(&self) -> Result<Vec<SampleFiles>, ConfigError> {
        self.file_paths.all()
    }
}
