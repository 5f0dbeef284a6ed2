//! Zarr stores of the versions 2 and 3, plain or OME-Zarr, read chunk by chunk.
//!
//! Chunks are coded by the crate `zarrs`. The metadata of OME-Zarr are read here, of
//! all versions and with less rigour than `ome_zarr_metadata` has: what a reader does not
//! need may be missing.

mod cache;
mod image;
mod level;
mod metadata;
mod reader;
mod shared;
mod standing;
mod store;
mod version;
mod writer;

use std::path::Path;

use super::{Format, SharedStores};

pub(super) static ENTRY: Format = Format {
    name: "Zarr",
    meaning: "OME-Zarr images (0.1 to 0.5, their largest level) and plain arrays, Zarr 2 and 3",
    extensions: &["zarr", "ome.zarr"],
    in_directories: true,
    recognises: |_| false,
    is_store: metadata::is_node,
    open: |path, options| Ok(Box::new(store::ZarrStore::open(path, options)?)),
    create: Some(writer::create),
    create_blocks: Some(writer::create_blocks),
    shared: Some(SharedStores { create: shared::create_shared, forget: shared::forget }),
    holds: |_| true,
    most_volumes: usize::MAX,
    standing: standing::standing,
};

/// The directory of the store that a path leads into, and the path within it: the
/// outermost one that is a node.
pub(super) fn root(path: &Path) -> Option<&Path> {
    path.ancestors().take_while(|place| metadata::is_node(place)).last()
}
