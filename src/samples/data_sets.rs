//! The data set classes that `loaders.dataset` chooses from.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::inspection::Counting;
use super::{LOADERS, LabelCheck, Loaders, Phase, SampleSet, images, volumes};
use crate::augment::{SampleShape, Transformer};
use crate::config::{self, Dialects, Parameter, Registry};
use crate::volume::Access;

/// A data set class: its name, its keys and how to open it.
#[derive(Debug)]
pub struct DataSetEntry {
    pub name: &'static str,
    pub meaning: &'static str,
    /// Keys of its own in the section `loaders`.
    pub parameters: &'static [Parameter],
    /// Where the voxels of its files are kept.
    pub access: Access,
    /// Whether samples are patches of volumes, cut by the slice builder of the phase.
    /// Otherwise they are whole images.
    pub has_slice_builder: bool,
    /// Why prediction cannot work with it, and what would; `None` if it can.
    pub refuses_prediction: Option<&'static str>,
    /// Opens a phase (`loaders.train`, `loaders.val`).
    pub open: fn(&Loaders, &Phase, &Opening<'_>) -> Result<Arc<dyn SampleSet>>,
}

/// What opening a phase needs to know of the run.
pub struct Opening<'a> {
    pub seed: u64,
    /// Checks the samples of a file, of which the shapes before the transforms are
    /// given. Returns the labels that the loss can take, if it takes class indices.
    pub check: &'a InputCheck<'a>,
    /// What of labels and weights counts in the loss.
    pub counting: Counting,
}

/// See [`Opening::check`].
pub type InputCheck<'a> =
    dyn Fn(&Transformer, &Path, SampleShape) -> Result<Option<LabelCheck>> + 'a;

impl Opening<'_> {
    /// Checks the samples of all files of a phase.
    pub(super) fn check_all<'p>(
        &self,
        transformer: &Transformer,
        inputs: impl Iterator<Item = (&'p Path, SampleShape)>,
    ) -> Result<Option<LabelCheck>> {
        let mut labels = None;
        for (path, shape) in inputs {
            labels = (self.check)(transformer, path, shape)?;
        }
        Ok(labels)
    }
}

impl config::Entry for DataSetEntry {
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

/// All data set classes.
pub static DATA_SETS: Dialects<Registry<DataSetEntry>> = Dialects {
    fork: registry(&[&volumes::STANDARD, &volumes::LAZY, &images::ENTRY], LOADERS.fork),
    upstream: registry(&[&volumes::STANDARD, &volumes::LAZY, &images::UPSTREAM], LOADERS.upstream),
};

const fn registry(
    entries: &'static [&'static DataSetEntry],
    shared: &'static [Parameter],
) -> Registry<DataSetEntry> {
    let name = Parameter::text(
        "dataset",
        "StandardHDF5Dataset",
        "files in memory, read on demand, or 2D images",
    );
    Registry { kind: "data set class", name, entries, shared, refused: &[] }
}
