//! Whether a store is one that a command wrote, and still is as it was written.

use std::path::Path;

use crate::format::axes::ReadOptions;
use crate::format::standing::read_through;
use crate::format::{MADE_BY, Mark, Standing};
use crate::volume::VolumeFile;

use super::image::CHECKSUM;
use super::store::ZarrStore;
use super::writer::checksum;

/// What stands under a path that is a directory.
pub(super) fn standing(path: &Path, mark: &Mark<'_>) -> Standing {
    let foreign = || Standing::Foreign(format!("exists and {}", mark.otherwise));
    let Ok(store) = ZarrStore::open(path, &ReadOptions::default()) else { return foreign() };
    let text = |name: &str| store.attribute(name).ok().flatten();
    if text(MADE_BY).as_deref() != Some(mark.made_by) {
        return foreign();
    }
    let Some(noted) = text(CHECKSUM) else { return Standing::Unverified };
    match checksum(path, &noted) {
        Ok(found) if found == noted => Standing::Whole,
        found => {
            let names = mark.volumes.iter().filter(|name| store.has(name));
            let read = names
                .map(|name| store.volume(name).and_then(|volume| read_through(&*volume)))
                .collect::<anyhow::Result<Vec<()>>>();
            match (found, read) {
                // What can no longer be read nobody has corrected.
                (_, Err(error)) | (Err(error), _) => Standing::Damaged(format!("{error:#}")),
                _ => Standing::Changed(
                    "files were added to it, removed from it or written anew".into(),
                ),
            }
        }
    }
}
