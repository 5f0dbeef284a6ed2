//! Files of every format with a byte changed or their end missing: an error or other
//! values, never a panic, a hang or memory without bound.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::support::fixture;
use unet3d::format;

/// Small files of each format, and for stores the file within them that is damaged.
const FILES: [(&str, &str); 11] = [
    ("types/uint16.nrrd", ""),
    ("types/int16.mha", ""),
    ("types/float32.nii", ""),
    ("types/uint16.tif", ""),
    ("types/uint16.zarr", "zarr.json"),
    ("types/uint16.zarr", "c/0/0/0"),
    ("types/uint16_2.zarr", ".zarray"),
    ("v05.zarr", "zarr.json"),
    ("two.ome.tif", ""),
    ("imagej.tif", ""),
    ("second.nii", ""),
];

/// Bytes of the beginning of a file, where headers are, that are all changed; beyond it
/// every 61st is.
const HEADER: usize = 700;

/// Reads a volume whole and in part, and panics if that panics.
fn read(path: &Path, what: &str) {
    let result = catch_unwind(|| {
        let Ok(reader) = format::open(path, "raw") else { return };
        let _ = reader.calibration();
        if reader.bytes() < 64 << 20 {
            let _ = reader.read();
        }
    });
    assert!(result.is_ok(), "{what}");
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn damaged_files_are_errors_or_other_values() {
    let folder = tempfile::tempdir().unwrap();
    for (name, inner) in FILES {
        let file = folder.path().join(Path::new(name).file_name().unwrap());
        copy(&fixture("formats").join(name), &file);
        let damaged: PathBuf = if inner.is_empty() { file.clone() } else { file.join(inner) };
        let bytes = fs::read(&damaged).unwrap();
        let places = (0..bytes.len()).filter(|at| *at < HEADER || at % 61 == 0);
        for at in places {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                fs::write(&damaged, &changed).unwrap();
                read(&file, &format!("{name} {inner} byte {at} ^ {change:#x}"));
            }
            fs::write(&damaged, &bytes[..at]).unwrap();
            read(&file, &format!("{name} {inner} cut after {at}"));
        }
        if file.is_dir() {
            fs::remove_dir_all(&file).unwrap()
        } else {
            fs::remove_file(&file).unwrap()
        }
    }
}
