//! Filters that a data set was written with and this build of HDF5 does not have.

use anyhow::{Result, bail};
use hdf5::filters::Filter;

/// Names of filters by their number in the registry of the HDF Group
/// (<https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md>).
const REGISTERED: &[(i32, &str)] = &[
    (4, "SZIP"),
    (305, "LZO"),
    (307, "bzip2"),
    (32000, "LZF"),
    (32001, "Blosc"),
    (32004, "LZ4"),
    (32008, "bitshuffle"),
    (32013, "ZFP"),
    (32015, "Zstandard"),
    (32017, "SZ"),
    (32019, "FCIDECOMP"),
    (32022, "B³D"),
    (32023, "BitGroom"),
    (32024, "SZ3"),
    (32026, "Blosc2"),
    (32028, "H5J"),
];

/// An error that names the first filter that cannot be undone.
pub(super) fn check(filters: &[Filter], name: &str) -> Result<()> {
    let Some(filter) = filters.iter().find(|filter| !filter.is_available()) else { return Ok(()) };
    let id = filter.id();
    let known = REGISTERED.iter().find(|(number, _)| *number == id).map(|(_, name)| *name);
    bail!(
        "the data set `{name}` was written with the filter {} (number {id}), which is not built in: \
         write it anew with gzip, as `h5repack -f GZIP=4 IN OUT` does, or set HDF5_PLUGIN_PATH to \
         the folder of the filter's plugin",
        known.unwrap_or("without a registered name")
    )
}
