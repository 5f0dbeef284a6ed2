//! What the commands of cells replace, and what they do not.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use hdf5::File;
use hdf5::types::VarLenUnicode;
use ndarray::{Array3, Array4};

use crate::support::lab::Lab;
use crate::support::program::{Run, program};

fn run(lab: &Lab, command: &str, words: &[&str]) -> Run {
    let mut run = program();
    run.current_dir(lab.path("")).arg(command).args(words);
    run.output().expect("the program starts").into()
}

/// Two boxes of a probability above 0.5, as channels of background and foreground.
fn prediction(lab: &Lab, name: &str) {
    let mut volume = Array4::<f32>::zeros((2, 8, 12, 12));
    for (z, y, x) in (0..8 * 12 * 12).map(|n| (n / 144, n / 12 % 12, n % 12)) {
        let inside = (1..3).contains(&z) && (y % 6 > 1) && (x % 6 > 1);
        volume[[1, z, y, x]] = if inside { 0.9 } else { 0.1 };
    }
    lab.volume(name, &[("predictions", volume.into_dyn())]);
}

/// Opens a file without a lock: programs that other tests start meanwhile would hold it.
fn writable(path: &Path) -> File {
    let mut unlocked = File::with_options();
    unlocked.with_fapl(|list| list.file_locking(false));
    unlocked.open_rw(path).unwrap()
}

/// A gzip stream of the same bytes but for the last one.
fn with_last_changed(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&bytes).unwrap();
    packed.finish().unwrap()
}

/// All files of a folder with their bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn corrected_regions_stay_with_and_without_the_notes_of_their_making() {
    let lab = Lab::new();
    prediction(&lab, "a_predictions.h5");
    let make = |format: &str, words: &[&str]| {
        let first = ["a_predictions.h5", "--output", "out", "--format", format];
        let all = [&first[..], words].concat();
        run(&lab, "instances", &all)
    };
    let correct = |name: &str| {
        let path = lab.path(&format!("out/{name}"));
        if name == "a_instances.zarr" {
            fs::write(path.join("notes.txt"), "mine").unwrap();
            return;
        }
        let mut bytes = fs::read(&path).unwrap();
        match name {
            "a_instances.h5" => {
                drop(bytes);
                let file = writable(&path);
                let labels = Array3::<u16>::from_elem((8, 12, 12), 7);
                file.dataset("instances").unwrap().write(&labels).unwrap();
                return;
            }
            "a_instances.csv" => bytes.extend(b"99,1\n"),
            // Other labels, compressed anew: what can no longer be read nobody has corrected.
            "a_instances.nrrd" => {
                let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
                let labels = bytes.split_off(end);
                bytes.extend(with_last_changed(&labels));
            }
            "a_instances.nii.gz" => bytes = with_last_changed(&bytes),
            _ => bytes.push(b'\n'),
        }
        fs::write(&path, bytes).unwrap();
    };
    let note = |name: &str| {
        let file = writable(&lab.path(name));
        let text: VarLenUnicode = "mine".parse().unwrap();
        file.new_attr::<VarLenUnicode>().create("notes").unwrap().write_scalar(&text).unwrap();
    };
    for (format, name) in [
        ("h5", "a_instances.h5"),
        ("h5", "a_instances.csv"),
        ("tiff", "a_instances.tif"),
        ("nrrd", "a_instances.nrrd"),
        ("nifti", "a_instances.nii.gz"),
        ("metaimage", "a_instances.mha"),
        ("zarr", "a_instances.zarr"),
    ] {
        for copied in [false, true] {
            make(format, &["--preview"]).succeeded();
            // The regions alone, without their hidden notes, as `cp out/* elsewhere` copies.
            if copied {
                for (path, _) in contents(&lab.path("out")) {
                    if path.extension().is_some_and(|end| end == "recipe") {
                        fs::remove_file(path).unwrap();
                    }
                }
            }
            correct(name);
            let before = contents(&lab.path("out"));
            make(format, &[]).failed_with(1, &[name, "changed", "not replaced"]);
            make(format, &["--skip-existing"]).failed_with(1, &[name, "not replaced"]);
            assert!(contents(&lab.path("out")) == before, "{name}");
            fs::remove_dir_all(lab.path("out")).unwrap();
        }
    }
    make("h5", &[]).succeeded();
    note("out/a_instances.h5");
    make("h5", &[]).failed_with(1, &["a_instances.h5", "`notes`", "not replaced"]);
    // Ours as they are, by their own checksum too.
    fs::remove_dir_all(lab.path("out")).unwrap();
    make("h5", &[]).succeeded();
    fs::remove_file(lab.path("out/a_instances.csv")).unwrap();
    fs::remove_file(lab.path("out/.a_instances.recipe")).unwrap();
    make("h5", &["--threshold", "0.6"]).succeeded();
    for name in ["a_instances.csv", "a_instances.h5"] {
        fs::remove_file(lab.path(&format!("out/{name}"))).unwrap();
        symlink("nowhere", lab.path(&format!("out/{name}"))).unwrap();
        make("h5", &[]).failed_with(1, &[name, "no ordinary file", "not replaced"]);
        fs::remove_file(lab.path(&format!("out/{name}"))).unwrap();
    }
}

#[test]
fn a_label_image_that_cannot_be_written_to_its_end_is_an_error() {
    let lab = Lab::new();
    prediction(&lab, "a_predictions.h5");
    for format in ["tiff", "h5", "nrrd", "nifti", "metaimage", "zarr"] {
        // Room for the table, but not for the image.
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 4; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_unet3d")]);
        limited.args(["instances", "a_predictions.h5", "--output", "out", "--format", format]);
        let done = limited.env_clear().current_dir(lab.path("")).output().unwrap();
        Run::from(done).failed_with(1, &["a_instances.", "File too large"]);
        let names: Vec<_> = contents(&lab.path("out"))
            .into_iter()
            .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
            .filter(|name| name != "a_instances.csv" && !name.ends_with(".recipe"))
            .collect();
        assert_eq!(names, [""; 0]);
        fs::remove_dir_all(lab.path("out")).unwrap();
    }
}

#[test]
fn results_that_share_a_file_are_refused_before_anything_is_made() {
    let lab = Lab::new();
    for folder in ["one", "other", "out"] {
        fs::create_dir(lab.path(folder)).unwrap();
    }
    prediction(&lab, "one/a_predictions.h5");
    run(&lab, "convert", &["one/a_predictions.h5", "one/a_predictions.tif"]).succeeded();
    fs::copy(lab.path("one/a_predictions.h5"), lab.path("other/a_predictions.h5")).unwrap();
    symlink("one", lab.path("link")).unwrap();
    // The label images of these are two files, but their tables are one.
    for [first, second] in [
        ["one/a_predictions.h5", "one/a_predictions.tif"],
        ["one/a_predictions.h5", "other/a_predictions.h5"],
        ["one/a_predictions.h5", "link/../one/./a_predictions.h5"],
    ] {
        run(&lab, "instances", &[first, second, "--output", "out"])
            .failed_with(1, &["would both give", "a_instances."]);
    }
    run(&lab, "instances", &["one/a_predictions.h5", "link/a_predictions.h5"])
        .failed_with(1, &["would both give", "one/a_instances.h5"]);
    assert!(contents(&lab.path("out")).is_empty());
    // The seeds are an earlier result of that name.
    run(&lab, "instances", &["one/a_predictions.h5", "--output", "out"]).succeeded();
    let words = ["one/a_predictions.h5", "--output", "out", "--split=seeds", "--seeds"];
    let seeds = ["link/../out/a_instances.h5", "--label-dataset=instances"];
    run(&lab, "instances", &[&words[..], &seeds].concat())
        .failed_with(1, &["a_instances.h5", "the input itself"]);
}

#[test]
fn scores_that_somebody_changed_stay() {
    let lab = Lab::new();
    for folder in ["found", "truth"] {
        fs::create_dir(lab.path(folder)).unwrap();
        let labels = Array3::from_shape_fn((2, 6, 6), |(_, y, _)| u16::from(y > 2));
        let file = File::create(lab.path(&format!("{folder}/a.h5"))).unwrap();
        file.new_dataset_builder().with_data(&labels).create("instances").unwrap();
        file.close().unwrap();
    }
    let words = ["found", "truth", "--kind=instances", "--output=out"];
    let with = |report: &str| run(&lab, "evaluate", &[&words[..], &["--report", report]].concat());
    with("out/report.html").succeeded();
    with("out/report.html").succeeded();
    let files = ["scores.csv", "summary.json", "report.html"];
    for (name, from, to) in [
        ("scores.csv", "objects", "objects, of the old camera"),
        ("summary.json", "{", "{ \"notes\": \"mine\","),
        ("report.html", "</body>", "<p>mine</p></body>"),
    ] {
        let path = lab.path("out").join(name);
        let ours = fs::read_to_string(&path).unwrap();
        let changed = ours.replacen(from, to, 1);
        assert_ne!(changed, ours);
        fs::write(&path, &changed).unwrap();
        with("out/report.html").failed_with(1, &[name, "changed since", "not replaced"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), changed);
        fs::write(&path, ours).unwrap();
    }
    with("out/report.html").succeeded();
    // A table whose summary is gone may be anybody's.
    fs::rename(lab.path("out/summary.json"), lab.path("summary.json")).unwrap();
    with("out/report.html").failed_with(1, &["scores.csv", "not replaced"]);
    fs::rename(lab.path("summary.json"), lab.path("out/summary.json")).unwrap();

    with("out/../out/scores.csv").failed_with(1, &["scores.csv", "one file"]);
    with("found/a.h5").failed_with(1, &["found/a.h5", "the input itself"]);
    for name in files {
        let path = lab.path("out").join(name);
        for special in ["link", "pipe", "folder"] {
            fs::remove_file(&path).unwrap();
            match special {
                "link" => symlink("nowhere", &path).unwrap(),
                "folder" => fs::create_dir(&path).unwrap(),
                _ => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
            }
            with("out/report.html").failed_with(1, &[name, "not replaced"]);
            if special == "folder" {
                fs::remove_dir(&path).unwrap();
                fs::write(&path, "").unwrap();
            }
        }
        fs::remove_file(&path).unwrap();
        if name == "scores.csv" {
            with("out/report.html").succeeded();
        } else {
            fs::remove_dir_all(lab.path("out")).unwrap();
            with("out/report.html").succeeded();
        }
    }
}

#[test]
fn names_and_label_inputs_take_no_other_files_place() {
    let lab = Lab::new();
    let regions = Array3::from_shape_fn((4, 8, 8), |(_, y, _)| u16::from(y > 3));
    let file = File::create(lab.path("regions.h5")).unwrap();
    file.new_dataset_builder().with_data(&regions).create("roi").unwrap();
    file.close().unwrap();
    lab.volume("image.h5", &[("raw", Array4::<f32>::ones((2, 4, 8, 8)).into_dyn())]);
    lab.volume("p.h5", &[("predictions", Array4::<f32>::ones((2, 4, 8, 8)).into_dyn())]);
    fs::write(lab.path("names.txt"), "AVA\n").unwrap();
    let naming = ["--predictions=p.h5", "--regions=regions.h5", "--names=names.txt"];
    let names = |output: &str, matrix: &str| {
        let words = [&naming[..], &["--output", output, "--matrix", matrix]].concat();
        run(&lab, "name-cells", &words)
    };
    let label = |output: &str, regions: &str| {
        let words = ["--image=image.h5", "--regions=regions.h5", "--crop=4,8,8"];
        let outputs = ["--output", output, "--regions-output", regions];
        run(&lab, "make-label-input", &[&words[..], &outputs].concat())
    };
    symlink("nowhere", lab.path("link.csv")).unwrap();
    symlink("nowhere", lab.path("link.h5")).unwrap();
    fs::create_dir(lab.path("folder")).unwrap();
    names("x.csv", "./folder/../x.csv").failed_with(1, &["x.csv", "are one file"]);
    names("link.csv", "x.h5").failed_with(1, &["link.csv", "not replaced"]);
    names("x.csv", "link.h5").failed_with(1, &["link.h5", "not replaced"]);
    names("x.csv", "p.h5").failed_with(1, &["p.h5", "not replaced"]);
    label("y.h5", "folder/../y.h5").failed_with(1, &["y.h5", "are one file"]);
    label("link.h5", "y.h5").failed_with(1, &["link.h5", "not replaced"]);
    assert!(!lab.path("x.csv").exists() && !lab.path("x.h5").exists());
    assert!(!lab.path("y.h5").exists() && lab.path("link.csv").is_symlink());
    names("x.csv", "x.h5").succeeded();
    label("y.h5", "z.h5").succeeded();
}
