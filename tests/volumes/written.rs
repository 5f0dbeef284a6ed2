//! Volumes that are written in every format, read again here and by the libraries that
//! define the formats.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ndarray::{Array3, Array4};

use crate::support::fixture;
use crate::support::program::{script, unet3d};
use unet3d::format;
use unet3d::volume::{
    Block, Calibration, Compression, Edition, Encoding, LengthUnit, NewVolume, StoredType, Volume,
};

/// Ends of file names. `.btf` asks for BigTIFF; `04` stands for OME-Zarr 0.4.
const EXTENSIONS: [&str; 10] =
    ["h5", "nrrd", "mha", "nii", "nii.gz", "tif", "ome.tif", "btf", "zarr", "04.zarr"];

fn edition(extension: &str) -> Edition {
    if extension == "04.zarr" { Edition::Previous } else { Edition::Newest }
}

const TYPES: &str = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64";

fn space() -> Calibration {
    Calibration {
        spacing: Some([0.54, 0.2, 0.1]),
        unit: Some(LengthUnit::Micrometre),
        origin: Some([3.0, 2.0, 1.0]),
        directions: None,
        channels: Vec::new(),
    }
}

const UPRIGHT: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

fn new_volume<'a>(
    name: &'a str,
    volume: &Volume,
    stored: StoredType,
    compression: Compression,
) -> NewVolume<'a> {
    let [d, h, w] = volume.size();
    NewVolume {
        name,
        shape: [volume.channels(), d, h, w],
        has_channels: volume.has_channels,
        encoding: Encoding::Number(stored),
        compression,
        edition: Edition::Newest,
        labels: false,
    }
}

/// Writes a volume in boxes that come in no order.
fn write(path: &Path, new: &NewVolume<'_>, volume: &Volume, space: &Calibration) {
    let mut writer = format::create(path, 2).unwrap();
    writer.attribute("made_by", "a test").unwrap();
    let id = writer.begin(new).unwrap();
    writer.calibrate(id, space).unwrap();
    let [_, d, h, w] = new.shape;
    let (z, y) = (d.div_ceil(2), h / 3);
    for (z, y) in [(z..d, 0..y), (0..z, y..h), (z..d, y..h), (0..z, 0..y)] {
        if z.is_empty() || y.is_empty() {
            continue;
        }
        let window = unet3d::volume::Window::new([z.start, y.start, 0], [z.len(), y.len(), w]);
        let part = volume.window(&window);
        writer.write_block(id, [0, z.start, y.start], Block::from(&part.values)).unwrap();
    }
    writer.attribute("late", "a \"text\"\nof two lines, µ\\n").unwrap();
    writer.finish().unwrap();
}

/// The data sets of `expected.h5` of `make_formats.py` with their types, and a volume wide
/// enough for levels.
fn expected(copy: &Path) -> Vec<(String, Volume, StoredType)> {
    fs::copy(fixture("formats").join("expected.h5"), copy).unwrap();
    let file = hdf5::File::append(copy).unwrap();
    let wide = Array3::from_shape_fn((5, 70, 301), |(z, y, x)| (z * y + 3 * x) as u16);
    file.new_dataset_builder().with_data(&wide).create("wide").unwrap();
    let smooth = Array4::from_shape_fn((2, 3, 260, 20), |(c, z, y, x)| {
        ((c + z) as f32 / 3.0).sin() + (y as f32 / 11.0).sin() * (x as f32 / 13.0).cos()
    });
    file.new_dataset_builder().with_data(&smooth).create("smooth").unwrap();
    drop(file);
    let names = TYPES.split(' ').chain(["raw", "two", "wide", "smooth"]);
    names
        .map(|name| {
            let reader = format::open(copy, name).unwrap();
            (name.to_owned(), reader.read().unwrap(), reader.stored())
        })
        .collect()
}

#[test]
fn every_type_in_every_format_is_read_by_those_who_define_it() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, out) = (folder.path().join("expected.h5"), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    let all = expected(&copy);
    for (name, volume, stored) in &all {
        for extension in EXTENSIONS {
            let path = out.join(format!("{name}.{extension}"));
            let gzip = Compression::Gzip { level: 3 };
            let compression = if name == "int16" { Compression::None } else { gzip };
            // What the libraries compare with is the default of Zarr.
            let compression = if extension.ends_with("zarr") { gzip } else { compression };
            let new = new_volume(name, volume, *stored, compression);
            write(&path, &NewVolume { edition: edition(extension), ..new }, volume, &space());
            let file = format::open_file(&path).unwrap();
            assert_eq!(file.attribute("made_by").unwrap().as_deref(), Some("a test"));
            let late = file.attribute("late").unwrap();
            assert_eq!(late.as_deref(), Some("a \"text\"\nof two lines, µ\\n"), "{extension}");
            let reader = file.volume(name).unwrap();
            assert_eq!(reader.stored(), *stored, "{name}.{extension}");
            assert_eq!(&reader.read().unwrap(), volume, "{name}.{extension}");
            let mut found = reader.calibration();
            // Some formats tell directions always.
            found.directions = found.directions.filter(|found| *found != UPRIGHT);
            assert_eq!(found, space(), "{name}.{extension}");
        }
    }
    let checked = script("check_formats.py", [&copy, &out]);
    let checked: Vec<String> = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked.len(), all.len() * EXTENSIONS.len());
    let names: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), checked.len(), "something is left over: {names:?}");
}

/// An axis longer than what NIfTI-1 can tell, and more chunks than are written as a file each.
#[test]
fn long_volumes_are_written_in_the_forms_that_have_room_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, out) = (folder.path().join("expected.h5"), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    let file = hdf5::File::create(&copy).unwrap();
    for (name, shape, extension) in
        [("long", (1, 1, 40_000), "nii.gz"), ("many", (262_220, 1, 1), "zarr")]
    {
        let values = Array3::from_shape_fn(shape, |(z, _, x)| ((z + x) % 251) as u8);
        file.new_dataset_builder().with_data(&values).create(name).unwrap();
        let volume = Volume::plain(values.insert_axis(ndarray::Axis(0)));
        let path = out.join(format!("{name}.{extension}"));
        let gzip = Compression::Gzip { level: 1 };
        write(&path, &new_volume(name, &volume, StoredType::U8, gzip), &volume, &space());
        assert_eq!(format::read(&path, name).unwrap(), volume, "{name}");
    }
    drop(file);
    let checked = script("check_formats.py", [&copy, &out]);
    assert_eq!(checked.trim(), r#"["long.nii.gz", "many.zarr"]"#);
}

#[test]
fn space_and_channels_come_back_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::channelled(Array4::from_shape_fn((2, 2, 3, 4), |(c, z, y, x)| {
        (c * 24 + z * 12 + y * 4 + x) as f32
    }));
    let turned = Calibration {
        directions: Some([[0.0, 0.0, 1.0], [0.6, 0.8, 0.0], [-0.8, 0.6, 0.0]]),
        channels: vec!["GFP µ".into(), "a \"b\" & <c>".into()],
        origin: Some([-1.5, 0.25, 1e-3]),
        unit: Some(LengthUnit::Millimetre),
        spacing: Some([0.3, 0.162_5, 0.1]),
    };
    for extension in EXTENSIONS {
        for space in [turned.clone(), Calibration::default()] {
            let path = folder.path().join(format!("v.{extension}"));
            let gzip = Compression::Gzip { level: 1 };
            let new = new_volume("v", &volume, StoredType::F32, gzip);
            write(&path, &NewVolume { edition: edition(extension), ..new }, &volume, &space);
            let reader = format::open(&path, "v").unwrap();
            assert_eq!(reader.read().unwrap(), volume, "{extension}");
            let found = reader.calibration();
            if space.spacing.is_none() {
                assert_eq!(found.spacing, None, "{extension}");
                continue;
            }
            assert_eq!(found.channels, space.channels, "{extension}");
            // HDF5 has micrometres.
            let (found, wanted) =
                (found.in_unit(LengthUnit::Micrometre), space.in_unit(LengthUnit::Micrometre));
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
            let same = |a: Option<[f64; 3]>, b: Option<[f64; 3]>| {
                a.unwrap().iter().zip(b.unwrap()).all(|(a, b)| close(*a, b))
            };
            assert!(same(found.spacing, wanted.spacing), "{extension}: {found:?}");
            assert!(same(found.origin, wanted.origin), "{extension}: {found:?}");
            let (a, b) = (found.directions.unwrap(), wanted.directions.unwrap());
            let all = a.as_flattened().iter().zip(b.as_flattened());
            assert!(all.clone().all(|(a, b)| close(*a, *b)), "{extension}: {found:?}");
        }
    }
}

#[test]
fn what_is_not_finished_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::plain(Array4::<u8>::zeros((1, 2, 3, 4)));
    for extension in EXTENSIONS {
        let path = folder.path().join(format!("v.{extension}"));
        let new = new_volume("v", &volume, StoredType::U8, Compression::None);
        let mut writer = format::create(&path, 1).unwrap();
        let id = writer.begin(&new).unwrap();
        let part = Array4::<f32>::ones((1, 1, 3, 4));
        writer.write(id, [0, 0, 0], part.view()).unwrap();
        let error = format!("{:#}", writer.finish().unwrap_err());
        assert!(error.contains("never written") && error.contains(extension), "{error}");
        write(&path, &new, &volume, &Calibration::default());
        let mut writer = format::create(&path, 1).unwrap();
        let id = writer.begin(&new).unwrap();
        writer.write(id, [0, 0, 0], Array4::ones((1, 2, 3, 4)).view()).unwrap();
        let refused = writer.finish_if(&|_| anyhow::bail!("not asked for"));
        assert!(format!("{:#}", refused.unwrap_err()).contains("not asked for"), "{extension}");
        assert_eq!(format::read(&path, "v").unwrap(), volume);
        assert!(format::create(&folder.path().join("no/v").with_extension(extension), 1).is_err());
    }
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), EXTENSIONS.len(), "{names:?}");
    for name in ["v.mhd", "v.nhdr", "v.hdr"] {
        let Err(error) = format::create(&folder.path().join(name), 1) else { panic!("{name}") };
        assert!(error.to_string().contains("one file"), "{error}");
    }
}

fn convert(arguments: &[&str]) -> crate::support::program::Run {
    unet3d(["convert", "--threads", "2"].iter().chain(arguments))
}

#[test]
fn volumes_are_converted_between_all_formats_and_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let two = fixture("formats").join("two.ome.tif").display().to_string();
    let expected = format::read(Path::new(&two), "").unwrap();
    let mut before = two.clone();
    for (number, extension) in EXTENSIONS.iter().enumerate() {
        let next = place(&format!("{number}.{extension}"));
        let version = if *extension == "04.zarr" { "0.4" } else { "0.5" };
        convert(&[&before, &next, "--zarr-version", version]).succeeded();
        let reader = format::open(Path::new(&next), "raw").unwrap();
        assert_eq!(reader.read().unwrap(), expected, "{extension}");
        assert_eq!(reader.stored(), StoredType::U16);
        assert_eq!(reader.calibration().channels, ["GFP", "RFP"], "{extension}");
        let size = reader.voxel_size().unwrap();
        assert!((size[0] - 0.54).abs() < 1e-6 && (size[2] - 0.1).abs() < 1e-6, "{size:?}");
        before = next;
    }
    let part = place("part.nrrd");
    convert(&[&before, &part, "--channels", "1", "--crop", "2:5,:7,4:"]).succeeded();
    let reader = format::open(Path::new(&part), "").unwrap();
    let window = unet3d::volume::Window::new([2, 0, 4], [3, 7, 19]);
    let all = format::open(Path::new(&two), "").unwrap();
    let mut wanted = all.read_part(1..2, &window, 1).unwrap();
    wanted.has_channels = false;
    assert_eq!(reader.read().unwrap(), wanted);
    let origin = reader.calibration().origin.unwrap();
    assert!((origin[0] - 1.08).abs() < 1e-9 && (origin[2] - 0.4).abs() < 1e-9, "{origin:?}");
    // Nothing is replaced unasked, nor is the input.
    convert(&[&two, &part]).failed_with(1, &["part.nrrd", "--overwrite"]);
    assert_eq!(reader.read().unwrap(), wanted);
    convert(&[&two, &part, "--overwrite"]).succeeded();
    assert_eq!(format::read(Path::new(&part), "").unwrap(), expected);
    convert(&[&part, &part, "--overwrite"]).failed_with(1, &["the input itself"]);
    convert(&[&two, &place("v.abc")]).failed_with(1, &["v.abc", "*.h5"]);
    convert(&[&two, &place("w.tif"), "--channels", "2"]).failed_with(2, &["no channel 2"]);
    convert(&[&two, &place("w.tif"), "--crop", "0:9,:,:"]).failed_with(2, &["z 0:9"]);
    let h5 = fixture("formats").join("expected.h5").display().to_string();
    convert(&[&h5, &place("w.tif")]).failed_with(1, &["--dataset", "raw"]);
    convert(&[&h5, &place("w.tif"), "--dataset", "label", "--labels"]).succeeded();
    assert!(!folder.path().join("v.abc").exists());
}

#[test]
fn volumes_are_resampled_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let from = place("a.tif");
    let values = Array4::from_shape_fn((1, 4, 6, 8), |(_, z, y, x)| (10 * z + 2 * y + x) as u16);
    let volume = Volume::plain(values);
    let new = new_volume("v", &volume, StoredType::U16, Compression::None);
    write(Path::new(&from), &new, &volume, &Calibration::default());
    convert(&[&from, &place("b.zarr"), "--voxel-size", "1,1,1"])
        .failed_with(1, &["a.tif", "--set-voxel-size"]);
    for (name, flag) in [("b.zarr", &[][..]), ("c.nii", &["--labels"])] {
        let sizes = ["--set-voxel-size", "2,1,1", "--voxel-size", "2,2,1"];
        convert(&[&[from.as_str(), &place(name)][..], &sizes, flag].concat()).succeeded();
        let reader = format::open(Path::new(&place(name)), "").unwrap();
        assert_eq!((reader.size(), reader.stored()), ([4, 3, 8], StoredType::U16));
        assert_eq!(reader.voxel_size(), Some([2.0, 2.0, 1.0]));
        // The middle of two rows, whose values are 1 above the lower one; or the nearest.
        let found = reader.read().unwrap().into_f32();
        let row = if flag.is_empty() { 1.0 } else { 2.0 };
        assert_eq!(found[(0, 1, 0, 3)], 10.0 + row + 3.0, "{name}");
    }
}

#[test]
fn info_says_what_a_volume_is() {
    let path = fixture("formats").join("two.ome.tif");
    let json = unet3d(["info".as_ref(), "--json".as_ref(), path.as_os_str()]).succeeded().out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let volume = &json[0]["volumes"][0];
    assert_eq!(
        (json[0]["kind"].as_str(), json[0]["format"].as_str()),
        (Some("volumes"), Some("TIFF"))
    );
    assert_eq!(volume["shape"], serde_json::json!([2, 7, 19, 23]));
    assert_eq!(volume["channel_names"], serde_json::json!(["GFP", "RFP"]));
    assert_eq!(volume["type"], "uint16");
    assert!((volume["voxel_size_um"][0].as_f64().unwrap() - 0.54).abs() < 1e-9);
    let h5 = fixture("formats").join("expected.h5");
    let text = unet3d(["info".as_ref(), h5.as_os_str()]).succeeded().out;
    for words in ["HDF5", "label: (7, 19, 23) uint8", "values: 0 (", "1 (", "voxel size"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    unet3d(["info", "nothing.h5"]).failed_with(1, &["nothing.h5", "no such file"]);
}

#[test]
fn a_conversion_loses_no_input_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let two = fixture("formats").join("two.ome.tif").display().to_string();
    let store = place("s.zarr");
    convert(&[&two, &store]).succeeded();
    symlink("s.zarr", folder.path().join("link.zarr")).unwrap();
    let expected = format::read(Path::new(&store), "").unwrap();
    for (input, output, word) in [
        ("s.zarr", "s.zarr/part.tif", "within the Zarr store"),
        ("s.zarr/0", "link.zarr/deep/part.zarr", "within the Zarr store"),
        ("s.zarr", "link.zarr", "the input itself"),
        ("link.zarr", "./s.zarr", "the input itself"),
        ("s.zarr/0", "s.zarr", "holds the input"),
    ] {
        convert(&[&place(input), &place(output), "--overwrite"]).failed_with(1, &[output, word]);
    }
    // The voxels of a header lie in a file of their own.
    let header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 3 2\nencoding: raw\n\
                  data file: voxels.tif\n\n";
    fs::write(place("v.nhdr"), header).unwrap();
    fs::write(place("voxels.tif"), [7u8; 24]).unwrap();
    convert(&[&place("v.nhdr"), &place("voxels.tif"), "--overwrite"])
        .failed_with(1, &["voxels.tif", "the input itself"]);
    assert_eq!(fs::read(place("voxels.tif")).unwrap(), [7u8; 24]);
    assert_eq!(format::read(Path::new(&store), "").unwrap(), expected);
    assert!(!Path::new(&store).join("part.tif").exists());
    // What is no volume is not replaced, whatever is asked for.
    fs::create_dir(place("home.zarr")).unwrap();
    fs::write(place("home.zarr/thesis.txt"), "mine").unwrap();
    convert(&[&two, &place("home.zarr"), "--overwrite"])
        .failed_with(1, &["home.zarr", "not replaced"]);
    assert_eq!(fs::read_to_string(place("home.zarr/thesis.txt")).unwrap(), "mine");
    symlink("nowhere", place("broken.tif")).unwrap();
    convert(&[&two, &place("broken.tif")]).failed_with(1, &["broken.tif", "--overwrite"]);
    convert(&[&two, &store, "--overwrite"]).succeeded();
}
