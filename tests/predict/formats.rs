//! Results in every format: their names, what is replaced, what counts as done, and results
//! that several processes make block by block.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::lab::{Lab, read};
use crate::support::program::{Run, program, unet3d, with_config, with_flags};

use super::program::lab;
use unet3d::format;
use unet3d::volume::Volume;

/// Names of formats in configurations, with a version of OME-Zarr, and the extensions of
/// their results.
const FORMATS: [(&str, &str); 7] = [
    ("hdf5", "h5"),
    ("zarr", "zarr"),
    ("zarr 0.4", "zarr"),
    ("tiff", "tif"),
    ("nrrd", "nrrd"),
    ("nifti", "nii.gz"),
    ("metaimage", "mha"),
];

/// The settings that ask for a format.
fn settings(format: &str) -> [String; 2] {
    let (name, version) = format.split_once(' ').unwrap_or((format, "0.5"));
    [format!("predictor.output_format={name}"), format!("predictor.zarr_version={version}")]
}

fn volume(path: &Path, name: &str) -> Volume {
    let reader = format::open(path, name).unwrap_or_else(|error| panic!("{error:#}"));
    let mut volume = reader.read().unwrap();
    // A single channel need not be told apart.
    volume.has_channels |= volume.channels() == 1 && name == "predictions";
    volume
}

/// Every file of a folder with its content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), content);
            }
        }
    }
    found
}

#[test]
fn results_are_the_same_in_every_format_and_known_again() {
    let lab = lab();
    let config = lab.prediction();
    let shared = ["predictor.save_segmentation=true", "predictor.preview=true"];
    let one = format!("loaders.test.file_paths=['{}']", lab.path("test/t1.h5").display());
    let mut wanted: Option<(Volume, Volume)> = None;
    for (name, extension) in FORMATS {
        let out = format!("loaders.output_dir={}", lab.path(name).display());
        let [format, version] = settings(name);
        let options = [&[out.as_str(), &format, &version, &one][..], &shared].concat();
        with_config("predict", &config, &options).succeeded();
        let path = lab.path(&format!("{name}/t1_predictions.{extension}"));
        let apart = lab.path(&format!("{name}/t1_segmentation.{extension}"));
        let several = name == "hdf5" || extension == "zarr";
        let zarr_2 = path.join(".zattrs").is_file() && !path.join("zarr.json").exists();
        assert_eq!(zarr_2, name == "zarr 0.4");
        assert_eq!(apart.exists(), !several, "{name}");
        assert!(lab.path(&format!("{name}/t1_predictions.png")).is_file(), "{name}");
        let segmentation = if several { &path } else { &apart };
        let found = (volume(&path, "predictions"), volume(segmentation, "segmentation"));
        match &wanted {
            None => wanted = Some(found),
            Some(wanted) => assert!(found == *wanted, "{name}"),
        }
        // Done; then not whole, which is found and made anew; then somebody else's.
        let again = || with_flags("predict", &config, &["--skip-existing"], &options);
        let made = |run: Run| run.out.contains("s a volume");
        assert!(!made(again().succeeded()), "{name}");
        cut(segmentation);
        assert!(made(again().succeeded()), "{name}");
        assert!(!made(again().succeeded()), "{name}");
        remove(segmentation);
        assert!(made(again().succeeded()), "{name}");
        remove(&path);
        fs::write(&path, "mine").unwrap();
        again().failed_with(1, &[&format!("t1_predictions.{extension}"), "not replaced"]);
        assert_eq!(fs::read(&path).unwrap(), b"mine", "{name}");
        let left: Vec<_> = contents(&lab.path(name)).into_keys().collect();
        assert!(!left.iter().any(|path| path.to_string_lossy().contains("partial")), "{left:?}");
    }
    let options = [one.as_str(), "predictor.zarr_version=0.45"];
    with_config("predict", &config, &options).failed_with(2, &["zarr_version", "0.4 or 0.5"]);
    let options = [one.as_str(), "predictor.output_format=nrrd", "predictor.output_dtype=float16"];
    with_config("predict", &config, &options).failed_with(2, &["output_dtype", "float32", "NRRD"]);
}

#[test]
fn a_segmentation_in_a_file_of_its_own_replaces_no_input_and_no_ground_truth() {
    let lab = lab();
    let config = lab.prediction();
    let out = format!("loaders.output_dir={}", lab.path("out").display());
    let options = [&out, "predictor.output_format=tiff", "predictor.save_segmentation=true"];
    with_config("predict", &config, &options).succeeded();
    let segmentation = lab.path("out/t1_segmentation.tif");
    let before = fs::read(&segmentation).unwrap();
    let raw = lab.path("test/t1.h5").display().to_string();
    let other = lab.path("out/../out/t1_segmentation.tif").display().to_string();
    for files in [
        format!("loaders.test.file_paths=['{raw}', '{other}']"),
        format!("loaders.test.file_paths=[{{raw: '{raw}', label: '{other}'}}]"),
    ] {
        with_config("predict", &config, &[&options[..], &[&files]].concat())
            .failed_with(2, &["t1_segmentation.tif is an input", "loaders.output_dir"]);
        assert_eq!(fs::read(&segmentation).unwrap(), before);
    }
}

fn remove(path: &Path) {
    unet3d::files::remove(path).unwrap();
}

/// The file, or the largest file of the store.
fn largest(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_path_buf();
    }
    let all = contents(path);
    path.join(all.iter().max_by_key(|(_, content)| content.len()).unwrap().0)
}

/// Cuts off the second half.
fn cut(path: &Path) {
    let file = largest(path);
    let length = fs::metadata(&file).unwrap().len();
    File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
}

/// Overwrites something in the midst.
fn change(path: &Path) {
    let file = largest(path);
    let length = fs::metadata(&file).unwrap().len();
    let file = File::options().write(true).open(file).unwrap();
    file.write_all_at(&[0xff; 64], (length / 2).max(32) - 32).unwrap();
}

#[test]
fn what_somebody_has_changed_is_not_replaced_in_any_format() {
    let lab = lab();
    let config = lab.prediction();
    let one = format!("loaders.test.file_paths=['{}']", lab.path("test/t2.h5").display());
    for (name, extension) in FORMATS {
        let out = format!("loaders.output_dir={}", lab.path(name).display());
        let [format, version] = settings(name);
        // Stored as they are, so that another value is no damage.
        let options = [one.as_str(), &out, &format, &version, "predictor.compression=none"];
        with_config("predict", &config, &options).succeeded();
        let extension = if name == "nifti" { "nii" } else { extension };
        let path = lab.path(&format!("{name}/t2_predictions.{extension}"));
        change(&path);
        let before = if path.is_dir() { contents(&path) } else { BTreeMap::new() };
        let run = with_flags("predict", &config, &["--skip-existing"], &options);
        run.failed_with(1, &["t2_predictions", "changed since", "not replaced"]);
        assert!(!path.is_dir() || contents(&path) == before, "{name}");
    }
}

#[test]
fn the_format_of_the_input_is_that_of_the_result() {
    let lab = lab();
    let config = lab.prediction();
    with_config("predict", &config, &[]).succeeded();
    let wanted = read(&lab.path("test/t1_predictions.h5"), "predictions");
    let folder = lab.path("inputs");
    fs::create_dir(&folder).unwrap();
    for extension in ["zarr", "ome.tif", "nrrd", "nii.gz", "mha"] {
        let stem = extension.replace('.', "");
        let to = folder.join(format!("{stem}.{extension}"));
        let from = lab.path("test/t1.h5");
        let mut arguments = vec!["convert".as_ref(), from.as_os_str(), to.as_os_str()];
        arguments.extend(["--dataset", "raw", "--set-voxel-size", "2,0.5,0.25"].map(OsStr::new));
        unet3d(arguments).succeeded();
    }
    let paths = format!("loaders.test.file_paths=['{}']", folder.display());
    // Twice: results are no inputs.
    for flags in [&[][..], &["--skip-existing"]] {
        let run = with_flags("predict", &config, flags, &[&paths]).succeeded();
        assert_eq!(run.out.contains("s a volume"), flags.is_empty(), "{}", run.out);
    }
    for name in ["zarr.zarr", "ometif.tif", "nrrd.nrrd", "niigz.nii.gz", "mha.mha"] {
        let (stem, extension) = name.split_once('.').unwrap();
        let path = folder.join(format!("{stem}_predictions.{extension}"));
        let found = volume(&path, "predictions").into_f32().into_dyn();
        assert!(found == wanted, "{name}");
        let size = format::open(&path, "predictions").unwrap().voxel_size().unwrap();
        assert!((size[0] - 2.0).abs() < 1e-9 && (size[2] - 0.25).abs() < 1e-9, "{name} {size:?}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 10);
    let json = unet3d([
        "info".as_ref(),
        "--json".as_ref(),
        folder.join("mha_predictions.mha").as_os_str(),
    ]);
    let json: serde_json::Value = serde_json::from_str(&json.succeeded().out).unwrap();
    assert_eq!(json[0]["kind"], "prediction");
    assert_eq!(json[0]["state"], "as it was written");
    assert_eq!(json[0]["checkpoint"]["unchanged"], true);
    assert_eq!(json[0]["input"]["unchanged"], true);
    let checkpoint = lab.path("run/last_checkpoint.pytorch");
    let text = unet3d(["info".as_ref(), checkpoint.as_os_str()]).succeeded().out;
    for words in ["checkpoint", "iterations: 3", "training files", "train.h5", "best score"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// A laboratory with one volume of several blocks, predicted into Zarr.
struct Blocks {
    lab: Lab,
    config: PathBuf,
}

impl Blocks {
    fn new() -> Blocks {
        let lab = lab();
        fs::create_dir(lab.path("large")).unwrap();
        lab.balls("large/v.h5", [34, 66, 130], 9);
        let config = lab.prediction();
        Blocks { lab, config }
    }

    /// The command that predicts into a folder.
    fn command(&self, out: &str, flags: &[&str], more: &[&str]) -> Command {
        let mut command = program();
        command.args(["predict", "--threads", "1", "--config"]).arg(&self.config).args(flags);
        let folder = self.lab.path(out);
        let options = [
            format!("loaders.output_dir={}", folder.display()),
            format!("loaders.test.file_paths=['{}']", self.lab.path("large").display()),
            "predictor.output_format=zarr".to_owned(),
            "predictor.block_memory=1".to_owned(),
            "predictor.save_segmentation=true".to_owned(),
            // Few large patches: it is blocks that are tried.
            "loaders.test.slice_builder.patch_shape=[16, 32, 32]".to_owned(),
            "loaders.test.slice_builder.stride_shape=[11, 23, 25]".to_owned(),
        ];
        for option in options.iter().map(String::as_str).chain(more.iter().copied()) {
            command.args(["--set", option]);
        }
        command
    }

    fn run(&self, out: &str, flags: &[&str]) -> Run {
        Run::from(self.command(out, flags, &[]).output().unwrap())
    }

    fn start(&self, out: &str, flags: &[&str]) -> Child {
        let mut command = self.command(out, flags, &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// All files of a result but the one that names the folder of the result.
    fn files(&self, out: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = contents(&self.store(out));
        assert!(files.remove(Path::new("zarr.json")).is_some());
        files
    }

    fn store(&self, out: &str) -> PathBuf {
        self.lab.path(out).join("v_predictions.zarr")
    }
}

#[test]
fn blocks_make_the_result_of_the_whole_whoever_makes_them() {
    let blocks = Blocks::new();
    blocks.run("one", &[]).succeeded();
    let one = blocks.files("one");
    // As a file in one piece.
    let whole = blocks.command("whole", &[], &["predictor.output_format=hdf5"]).output().unwrap();
    Run::from(whole).succeeded();
    let whole = blocks.lab.path("whole/v_predictions.h5");
    for name in ["predictions", "segmentation"] {
        assert!(volume(&blocks.store("one"), name) == volume(&whole, name), "{name}");
    }
    // By four processes at once.
    let running: Vec<Child> =
        (1..=4).map(|i| blocks.start("four", &["--shard", &format!("{i}/4")])).collect();
    for mut process in running {
        assert!(process.wait().unwrap().success());
    }
    assert!(blocks.files("four") == one);
    // By two, one after the other; the first alone leaves no result.
    let first = blocks.run("two", &["--shard", "1/2"]).succeeded();
    assert!(first.out.contains("left to other processes"), "{}", first.out);
    assert!(!blocks.store("two").exists());
    blocks.run("two", &["--shard", "2/2"]).succeeded();
    assert!(blocks.files("two") == one);
    for out in ["one", "two", "four"] {
        assert_eq!(fs::read_dir(blocks.lab.path(out)).unwrap().count(), 1, "{out}");
    }
    let again = blocks.run("one", &["--skip-existing"]).succeeded();
    assert!(again.out.contains("1 of 1 volume(s) have their result"), "{}", again.out);
}

#[test]
fn kills_lose_the_blocks_under_way_alone() {
    let blocks = Blocks::new();
    blocks.run("undisturbed", &[]).succeeded();
    let wanted = blocks.files("undisturbed");
    let done = || {
        let markers = blocks.lab.path("killed/.v_predictions.zarr.unfinished/.done");
        fs::read_dir(markers).map_or(0, |entries| entries.count())
    };
    let (mut kills, mut before) = (0, 0);
    while !blocks.store("killed").exists() {
        let mut process = blocks.start("killed", &["--skip-existing"]);
        // At least one block more each time, and some of the next.
        while process.try_wait().unwrap().is_none() && done() <= before {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(7 * kills));
        let now = done();
        assert!(now >= before || blocks.store("killed").exists(), "blocks were lost");
        before = now;
        let _ = process.kill();
        process.wait().unwrap();
        kills += 1;
        assert!(kills < 40, "it does not go on");
    }
    blocks.run("killed", &["--skip-existing"]).succeeded();
    assert!(blocks.files("killed") == wanted);
    assert_eq!(fs::read_dir(blocks.lab.path("killed")).unwrap().count(), 1);
    // As after a kill between the name and the end.
    let left = blocks.lab.path("killed/.v_predictions.zarr.unfinished");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("unfinished.json"), "{}").unwrap();
    blocks.run("killed", &["--skip-existing"]).succeeded();
    assert!(!left.exists() && blocks.files("killed") == wanted);
    // What was begun with other settings is not gone on with.
    let mut process = blocks.start("other", &[]);
    let markers = blocks.lab.path("other/.v_predictions.zarr.unfinished/.done");
    while process.try_wait().unwrap().is_none() && !markers.exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = process.kill();
    process.wait().unwrap();
    let other = blocks.command("other", &[], &["predictor.tta=[x]"]).output().unwrap();
    Run::from(other).succeeded();
    assert!(blocks.files("other") != wanted);
}
