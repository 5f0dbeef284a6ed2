//! What a checkpoint tells of its training to those who use the network.

use std::path::Path;

use crate::checkpoint::{CheckpointError, File, PickleValue};
use crate::config::Node;
use crate::samples::RawSummary;

use super::earlier::Configuration;
use super::record::RunRecord;

/// What a checkpoint tells of its training.
#[derive(Debug)]
pub struct Told {
    configuration: Configuration,
    /// What the raw data of training are like; `None` for files of earlier versions.
    pub data: Option<RawSummary>,
}

impl Told {
    /// Reads what a checkpoint tells; no weights are read. `None` for files of the Python
    /// program and for weights alone, which tell nothing.
    ///
    /// # Errors
    /// A file that is no checkpoint.
    pub fn by(path: &Path) -> Result<Option<Told>, CheckpointError> {
        let root = File::open(path)?.root;
        let Some(own) = root.get("unet3d") else { return Ok(None) };
        let json = own.get("config").and_then(PickleValue::as_str);
        let configuration = json.and_then(Configuration::parse);
        let data = RunRecord::data(own);
        Ok(configuration.map(|configuration| Told { configuration, data }))
    }

    /// The configuration of the training.
    pub fn configuration(&self) -> &Node {
        &self.configuration.root
    }

    /// What the network of another configuration, with `root` at its top, differs in, as
    /// `key was that and is this`; `None` if nothing, or if the two cannot be compared.
    pub fn network_changes(&self, root: &Node) -> Option<String> {
        Configuration { root: root.clone() }.network_changes(&self.configuration)
    }
}
