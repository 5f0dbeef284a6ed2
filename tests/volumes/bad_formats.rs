//! Files of the readable formats that are damaged, impossible or of a kind that is not
//! read: one error each, which names the file and what helps. The files are those of
//! `tests/fixtures/make_formats.py` with a part of them replaced.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::lab::Lab;
use crate::support::program::with_flags;
use crate::support::{copy, fixture};
use unet3d::format;
use unet3d::volume::Volume;

/// A copy of a file or store in a folder of its own. Data that lie beside a header come
/// along.
fn copied(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture("formats").join(name);
    let to = folder.path().join(from.file_name().unwrap());
    copy(&from, &to);
    let beside = from.with_extension("raw");
    if beside.is_file() {
        fs::copy(&beside, to.with_extension("raw")).unwrap();
    }
    (folder, to)
}

/// Replaces all places of some bytes, of which there must be one.
fn replace(file: &Path, from: &[u8], to: &[u8]) {
    let bytes = fs::read(file).unwrap();
    let mut changed = Vec::new();
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(from) {
            changed.extend(to);
            at += from.len();
            count += 1;
        } else {
            changed.push(bytes[at]);
            at += 1;
        }
    }
    assert!(count > 0, "{}: {}", file.display(), String::from_utf8_lossy(from));
    fs::write(file, changed).unwrap();
}

fn read(path: &Path) -> anyhow::Result<Volume> {
    format::open(path, "raw")?.read()
}

/// Checks that a file is refused with all the words and its own name.
fn refused(path: &Path, words: &[&str], case: &str) {
    let message = match read(path) {
        Ok(_) => panic!("{case} is read"),
        Err(error) => format!("{error:#}"),
    };
    let name = path.file_name().unwrap().to_str().unwrap();
    for word in words.iter().chain(&[name]) {
        assert!(message.contains(word), "{case}: '{word}' is not in: {message}");
    }
}

/// A file, the file within it that is changed (of stores), what is replaced by what, and
/// words of the message.
type Case = (&'static str, &'static str, &'static [u8], &'static [u8], &'static [&'static str]);

const CASES: &[Case] = &[
    // Voxel sizes.
    ("plain.nhdr", "", b"(0.10000000000000001,0,0)", b"(0,0,0)", &["voxel size", "above 0"]),
    ("v.mhd", "", b"0.54000000000000004", b"-0.54", &["voxel size", "-0.54"]),
    ("v.ome.tif", "", b"PhysicalSizeX=\"0.1\"", b"PhysicalSizeX=\"0.0\"", &["voxel size"]),
    ("v.ome.tif", "", b"PhysicalSizeZ=\"0.54\"", b"PhysicalSizeZ=\"-.54\"", &["voxel size"]),
    ("v05.zarr", "zarr.json", b"0.54", b"0.0", &["voxel size"]),
    ("v04.zarr", ".zattrs", b"0.2", b"-0.2", &["voxel size"]),
    // Axes that are not at right angles.
    ("plain.nhdr", "", b"(0,0.20000000000000001,0)", b"(0.1,0.2,0)", &["right angles", "resample"]),
    ("v.mhd", "", b"1 0 0 0 1 0 0 0 1", b"1 0 0 0.6 0.8 0 0 0 1", &["right angles"]),
    // Codecs and encodings.
    ("plain3.zarr", "zarr.json", b"\"zstd\"", b"\"lz4\"", &["lz4", "blosc, zstd, gzip or none"]),
    ("types/uint16_2.zarr", ".zarray", b"\"zstd\"", b"\"bz2\"", &["bz2", "blosc, zstd, gzip"]),
    ("plain.nhdr", "", b"encoding: raw", b"encoding: bzip2", &["save it as raw or gzip"]),
    (
        "plain.nhdr",
        "",
        b"endian: little\nencoding: raw",
        b"encoding: ascii",
        &["save it as raw or gzip"],
    ),
    ("plain.nhdr", "", b"endian: little", b"endian: middle", &["`endian` is middle"]),
    ("plain.nhdr", "", b"plain.raw", b"LIST\na.raw\nb.raw", &["several files", "as one file"]),
    // Compression of TIFF: tag 259, one number of 16 bits, 1 for none becomes LZMA.
    (
        "v.tif",
        "",
        b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00",
        b"\x03\x01\x03\x00\x01\x00\x00\x00\x6d\x88",
        &["compression", "34925", "deflate, LZW"],
    ),
    // Chunks that are not as large as is said.
    ("plain3.zarr", "zarr.json", b"23\n      ]", b"24\n      ]", &["chunk [0, 0, 0]", "damaged"]),
    (
        "v05.zarr",
        "s0/zarr.json",
        b"\"name\": \"sharding_indexed\"",
        b"\"name\": \"sharding\"",
        &["sharding"],
    ),
    // Pyramids.
    ("v04.zarr", ".zattrs", b"\"s1\"", b"\"s9\"", &["level `s9`", "v.zarr/0"]),
    ("v04.zarr", "s1/.zarray", b"7,", b"8,", &["level `s1`", "[8, 10, 12]"]),
    ("v05.zarr", "zarr.json", b"\"name\": \"z\"", b"\"name\": \"q\"", &["axis q"]),
];

#[test]
fn each_fault_is_one_error_with_file_and_cure() {
    for (name, inner, from, to, words) in CASES {
        let (_folder, path) = copied(name);
        let changed = if inner.is_empty() { path.clone() } else { path.join(inner) };
        replace(&changed, from, to);
        refused(&path, words, &format!("{name} {}", String::from_utf8_lossy(to)));
    }
    // The affine matrix of NIfTI: y grows along x, too.
    let (_folder, path) = copied("v.nii");
    let mut bytes = fs::read(&path).unwrap();
    bytes[280 + 4..284 + 4].copy_from_slice(&0.15f32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    refused(&path, &["right angles", "resample"], "v.nii");
    // HDF5, whose fields cannot be replaced in place.
    let (_folder, path) = copied("expected.h5");
    let file = hdf5::File::append(&path).unwrap();
    file.dataset("raw").unwrap().attr("element_size_um").unwrap().write(&[0.5, 0.0, 0.1]).unwrap();
    drop(file);
    refused(&path, &["voxel size", "above 0", "`raw`"], "expected.h5");
    // An archive of a store.
    let archive = path.with_file_name("v.zarr");
    fs::write(&archive, "PK").unwrap();
    refused(&archive, &["a Zarr store is a directory", "unpack"], "v.zarr");
}

#[test]
fn chunks_that_fit_no_memory_are_refused() {
    for (name, file) in [("types/uint16.zarr", "zarr.json"), ("types/uint16_2.zarr", ".zarray")] {
        let (_folder, path) = copied(name);
        let json = fs::read_to_string(path.join(file)).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let huge = serde_json::json!([1u64 << 40, 1u64 << 20, 1u64 << 20]);
        match json.get_mut("chunks") {
            Some(chunks) => *chunks = huge,
            None => json["chunk_grid"]["configuration"]["chunk_shape"] = huge,
        }
        fs::write(path.join(file), json.to_string()).unwrap();
        refused(&path, &["chunk", "smaller chunks"], name);
        // Nothing may be asked of the system for it.
        json["shape"] = serde_json::json!([u64::MAX, 4, 5]);
        fs::write(path.join(file), json.to_string()).unwrap();
        assert!(read(&path).is_err());
    }
}

/// Files cut off at any place are refused by name, or hold all of their voxels.
#[test]
fn strips_that_the_file_cannot_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claims.tif");
    for (compression, word) in [(1u16, "2000000000 bytes"), (8, "2000000000 bytes")] {
        // One strip of 2 × 10⁹ bytes, of which eight are there.
        let entries: [(u16, u16, u32); 9] = [
            (256, 4, 1_000_000),
            (257, 4, 2000),
            (258, 3, 8),
            (259, 3, compression.into()),
            (262, 3, 1),
            (273, 4, 8),
            (277, 3, 1),
            (278, 4, 2000),
            (279, 4, 8),
        ];
        let mut bytes = b"II*\0\x10\0\0\0".to_vec();
        bytes.extend([0; 8]);
        bytes.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, value) in entries {
            bytes.extend([tag, kind].map(u16::to_le_bytes).concat());
            bytes.extend([1, value].map(u32::to_le_bytes).concat());
        }
        bytes.extend([0; 4]);
        fs::write(&path, bytes).unwrap();
        let message = format!("{:#}", format::open(&path, "raw").err().unwrap());
        assert!(message.contains(word) && message.contains("claims.tif"), "{message}");
    }
}

#[test]
fn nothing_is_read_of_truncated_files_but_whole_volumes() {
    let files = [
        ("v.nrrd", ""),
        ("plain.raw", "plain.nhdr"),
        ("v.mha", ""),
        ("v.raw", "v.mhd"),
        ("v.nii", ""),
        ("v.nii.gz", ""),
        ("v.tif", ""),
        ("zstd.tif", ""),
        ("tiles.tif", ""),
        ("v.ome.tif", ""),
        ("two.ome.tif", ""),
        ("one_directory.tif", ""),
        ("v05.zarr/s0/c/0/1/0", "v05.zarr"),
        ("v05.zarr/zarr.json", "v05.zarr"),
        ("v04.zarr/s0/0/1/0", "v04.zarr"),
        ("v04.zarr/s0/.zarray", "v04.zarr"),
        ("plain3.zarr/c/0/0/0", "plain3.zarr"),
    ];
    for (cut, opened) in files {
        let opened = if opened.is_empty() { cut } else { opened };
        let (folder, path) = copied(opened);
        let cut = folder.path().join(cut);
        let whole = read(&path).unwrap_or_else(|error| panic!("{opened}: {error:#}"));
        let bytes = fs::read(&cut).unwrap();
        let all = bytes.len();
        for length in [0, 1, 7, 40, 100, all / 3, all / 2, all - 200.min(all), all - 9, all - 1] {
            if length >= all {
                continue;
            }
            fs::write(&cut, &bytes[..length]).unwrap();
            match read(&path) {
                Ok(found) => assert!(found == whole, "{opened}: {length} of {all} bytes"),
                Err(error) => {
                    let message = format!("{error:#}");
                    let name = opened.split('/').next().unwrap();
                    assert!(message.contains(name), "{opened} {length}: {message}");
                    // What is left of the voxels is not enough, and the cure is told.
                    assert!(
                        length < all / 3 || message.contains("not copied completely"),
                        "{opened} {length} of {all}: {message}"
                    );
                }
            }
        }
    }
}

/// Chunks that are not there hold the fill value; `-v` says how many there are.
#[test]
fn missing_chunks_are_counted() {
    let lab = Lab::new();
    lab.balls("val.h5", [4, 8, 8], 1);
    // Files of chunks, and chunks within shards that are there.
    for name in ["sparse.zarr", "sparse_shards.zarr"] {
        copy(&fixture("formats").join(name), &lab.path(name));
        let config = lab.config("train.yaml", &CONFIG.replace("sparse.zarr", name));
        let run = with_flags("train", &config, &["-v"], &[]).succeeded();
        let told = format!("{name}: 6 chunk(s) are not there");
        assert!(run.out.contains(&told), "{}", run.out);
        std::fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

const CONFIG: &str = "
manual_seed: 3
model: {name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [1], num_groups: 1, is_segmentation: false}
trainer: {checkpoint_dir: '@/run', iters: 1, validate_after_iters: 1, log_after_iters: 1, epochs: 1}
optimizer: {learning_rate: 0.01, weight_decay: 0}
loss: {name: MSELoss}
eval_metric: {name: MSE}
loaders:
  num_workers: 0
  raw_internal_path: raw
  label_internal_path: raw
  train: &data
    file_paths: ['@/sparse.zarr']
    slice_builder: {name: SliceBuilder, patch_shape: [4, 8, 8], stride_shape: [4, 8, 8], skip_shape_check: true}
    transformer:
      raw: [{name: Standardize}, {name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: true}]
  val:
    <<: *data
    file_paths: ['@/val.h5']
";
