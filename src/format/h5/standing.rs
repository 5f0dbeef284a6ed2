//! Whether a file is one that a command wrote, and still is as it was written.

use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Result, ensure};
use hdf5::LocationType;
use hdf5::filters::Filter;

use super::checksum::{Checksum, bytes_of};
use super::file::OutOfReach;
use super::{CHANNELS, CHECKSUM, DIRECTIONS, ELEMENT_SIZE, H5File, ORIGIN, SCALE};
use crate::ffi;
use crate::format::standing::mentions;
use crate::format::{MADE_BY, Mark, Standing};
use crate::volume::{Element, VolumeFile, VolumeReader};

/// What stands under the path of a file, for the command whose mark it is.
pub fn standing(path: &Path, mark: &Mark<'_>) -> Standing {
    let file = match H5File::open(path) {
        Ok(file) => file,
        Err(error) if error.is::<OutOfReach>() => {
            return Standing::Foreign(format!("it is not known what is in it: {error:#}"));
        }
        // Cut off or overwritten, but begun by this command.
        Err(error) if mentions(path, mark.made_by) => {
            return Standing::Damaged(format!("{error:#}"));
        }
        Err(_) => return Standing::Foreign(format!("exists and {}", mark.otherwise)),
    };
    let has = |name: &&str| file.attribute(name).ok().flatten().is_some();
    let marked = match file.attribute(MADE_BY) {
        Ok(Some(found)) => found == mark.made_by,
        _ => !mark.earlier.is_empty() && mark.earlier.iter().all(has),
    };
    if !marked {
        return Standing::Foreign(format!("exists and {}", mark.otherwise));
    }
    let names = match strangers(&file, mark) {
        Ok((_, Some(stranger))) => {
            return Standing::Changed(format!("{stranger} was added to it"));
        }
        Ok((names, None)) => names,
        Err(error) => return Standing::Damaged(format!("{error:#}")),
    };
    let Ok(Some(noted)) = file.attribute(CHECKSUM) else { return Standing::Unverified };
    let (hdf5, plain) = (&file.handles().hdf5, &file.handles().plain.file);
    match Checksum::of(hdf5, &|address, size| bytes_of(plain, address, size), &names) {
        Ok(found) if found.text() == noted => Standing::Whole,
        // What can no longer be read nobody has corrected.
        _ => match names.iter().try_for_each(|name| read_through(&file, name)) {
            Ok(()) => Standing::Changed("its voxels were written anew".into()),
            Err(error) if is_damage(&error) => Standing::Damaged(format!("{error:#}")),
            // Stored by filters or as types that are not read, or not to be read now.
            Err(error) => Standing::Changed(format!("{error:#}")),
        },
    }
}

/// Whether what is in the file, and neither the system nor a person, is the cause.
fn is_damage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref::<io::Error>() {
        Some(error) => error.kind() == ErrorKind::UnexpectedEof,
        None => cause.is::<hdf5::Error>() || cause.to_string().contains("the file is damaged"),
    })
}

/// The names of the data sets, and the first thing in the file that the command does
/// not write.
fn strangers(file: &H5File, mark: &Mark<'_>) -> Result<(Vec<String>, Option<String>)> {
    let hdf5 = &file.handles().hdf5;
    let names = hdf5.member_names()?;
    let known = [MADE_BY, CHECKSUM];
    for name in hdf5.attr_names()? {
        if !mark.attributes.contains(&name.as_str()) && !known.contains(&name.as_str()) {
            return Ok((names, Some(format!("the attribute `{name}`"))));
        }
    }
    for name in &names {
        let linked = ffi::hdf5::external_link(hdf5, name).is_some();
        let ours = mark.volumes.contains(&name.as_str()) && !linked;
        if !ours || hdf5.loc_type_by_name(name)? != LocationType::Dataset {
            return Ok((names.clone(), Some(format!("`{name}`"))));
        }
        for attribute in hdf5.dataset(name)?.attr_names()? {
            if ![SCALE, ELEMENT_SIZE, ORIGIN, DIRECTIONS, CHANNELS].contains(&attribute.as_str()) {
                let stranger = format!("the attribute `{attribute}` of `{name}`");
                return Ok((names, Some(stranger)));
            }
        }
    }
    Ok((names, None))
}

/// Decodes every voxel.
fn read_through(file: &H5File, name: &str) -> Result<()> {
    let volume = file.dataset(name)?;
    for (channels, window) in volume.tiles(32 << 20) {
        volume.read_part(channels, &window, 1)?;
    }
    Ok(())
}

/// Whether a file holds data sets (H, W) of these names, compressed by gzip, and nothing
/// else whatever: no other data set, group or attribute.
pub fn holds_only_planes(path: &Path, names: &[&str]) -> bool {
    let look = || -> Result<()> {
        let file = H5File::open(path)?;
        let hdf5 = &file.handles().hdf5;
        let found = hdf5.member_names()?;
        ensure!(found.len() == names.len() && found.iter().all(|name| names.contains(&&**name)));
        ensure!(hdf5.attr_names()?.is_empty());
        for name in names {
            let dataset = hdf5.dataset(name)?;
            ensure!(dataset.filename() == hdf5.filename() && dataset.ndim() == 2);
            ensure!(dataset.attr_names()?.is_empty() && is_gzipped(&dataset));
        }
        Ok(())
    };
    look().is_ok()
}

fn is_gzipped(dataset: &hdf5::Dataset) -> bool {
    dataset.filters().iter().any(|filter| matches!(filter, Filter::Deflate(_)))
}

/// Whether a file holds a data set (C, D, H, W) of float32 of that name, compressed by
/// gzip, and nothing else whatever: no other data set, group or attribute.
pub fn holds_only_gzipped(path: &Path, name: &str) -> bool {
    let look = || -> Result<()> {
        let file = H5File::open(path)?;
        let hdf5 = &file.handles().hdf5;
        ensure!(hdf5.member_names()? == [name] && hdf5.attr_names()?.is_empty());
        let volume = file.dataset(name)?;
        ensure!(volume.has_channels() && volume.element() == Element::F32);
        let dataset = hdf5.dataset(name)?;
        // No link to another file.
        ensure!(dataset.filename() == hdf5.filename());
        ensure!(dataset.dtype()?.size() == 4 && dataset.attr_names()?.is_empty());
        ensure!(is_gzipped(&dataset));
        Ok(())
    };
    look().is_ok()
}
