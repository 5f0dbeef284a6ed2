//! Archives that torch makes under file names of every length, and the smallest
//! one that the `zip` crate cannot read by itself.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use unet3d::checkpoint::{File, PickleValue, TensorData, read_model_state, write};

use crate::format::{fixtures, python};

/// Checks that the file holds `count` tensors `t0`, `t1`, … of the value of
/// their number.
fn is_whole(path: &Path, count: usize) {
    let state = read_model_state(path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(state.len(), count, "{}", path.display());
    for (number, (name, data)) in state.iter().enumerate() {
        assert_eq!(*name, format!("t{number}"));
        assert_eq!(*data, TensorData::from_f32(vec![1], &[number as f32]), "{name}");
    }
}

#[test]
fn stems_of_every_length_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(python())
        .arg(fixtures().join("make_archives.py"))
        .arg(folder.path())
        .output()
        .expect("Python with torch: set UNET3D_PYTHON or make .venv");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |kind: &str, stem: &str| folder.path().join(kind).join(format!("{stem}.pytorch"));
    for length in 1..=100 {
        let stem = "x".repeat(length);
        is_whole(&file("small", &stem), 1);
        is_whole(&file("large", &stem), 1000);
    }
    is_whole(&file("small", "größe_von_0123456789"), 1);
    is_whole(&file("many", &"x".repeat(21)), 66_000);
}

#[test]
fn files_written_here_are_read_under_names_of_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = PickleValue::Tensor(TensorData::from_f32(vec![1], &[0.0]).into());
    let root = PickleValue::dict([("model_state_dict", PickleValue::dict([("t0", tensor)]))]);
    for length in 1..=100 {
        let path = folder.path().join(format!("{}.pytorch", "x".repeat(length)));
        write(&path, &root).unwrap();
        is_whole(&path, 1);
    }
}

/// 314 bytes: `data.pkl` in a folder whose name has 21 bytes, one more entry and
/// a zip64 record that is not needed. Python's `zipfile` and `unzip` read it.
fn smallest() -> Vec<u8> {
    let short = |out: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    };
    let int = |out: &mut Vec<u8>, values: &[u32]| {
        values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    };
    let long = |out: &mut Vec<u8>, values: &[u64]| {
        values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    };
    // Name, contents, checksum. The pickle is of None.
    let entries: [(&[u8], &[u8], u32); 2] =
        [(b"xxxxxxxxxxxxxxxxxxxxx/data.pkl", b"N.", 0xf3f5_7dbb), (b"y", b"", 0)];
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, contents, checksum) in entries {
        let start = archive.len() as u32;
        let sizes = [checksum, contents.len() as u32, contents.len() as u32];
        archive.extend(b"PK\x03\x04");
        short(&mut archive, &[20, 0, 0, 0, 0]);
        int(&mut archive, &sizes);
        short(&mut archive, &[name.len() as u16, 0]);
        archive.extend(name);
        archive.extend(contents);
        directory.extend(b"PK\x01\x02");
        short(&mut directory, &[20, 20, 0, 0, 0, 0]);
        int(&mut directory, &sizes);
        short(&mut directory, &[name.len() as u16, 0, 0, 0, 0]);
        int(&mut directory, &[0, start]);
        directory.extend(name);
    }
    let (start, size) = (archive.len() as u32, directory.len() as u32);
    archive.extend(directory);
    let record = archive.len() as u64;
    archive.extend(b"PK\x06\x06");
    long(&mut archive, &[44]);
    short(&mut archive, &[45, 45]);
    int(&mut archive, &[0, 0]);
    long(&mut archive, &[2, 2, size.into(), start.into()]);
    archive.extend(b"PK\x06\x07");
    int(&mut archive, &[0]);
    long(&mut archive, &[record]);
    int(&mut archive, &[1]);
    archive.extend(b"PK\x05\x06");
    short(&mut archive, &[0, 0, 2, 2]);
    int(&mut archive, &[size, start]);
    short(&mut archive, &[0]);
    archive
}

#[test]
fn a_zip64_record_as_long_as_the_first_header_is_no_damage() {
    let bytes = smallest();
    assert_eq!(bytes.len(), 314);
    let file = File::from_reader(Path::new("smallest"), Cursor::new(bytes)).unwrap();
    assert!(matches!(file.root, PickleValue::None));
}
