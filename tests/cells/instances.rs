//! `unet3d instances` against the records of SegmentationTools.jl.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use hdf5::File;
use ndarray::Array3;
use unet3d::volume::{Calibration, Compression, Edition, Encoding, NewVolume, StoredType};

use crate::regions::{cases, parameter};
use crate::support::lab::Lab;
use crate::support::program::{Run, program};

/// The parameters of a recorded case as flags.
fn flags(case: &Path) -> Vec<String> {
    let list = |name: &str| {
        let values = parameter(case, name);
        values.iter().map(f64::to_string).collect::<Vec<_>>().join(",")
    };
    let mut flags = vec![
        format!("--threshold={}", list("threshold")),
        format!("--min-size={}", list("min_size")),
    ];
    if parameter(case, "thresholds").is_empty() {
        flags.push("--split=none".into());
    } else {
        // A list as one word and as two.
        flags.push(format!("--split-thresholds={}", list("thresholds")));
        flags.extend(["--split-min-sizes".into(), list("sizes")]);
    }
    flags
}

fn instances(lab: &Lab, case: &Path, more: &[&str]) -> Run {
    let place = |name: &str| lab.path(name).display().to_string();
    let mut run = program();
    run.arg("instances").arg(place("7_predictions.h5")).args(flags(case));
    for word in more {
        run.arg(word.replace('@', &place("")));
    }
    run.output().expect("the program starts").into()
}

/// A folder with a recorded case under the names that ANTSUN gives.
fn recording(case: &Path) -> Lab {
    let lab = Lab::new();
    fs::create_dir(lab.path("NRRD_cropped")).unwrap();
    fs::copy(case.join("volume.h5"), lab.path("7_predictions.h5")).unwrap();
    fs::copy(case.join("raw.nrrd"), lab.path("NRRD_cropped/worm_t0007_ch2.nrrd")).unwrap();
    lab
}

/// Header and voxels of a NRRD file of uint16.
fn nrrd(path: &Path) -> (String, Vec<u16>) {
    let bytes = fs::read(path).unwrap();
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
    let mut data = Vec::new();
    MultiGzDecoder::new(&bytes[end..]).read_to_end(&mut data).unwrap();
    let (voxels, rest) = data.as_chunks::<2>();
    assert!(rest.is_empty());
    let voxels = voxels.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), voxels)
}

fn recorded(case: &Path, group: &str, name: &str) -> Vec<u16> {
    let file = File::open(case.join("expected.h5")).unwrap();
    file.group(group).unwrap().dataset(name).unwrap().read_raw().unwrap()
}

#[test]
fn the_four_folders_of_antsun_are_those_of_the_records() {
    // Cases of equal parameters are the time points of one recording.
    let mut recordings: BTreeMap<Vec<String>, Vec<PathBuf>> = BTreeMap::new();
    for case in cases() {
        recordings.entry(flags(&case)).or_default().push(case);
    }
    for (flags, cases) in recordings {
        let lab = Lab::new();
        fs::create_dir(lab.path("unet_data")).unwrap();
        fs::create_dir(lab.path("NRRD_cropped")).unwrap();
        for (case, t) in cases.iter().zip(1..) {
            let input = format!("unet_data/{t}_predictions.h5");
            fs::copy(case.join("volume.h5"), lab.path(&input)).unwrap();
            for channel in [1, 2] {
                let raw = format!("NRRD_cropped/worm_t{t:04}_ch{channel}.nrrd");
                fs::copy(case.join("raw.nrrd"), lab.path(&raw)).unwrap();
            }
        }
        for (group, more) in [("exact", &["--original"][..]), ("repaired", &[])] {
            let mut run = program();
            run.arg("instances").arg(lab.path("unet_data")).args(&flags).args(more);
            run.args(["--layout=antsun", "--raw-channel=2", "--output"]).arg(lab.path(group));
            Run::from(run.arg("--raw").arg(lab.path("NRRD_cropped")).output().unwrap()).succeeded();
            for (case, t) in cases.iter().zip(1..) {
                check_antsun(case, group, &lab.path(group), t);
            }
        }
    }
}

/// Compares the four outputs of a time point with those recorded.
fn check_antsun(case: &Path, group: &str, folder: &Path, t: usize) {
    let name = format!("{} {group}", case.display());
    for (place, image) in [("img_roi", "roi"), ("img_roi_watershed", "roi_watershed")] {
        let (header, voxels) = nrrd(&folder.join(format!("{place}/{t}.nrrd")));
        let recorded_header = fs::read_to_string(case.join("nrrd_header.txt")).unwrap();
        assert_eq!(header, recorded_header, "{name}: {place}");
        assert!(voxels == recorded(case, group, image), "{name}: {place}");
    }
    let text = |place: &str| fs::read_to_string(folder.join(format!("{place}/{t}.txt"))).unwrap();
    let (centroids, signal) = (text("centroids"), text("marker_signal"));
    if group == "exact" {
        let bytes = |file: &str| fs::read_to_string(case.join(file)).unwrap();
        assert_eq!(centroids, bytes("centroids.txt"), "{name}");
        assert_eq!(signal, bytes("signal.txt"), "{name}");
    }
    let file = File::open(case.join("expected.h5")).unwrap();
    let group = file.group(group).unwrap();
    let values =
        |dataset: &str| -> Vec<f64> { group.dataset(dataset).unwrap().read_raw().unwrap() };
    let numbers = |text: &str| -> Vec<f64> {
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    };
    let lines: Vec<&str> = centroids.splitn(3, '\n').collect();
    assert_eq!(lines[0], "index", "{name}");
    let places = values("centroids");
    assert_eq!(lines[1].parse::<usize>().unwrap(), places.len() / 3, "{name}");
    assert_eq!(numbers(lines[2]), places, "{name}");
    assert_eq!(numbers(&signal), values("signal"), "{name}");
}

#[test]
fn the_plain_layout_has_the_same_regions_and_a_table() {
    for name in ["antsun", "rods", "predictions_3d", "empty"] {
        let case = crate::support::fixture("recorded/instances").join(name);
        let lab = recording(&case);
        instances(&lab, &case, &["--raw=@NRRD_cropped/worm_t0007_ch2.nrrd"]).succeeded();
        let file = File::open(lab.path("7_instances.h5")).unwrap();
        let dataset = file.dataset("instances").unwrap();
        let voxels: Array3<u16> = dataset.read().unwrap();
        assert!(
            voxels.iter().copied().collect::<Vec<_>>()
                == recorded(&case, "repaired", "roi_watershed"),
            "{name}"
        );
        // The voxel size is that of the marker image.
        let size: Vec<f64> = dataset.attr("element_size_um").unwrap().read_raw().unwrap();
        assert_eq!(size, [0.54; 3], "{name}");

        let table = fs::read_to_string(lab.path("7_instances.csv")).unwrap();
        let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let heading = rows.next().unwrap();
        let column = |name: &str| heading.iter().position(|title| *title == name).unwrap();
        let mut ids = 0;
        for row in rows {
            ids += 1;
            assert_eq!(row[column("id")], ids.to_string());
            let cell = |name: &str| row[column(name)].parse::<f64>().unwrap();
            let inside = voxels.indexed_iter().filter(|(_, label)| u64::from(**label) == ids);
            let (mut count, mut sum) = (0.0, [0.0; 3]);
            for ((z, y, x), _) in inside {
                count += 1.0;
                sum.iter_mut().zip([x, y, z]).for_each(|(sum, at)| *sum += at as f64 + 1.0);
            }
            assert_eq!(cell("voxels"), count);
            assert!((cell("volume") - count * 0.54f64.powi(3)).abs() < 1e-5);
            for (axis, sum) in ["x", "y", "z"].iter().zip(sum) {
                assert!((cell(axis) - sum / count).abs() < 1e-5, "{name} {ids}");
                let scaled = (sum / count - 1.0) * 0.54;
                assert!((cell(&format!("{axis}_scaled")) - scaled).abs() < 1e-5, "{name} {ids}");
            }
        }
        assert_eq!(ids, u64::from(voxels.iter().copied().max().unwrap_or(0)), "{name}");
        // Halves round to even, so the rounded mean agrees to one.
        let signal: Vec<f64> = {
            let file = File::open(case.join("expected.h5")).unwrap();
            file.group("repaired").unwrap().dataset("signal").unwrap().read_raw().unwrap()
        };
        let means = table.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        for (row, signal) in means.zip(signal) {
            let mean: f64 = row[column("mean_raw")].parse().unwrap();
            assert!((mean - signal).abs() <= 0.500001, "{name}: {row:?} {signal}");
        }
    }
}

#[test]
fn a_split_of_none_gives_all_four_outputs_too() {
    let case = crate::support::fixture("recorded/instances/antsun");
    let lab = recording(&case);
    let run = |more: &[&str]| {
        let mut run = program();
        run.arg("instances").arg(lab.path("7_predictions.h5"));
        run.args(["--split", "none", "--layout", "antsun", "--output"]).arg(lab.path("out"));
        Run::from(run.arg("--raw").arg(lab.path("NRRD_cropped")).args(more).output().unwrap())
    };
    run(&[]).succeeded();
    let (_, before) = nrrd(&lab.path("out/img_roi/7.nrrd"));
    let (_, after) = nrrd(&lab.path("out/img_roi_watershed/7.nrrd"));
    assert!(before == after && before == recorded(&case, "repaired", "roi"));
    let count = usize::from(before.iter().copied().max().unwrap());
    let text = |file: &str| fs::read_to_string(lab.path(file)).unwrap();
    assert_eq!(text("out/centroids/7.txt").lines().count(), count + 2);
    assert_eq!(text("out/marker_signal/7.txt").lines().count(), count);
}

/// The names of all formats, and the extensions of compressed label images in them.
const FORMATS: [(&str, &str); 6] = [
    ("hdf5", "h5"),
    ("zarr", "zarr"),
    ("tiff", "tif"),
    ("nrrd", "nrrd"),
    ("nifti", "nii.gz"),
    ("metaimage", "mha"),
];

/// Voxels and voxel size of a label image of uint16 in any format.
fn labels_of(path: &Path) -> (Vec<u16>, [f64; 3]) {
    let reader = unet3d::format::open(path, "instances").unwrap();
    assert_eq!(reader.stored(), StoredType::U16, "{}", path.display());
    let voxels = reader.read().unwrap().into_f32().iter().map(|label| *label as u16).collect();
    (voxels, reader.voxel_size().unwrap())
}

#[test]
fn label_images_are_written_in_every_format_with_their_voxel_size() {
    let case = crate::support::fixture("recorded/instances/touching");
    let expected = recorded(&case, "repaired", "roi_watershed");
    let lab = recording(&case);
    for (format, extension) in FORMATS {
        let format = format!("--format={format}");
        let flags = ["--output=@out", &format, "--voxel-size=1.5,0.5,0.25", "--preview"];
        // Our own file is replaced.
        instances(&lab, &case, &flags).succeeded();
        instances(&lab, &case, &flags).succeeded();
        let told = instances(&lab, &case, &[&flags[..], &["--skip-existing"]].concat()).succeeded();
        assert!(told.out.contains("1 of 1 prediction(s) have their result already"), "{format}");
        let path = lab.path(&format!("out/7_instances.{extension}"));
        let (voxels, size) = labels_of(&path);
        assert!(voxels == expected, "{format}");
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
        assert!(size.iter().zip(&[1.5, 0.5, 0.25]).all(near), "{format}: {size:?}");

        // What somebody else put there is not.
        let foreign = lab.path(&format!("mine/7_instances.{extension}"));
        fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        if extension == "zarr" {
            fs::create_dir(&foreign).unwrap();
            fs::write(foreign.join("zarr.json"), "{}").unwrap();
        } else {
            fs::write(&foreign, "mine").unwrap();
        }
        let name = foreign.file_name().unwrap().to_str().unwrap().to_owned();
        instances(&lab, &case, &["--output=@mine", &format])
            .failed_with(1, &[&name, "not replaced"]);
    }
    let preview = fs::read(lab.path("out/7_instances.png")).unwrap();
    assert_eq!(&preview[1..4], b"PNG");
}

#[test]
fn without_a_format_label_images_are_in_that_of_the_prediction() {
    let case = crate::support::fixture("recorded/instances/touching");
    let expected = recorded(&case, "repaired", "roi_watershed");
    let lab = recording(&case);
    let prediction = unet3d::format::read(&lab.path("7_predictions.h5"), "predictions").unwrap();
    let values = prediction.into_f32();
    let (channels, depth, height, width) = values.dim();
    for (_, extension) in FORMATS {
        let path = lab.path(&format!("in/9_predictions.{extension}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = unet3d::format::create(&path, 1).unwrap();
        let volume = NewVolume {
            name: "predictions",
            shape: [channels, depth, height, width],
            has_channels: true,
            encoding: Encoding::Number(StoredType::F32),
            compression: Compression::Gzip { level: 1 },
            edition: Edition::Newest,
            labels: false,
        };
        let id = file.begin(&volume).unwrap();
        file.calibrate(id, &Calibration::micrometres([2.0, 0.5, 0.25])).unwrap();
        file.write(id, [0, 0, 0], values.view()).unwrap();
        file.finish().unwrap();
        let mut run = program();
        run.arg("instances").arg(&path).args(flags(&case));
        Run::from(run.output().unwrap()).succeeded();
        let (voxels, size) = labels_of(&lab.path(&format!("in/9_instances.{extension}")));
        assert!(voxels == expected, "{extension}");
        assert!((size[0] - 2.0).abs() < 1e-6 && (size[2] - 0.25).abs() < 1e-6, "{size:?}");
        fs::remove_file(lab.path("in/9_instances.csv")).unwrap();
    }
}
