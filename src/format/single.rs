//! Files of formats that hold one volume, which has no name.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::volume::{VolumeFile, VolumeReader};

/// A file with one volume and texts that belong to it.
#[derive(Debug)]
pub(super) struct SingleVolume {
    reader: Arc<dyn VolumeReader>,
    attributes: Attributes,
}

/// Texts by their names.
pub(super) type Attributes = HashMap<String, String>;

impl SingleVolume {
    pub fn boxed(
        reader: impl VolumeReader + 'static,
        attributes: Attributes,
    ) -> Box<dyn VolumeFile> {
        Box::new(SingleVolume { reader: Arc::new(reader), attributes })
    }
}

impl VolumeFile for SingleVolume {
    fn path(&self) -> &Path {
        self.reader.path()
    }

    fn volume(&self, _name: &str) -> Result<Arc<dyn VolumeReader>> {
        Ok(self.reader.clone())
    }

    fn attribute(&self, name: &str) -> Result<Option<String>> {
        Ok(self.attributes.get(name).cloned())
    }
}
