//! Files of formats that hold one volume, which has no name.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::volume::{VolumeFile, VolumeReader};

/// A file with one volume.
#[derive(Debug)]
pub(super) struct SingleVolume(pub Arc<dyn VolumeReader>);

impl SingleVolume {
    pub fn boxed(reader: impl VolumeReader + 'static) -> Box<dyn VolumeFile> {
        Box::new(SingleVolume(Arc::new(reader)))
    }
}

impl VolumeFile for SingleVolume {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn volume(&self, _name: &str) -> Result<Arc<dyn VolumeReader>> {
        Ok(self.0.clone())
    }
}
