//! Reading files of h5py: every number type, every filter, bad files.
//! The files come from `tests/fixtures/make_hdf5.py`.

use std::path::{Path, PathBuf};

use ndarray::Array4;
use unet3d::format;
use unet3d::format::h5::{H5File, H5Reader};
use unet3d::volume::{
    Element, Mirror, Source, Statistics, Values, Volume, VolumeFile, VolumeReader, Window,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5").join(name)
}

fn open(file: &str) -> H5File {
    H5File::open(&fixture(file)).unwrap()
}

/// The formula of the fixtures, for numpy's kind of type ('u', 'i', 'f', 'b').
fn expected(kind: char, channels: usize) -> Array4<f64> {
    Array4::from_shape_fn((channels, 5, 6, 7), |(c, z, y, x)| {
        let n = ((210 * c + 42 * z + 7 * y + x) % 97) as f64;
        match kind {
            'b' => n % 2.0,
            'i' => n - 48.0,
            'f' => (n - 48.0) / 4.0,
            _ => n,
        }
    })
}

fn as_f64(volume: Volume) -> Array4<f64> {
    match volume.cast(Element::F64).values {
        Values::F64(array) => array,
        _ => unreachable!("cast to float64"),
    }
}

/// Whole and in windows that cut through chunks.
fn assert_reads(dataset: &H5Reader, expected: &Array4<f64>) {
    assert_eq!(as_f64(dataset.read().unwrap()), expected, "{}", dataset.describe());
    let size = dataset.size();
    for (origin, window) in
        [([0; 3], size), ([1, 0, 3], [3, 5, 2]), ([4, 5, 6], [1, 1, 1]), ([1, 3, 0], [2, 3, 7])]
    {
        let window = Window::new(origin, window);
        let [z, y, x] = [0, 1, 2].map(|axis| window.range(axis));
        let part = expected.slice(ndarray::s![.., z, y, x]).to_owned();
        let found = as_f64(dataset.read_window(&window).unwrap());
        assert_eq!(found, part, "{} at {window}", dataset.describe());
    }
    if dataset.channels() > 1 {
        let window = Window::new([1, 1, 1], [2, 2, 2]);
        let part = expected.slice(ndarray::s![1..2, 1..3, 1..3, 1..3]).to_owned();
        assert_eq!(as_f64(dataset.read_part(1..2, &window, 1).unwrap()), part);
    }
}

#[test]
fn every_type_with_every_filter() {
    let file = open("types.h5");
    let types = [
        ("uint8", 'u', Element::U8),
        ("int8", 'i', Element::I32),
        ("uint16", 'u', Element::U16),
        ("int16", 'i', Element::I32),
        ("uint32", 'u', Element::I64),
        ("int32", 'i', Element::I32),
        ("uint64", 'u', Element::I64),
        ("int64", 'i', Element::I64),
        ("float16", 'f', Element::F32),
        ("float32", 'f', Element::F32),
        ("float64", 'f', Element::F64),
        ("bool", 'b', Element::U8),
    ];
    let names = file.dataset_names();
    let mut count = 0;
    for (name, kind, element) in types {
        for dataset in names.iter().filter(|found| found.starts_with(&format!("{name}/"))) {
            let dataset = file.dataset(dataset).unwrap();
            assert_eq!(dataset.shape(), [2, 5, 6, 7]);
            assert_eq!(dataset.element(), element, "{}", dataset.describe());
            assert_eq!(dataset.read().unwrap().element(), element, "{}", dataset.describe());
            assert_reads(&dataset, &expected(kind, 2));
            count += 1;
        }
    }
    assert_eq!((count, names.len()), (12 * 6 + 9 * 2, count));
}

#[test]
fn every_layout() {
    let file = open("layouts.h5");
    let plain = expected('f', 1);
    for name in ["rank3", "rank3_gzip", "one_chunk", "growing"] {
        let dataset = file.dataset(name).unwrap();
        assert_eq!(dataset.shape(), [5, 6, 7]);
        assert!(!dataset.has_channels() && !dataset.read().unwrap().has_channels);
        assert_reads(&dataset, &plain);
    }
    let mut half = Array4::from_elem((1, 5, 6, 7), 1.5);
    half.slice_mut(ndarray::s![.., 2..4, .., ..]).assign(&plain.slice(ndarray::s![
        ..,
        2..4,
        ..,
        ..
    ]));
    assert_reads(&file.dataset("half_written").unwrap(), &half);
    let never = Array4::from_elem((1, 5, 6, 7), -2.0);
    assert_reads(&file.dataset("never_written").unwrap(), &never);
    let both = ndarray::concatenate![ndarray::Axis(0), plain, plain];
    assert_reads(&file.dataset("virtual").unwrap(), &both);
    assert_reads(&file.dataset("linked").unwrap(), &expected('f', 2));
    let members = expected('u', 1).mapv(|n| n % 2.0 * 300.0);
    let dataset = file.dataset("enum").unwrap();
    assert_eq!(dataset.element(), Element::I32);
    assert_reads(&dataset, &members);
    let noise = file.dataset("noise").unwrap().read().unwrap();
    assert_eq!(noise, file.dataset("noise_plain").unwrap().read().unwrap());
}

#[test]
fn threads_may_read_the_same_data_set() {
    let file = open("types.h5");
    let dataset = file.dataset("int16/shuffle").unwrap();
    let expected = expected('i', 2);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_reads(&dataset, &expected);
                }
            });
        }
    });
}

fn close(found: f64, expected: f64, scale: f64) -> bool {
    (found - expected).abs() <= 1e-12 * scale
}

/// An attribute with numbers, which the library itself has no use for.
fn numbers<const N: usize>(file: &str, dataset: &str, name: &str) -> [f64; N] {
    let file = hdf5::File::with_options()
        .with_fapl(|plist| plist.file_locking(false))
        .open(fixture(file))
        .unwrap();
    let attribute = file.dataset(dataset).unwrap().attr(name).unwrap();
    attribute.read_raw::<f64>().unwrap().try_into().unwrap()
}

#[test]
fn statistics_are_numpys() {
    for name in ["offset", "counts", "wide", "signed"] {
        let [min, max, mean, std] = numbers("statistics.h5", name, "expected");
        let dataset = open("statistics.h5").dataset(name).unwrap();
        let found = Statistics::of(&dataset.read().unwrap()).unwrap();
        assert_eq!((found.min, found.max), (min, max), "{name}");
        let scale = mean.abs().max(std);
        assert!(close(found.mean, mean, scale), "{name}: mean {} for {mean}", found.mean);
        // numpy squares distances from a mean that is itself rounded.
        assert!(
            close(found.std, std, std.max(1e-3 * scale)),
            "{name}: std {} for {std}",
            found.std
        );
        assert_eq!(dataset.statistics().unwrap(), found, "{name}: layer by layer");
    }
}

#[test]
fn padding_is_numpys_reflect() {
    let file = open("mirror.h5");
    let on_file = Source::File(file.volume("raw").unwrap());
    let in_memory = Source::from(file.dataset("raw").unwrap().read().unwrap());
    for name in ["small", "none", "wide"] {
        let mirror = Mirror { pad: numbers("mirror.h5", name, "pad").map(|pad| pad as usize) };
        let expected = file.dataset(name).unwrap().read().unwrap();
        for volume in [&on_file, &in_memory] {
            let size = mirror.padded(volume.size());
            assert_eq!(size, expected.size());
            assert_eq!(volume.mirrored(&Window::whole(size), &mirror).unwrap(), expected);
            let corner = Window::new([size[0] - 2, 0, size[2] - 5], [2, 3, 5]);
            assert_eq!(volume.mirrored(&corner, &mirror).unwrap(), expected.window(&corner));
        }
    }
}

fn error_of(file: &str, dataset: &str) -> String {
    format!("{:#}", open(file).dataset(dataset).unwrap_err())
}

#[test]
fn what_is_no_volume_is_refused_with_a_cure() {
    let error = error_of("layouts.h5", "image");
    assert!(error.contains("layouts.h5") && error.contains("2D (6, 7)"), "{error}");
    assert!(error.contains("(1, 6, 7)"), "{error}");
    let error = error_of("layouts.h5", "movie");
    assert!(error.contains("5 axes [1, 1, 2, 2, 2]"), "{error}");
    let error = error_of("layouts.h5", "empty");
    assert!(error.contains("[0, 6, 7] has an empty axis"), "{error}");
    let error = error_of("layouts.h5", "words");
    assert!(error.contains("no numbers"), "{error}");
    let beyond = open("layouts.h5").dataset("beyond_i64").unwrap().read().unwrap_err();
    let beyond = format!("{beyond:#}");
    assert!(beyond.contains("`beyond_i64`") && beyond.contains("9223372036854775808"), "{beyond}");
}

#[test]
fn a_missing_data_set_lists_what_there_is() {
    let error = error_of("mirror.h5", "rw");
    assert!(error.contains("no data set `rw`; is `raw` meant?"), "{error}");
    assert!(error.contains("The file has none, raw, small, wide"), "{error}");
    assert!(error.contains(fixture("mirror.h5").to_str().unwrap()), "{error}");
    let error = error_of("types.h5", "float32/gzi");
    assert!(error.contains("is `float32/gzip` meant?"), "{error}");
}

#[test]
fn files_that_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |path: &Path| format!("{:#}", H5File::open(path).unwrap_err());
    let path = folder.path().join("none.h5");
    assert_eq!(fails(&path), format!("{}: no such file", path.display()));
    assert!(fails(folder.path()).contains("is a directory"));
    std::fs::write(&path, "raw,label\n1,2\n").unwrap();
    assert!(fails(&path).contains("not an HDF5 file"));
    let whole = std::fs::read(fixture("statistics.h5")).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(fails(&path).contains("damaged or was not copied completely"), "{}", fails(&path));
    // A relative path is told in full.
    assert!(fails(Path::new("none.h5")).starts_with('/'));
}

#[test]
fn a_file_that_changes_under_its_reader_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume.h5");
    std::fs::copy(fixture("mirror.h5"), &path).unwrap();
    let dataset = H5File::open(&path).unwrap().dataset("raw").unwrap();
    dataset.read().unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(100).unwrap();
    let error = format!("{:#}", dataset.read().unwrap_err());
    assert!(error.contains("volume.h5: the file was changed while it was in use"), "{error}");
}

/// Every byte of a file is damaged in turn: an error or other numbers, never a
/// panic, and never an absurd allocation.
#[test]
fn damaged_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixture("mirror.h5")).unwrap();
    for place in (0..whole.len()).step_by(3) {
        let path = folder.path().join(format!("{place}.h5"));
        let mut bytes = whole.clone();
        bytes[place] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(file) = H5File::open(&path)
            && let Ok(dataset) = file.dataset("raw")
        {
            let _ = dataset.read();
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// Filters of other builds of HDF5 (`tests/fixtures/make_hdf5_filters.py`).
#[test]
fn a_filter_that_is_not_built_in_is_named() {
    let file = open("filters.h5");
    for name in ["Blosc", "Blosc2", "LZ4", "Zstandard", "ZFP", "bitshuffle", "bzip2", "SZIP"] {
        let error = format!("{:#}", file.dataset(name).unwrap_err());
        for part in ["filters.h5", &format!("the filter {name} (number "), "h5repack"] {
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}

/// A writer in SWMR mode marks its file for as long as it has it open.
#[test]
fn a_file_that_is_being_written_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growing.h5");
    crate::support::program::script(
        "leave_open_for_writing.py",
        [path.to_str().expect("a path of ASCII letters")],
    );
    let error = format!("{:#}", H5File::open(&path).unwrap_err());
    assert!(error.contains("growing.h5: another program has the HDF5 file open"), "{error}");
}

/// A list of texts, as h5py writes it, or one text with a line for each.
#[test]
fn channels_may_be_named_in_either_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let file = hdf5::File::create(&path).unwrap();
    let text = |text: &str| text.parse::<hdf5::types::VarLenUnicode>().unwrap();
    for (name, list) in [("list", true), ("lines", false)] {
        let data = file.new_dataset::<u8>().shape((2, 1, 2, 3)).create(name).unwrap();
        let attribute = data.new_attr_builder();
        if list {
            attribute.with_data(&[text("GFP"), text("RFP")]).create("channel_names").unwrap();
        } else {
            let attribute = data.new_attr::<hdf5::types::VarLenUnicode>().create("channel_names");
            attribute.unwrap().write_scalar(&text("GFP\nRFP")).unwrap();
        }
    }
    drop(file);
    for name in ["list", "lines"] {
        let reader = format::open(&path, name).unwrap();
        assert_eq!(reader.calibration().channels, ["GFP", "RFP"], "{name}");
    }
}
