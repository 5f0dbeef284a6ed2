//! What stands under the names of outputs before a run: what is replaced, what is left
//! alone, what counts as done, and whose unfinished files are removed.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::fixture;
use crate::support::lab::{Lab, read};
use crate::support::program::{Run, program, python, script, with_config, with_flags};

use super::program::lab;

/// A laboratory whose three volumes are predicted into `out/`, and its configuration.
fn predicted() -> (Lab, PathBuf, String) {
    let lab = lab();
    let config = lab.prediction();
    let out = format!("loaders.output_dir={}", lab.path("out").display());
    with_config("predict", &config, &[&out]).succeeded();
    (lab, config, out)
}

fn output(lab: &Lab, name: &str) -> PathBuf {
    lab.path(&format!("out/{name}_predictions.h5"))
}

fn change(how: &str, path: &Path) {
    // Programs that other tests start while this process has a file open hold its lock, too.
    let mut command = python();
    command.env("HDF5_USE_FILE_LOCKING", "FALSE").arg(fixture("change_output.py"));
    let run = Run::from(command.arg(how).arg(path).output().unwrap());
    assert_eq!(run.code, Some(0), "{how}: {}", run.err);
}

/// Names of the outputs that a run with `--skip-existing` makes.
fn made_anew(config: &Path, options: &[&str]) -> (Vec<String>, Run) {
    let mut command = program();
    command.args(["predict", "--skip-existing", "--threads", "1", "--config"]).arg(config);
    for option in options {
        command.args(["--set", option]);
    }
    let run = Run::from(command.output().unwrap());
    let made = run.out.lines().filter(|line| line.contains("s a volume"));
    let mut names: Vec<String> = made
        .filter_map(|line| Some(line.split("/out/").nth(1)?.split('_').next()?.to_string()))
        .collect();
    names.sort();
    (names, run)
}

#[test]
fn only_our_own_and_exactly_what_pytorch_3dunet_writes_is_replaced() {
    let (lab, config, out) = predicted();
    let [t1, t2, t10] = ["t1", "t2", "t10"].map(|name| output(&lab, name));
    let wanted = [&t1, &t2, &t10].map(|path| read(path, "predictions"));
    let replaced = || {
        let now = [&t1, &t2, &t10].map(|path| read(path, "predictions"));
        assert!(now == wanted);
    };
    // Our own, copied, that of an earlier version, and what the other program left.
    change("earlier", &t1);
    fs::copy(&t2, lab.path("copy")).unwrap();
    fs::rename(lab.path("copy"), &t2).unwrap();
    fs::remove_file(&t10).unwrap();
    change("pytorch-3dunet", &t10);
    with_config("predict", &config, &[&out]).succeeded();
    replaced();
    // Ours, but no longer to be read: cut off, and overwritten in its midst.
    let whole = fs::read(&t1).unwrap();
    File::options().write(true).open(&t1).unwrap().set_len(whole.len() as u64 / 2).unwrap();
    let file = File::options().write(true).open(&t10).unwrap();
    file.write_all_at(&[0; 999], fs::metadata(&t10).unwrap().len() / 2).unwrap();
    with_config("predict", &config, &[&out]).succeeded();
    replaced();

    for (how, words) in [
        ("annotated", "holds no predictions of this program"),
        ("labelled", "holds no predictions of this program"),
        ("notes", "`notes` was added"),
        ("attribute", "the attribute `who` was added"),
        ("voxel", "its voxels were written anew"),
        ("again", "its voxels were written anew"),
        ("text", "has 0 axes"),
        ("group", "`predictions` was added"),
        ("link", "`predictions` was added"),
    ] {
        let ours = fs::read(&t1).unwrap();
        if ["annotated", "labelled"].contains(&how) {
            fs::remove_file(&t1).unwrap();
        }
        change(how, &t1);
        let changed = fs::read(&t1).unwrap();
        // HDF5 compresses as we do not, so that even equal voxels are stored in other bytes.
        assert_ne!(ours, changed, "{how}");
        let run = with_config("predict", &config, &[&out])
            .failed_with(1, &["1 of 3 volume(s)", "out/t1_predictions.h5", words, "not replaced"]);
        assert!(run.out.contains("2 of 3 volume(s) predicted"), "{}", run.out);
        assert_eq!(fs::read(&t1).unwrap(), changed, "{how}");
        fs::write(&t1, &ours).unwrap();
    }
    // A changed voxel of an output that is not compressed.
    let plain = [out.as_str(), "predictor.compression=none"];
    with_config("predict", &config, &plain).succeeded();
    change("voxel", &t2);
    with_config("predict", &config, &plain).failed_with(1, &["t2_predictions.h5", "written anew"]);
}

#[test]
fn what_is_no_ordinary_file_is_neither_replaced_nor_waited_for() {
    let lab = lab();
    fs::create_dir(lab.path("out")).unwrap();
    fs::create_dir(output(&lab, "t1")).unwrap();
    symlink("/nowhere/at/all", output(&lab, "t2")).unwrap();
    let fifo = output(&lab, "t10");
    let made = std::process::Command::new("mkfifo")
        .args([&fifo, &fifo.with_extension("png")])
        .status()
        .unwrap();
    assert!(made.success());
    let out = format!("loaders.output_dir={}", lab.path("out").display());
    let options = [out.as_str(), "predictor.preview=true"];
    with_config("predict", &lab.prediction(), &options)
        .failed_with(1, &["3 of 3 volume(s)", "t1_pred", "t2_pred", "t10_pred", "leads nowhere"]);
    // Nor is one that an input leads to.
    let linked = lab.path("linked.h5");
    for (raw, target) in [("raw", "t10_predictions.h5"), ("inner/raw", "t10_predictions.png")] {
        let target = lab.path("out").join(target);
        script("link_outside.py", [linked.as_os_str(), raw.as_ref(), target.as_os_str()]);
        let files = format!("loaders.test.file_paths=['{}']", linked.display());
        let name = format!("loaders.raw_internal_path={raw}");
        with_config("predict", &lab.prediction(), &[&out, &files, &name])
            .failed_with(1, &["linked.h5", "is a link to", "cannot be opened"]);
    }
    fs::remove_file(&fifo).unwrap();
    let one = format!("loaders.test.file_paths=['{}']", lab.path("test/t10.h5").display());
    with_config("predict", &lab.prediction(), &[&out, "predictor.preview=true", &one])
        .failed_with(1, &["t10_predictions.png", "not replaced"]);
    with_config("predict", &lab.prediction(), &[&one, "loaders.output_dir=/dev/null/out"])
        .failed_with(1, &["/dev/null"]);
}

#[test]
fn two_spellings_of_one_output_are_refused_before_anything_runs() {
    let lab = lab();
    let config = lab.prediction();
    let folder = lab.directory.path().canonicalize().unwrap();
    fs::create_dir(lab.path("other")).unwrap();
    fs::create_dir(lab.path("other/deep")).unwrap();
    fs::copy(lab.path("test/t1.h5"), lab.path("other/t1.h5")).unwrap();
    symlink("test", lab.path("link")).unwrap();
    symlink(folder.join("other/deep"), lab.path("jump")).unwrap();
    // The same input twice, and other inputs whose results would go to one folder.
    for (first, second) in [
        ("test/t1.h5", "test/./t1.h5"),
        ("test/t1.h5", "other/../test/t1.h5"),
        ("test/t1.h5", "link/t1.h5"),
        ("other/t1.h5", "jump/../t1.h5"),
    ] {
        let files = format!(
            "loaders.test.file_paths=['{}', '{}']",
            folder.join(first).display(),
            folder.join(second).display()
        );
        with_config("predict", &config, &[&files])
            .failed_with(2, &["t1.h5", "would both be written to", "name it once"]);
    }
    // Relative and absolute.
    let run = program()
        .args(["predict", "--config"])
        .arg(&config)
        .args([
            "--set",
            &format!("loaders.test.file_paths=[test/t1.h5, '{}/test/t1.h5']", folder.display()),
        ])
        .current_dir(&folder)
        .output()
        .unwrap();
    Run::from(run).failed_with(2, &["would both be written to"]);
    // Two inputs whose folders have links, one to the other, beside the inputs.
    fs::create_dir(lab.path("third")).unwrap();
    symlink(folder.join("other/t1.h5"), lab.path("third/t1.h5")).unwrap();
    let files = format!(
        "loaders.test.file_paths=['{}', '{}']",
        lab.path("test/t1.h5").display(),
        lab.path("third/t1.h5").display()
    );
    for out in ["not/there", "not/../not/./there"] {
        let out = format!("loaders.output_dir={}", lab.path(out).display());
        with_config("predict", &config, &[&files, &out])
            .failed_with(2, &["would both be written to", "not/there/t1_predictions.h5", "rename"]);
    }
    let found = |folder: &str| fs::read_dir(lab.path(folder)).unwrap().count();
    assert_eq!((found("test"), found("other"), found("third")), (3, 2, 1), "nothing was written");
    assert!(!lab.path("not").exists());
}

#[test]
fn an_input_of_any_age_that_took_the_place_of_another_is_predicted() {
    let (lab, config, out) = predicted();
    let input = lab.path("test/t1.h5");
    assert_eq!(made_anew(&config, &[&out]).0, [""; 0]);
    let before = read(&output(&lab, "t1"), "predictions");
    // Another volume of the same size, a year old, moved here; and back.
    lab.balls("old.h5", [13, 27, 30], 8);
    let time = fs::metadata(&input).unwrap().modified().unwrap();
    for (age, number) in [(365 * 24 * 3600, 8), (0, 9)] {
        lab.balls("old.h5", [13, 27, 30], number);
        let old = File::options().write(true).open(lab.path("old.h5")).unwrap();
        old.set_modified(time - Duration::from_secs(age)).unwrap();
        fs::rename(lab.path("old.h5"), &input).unwrap();
        assert_eq!(made_anew(&config, &[&out]).0, ["t1"], "{age}");
        assert_ne!(read(&output(&lab, "t1"), "predictions"), before);
    }
    assert_eq!(made_anew(&config, &[&out]).0, [""; 0]);
    // Moved together with their results they are still done.
    fs::rename(lab.path("test"), lab.path("moved")).unwrap();
    fs::rename(lab.path("out"), lab.path("moved/out")).unwrap();
    let files = format!("loaders.test.file_paths=['{}']", lab.path("moved").display());
    let moved = format!("loaders.output_dir={}", lab.path("moved/out").display());
    assert_eq!(made_anew(&config, &[&files, &moved]).0, [""; 0]);
    // Inputs of another folder replace them, and it is said of which.
    fs::create_dir(lab.path("test")).unwrap();
    fs::copy(lab.path("moved/t2.h5"), lab.path("test/t2.h5")).unwrap();
    fs::create_dir(lab.path("elsewhere")).unwrap();
    fs::copy(lab.path("moved/t2.h5"), lab.path("elsewhere/t2.h5")).unwrap();
    let files = format!("loaders.test.file_paths=['{}']", lab.path("elsewhere").display());
    let run = with_config("predict", &config, &[&files, &moved]).succeeded();
    let said =
        format!("replaces the result of another input, {}", lab.path("test/t2.h5").display());
    assert!(run.out.contains(&said), "{}", run.out);
}

#[test]
fn a_damaged_output_is_not_done() {
    let (lab, config, out) = predicted();
    let preview = [out.as_str(), "predictor.preview=true"];
    assert_eq!(made_anew(&config, &preview).0, ["t1", "t10", "t2"], "they have no pictures");
    let [t1, t2, t10] = ["t1", "t2", "t10"].map(|name| output(&lab, name));
    let wanted = [&t1, &t2, &t10].map(|path| fs::read(path).unwrap());
    let cut = |path: &Path, length: u64| {
        File::options().write(true).open(path).unwrap().set_len(length).unwrap();
    };
    let picture = t2.with_extension("png");
    cut(&t1, wanted[0].len() as u64 - 1);
    cut(&picture, fs::metadata(&picture).unwrap().len() / 2);
    let file = File::options().write(true).open(&t10).unwrap();
    file.write_all_at(b"damaged", wanted[2].len() as u64 * 2 / 3).unwrap();
    let (made, run) = made_anew(&config, &preview);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(made, ["t1", "t10", "t2"]);
    assert_eq!(run.out.matches("is damaged and is made anew").count(), 2, "{}", run.out);
    for (path, wanted) in [&t1, &t2, &t10].iter().zip(&wanted) {
        assert_eq!(read(path, "predictions").shape()[0], 2);
        let length = fs::metadata(path).unwrap().len() as i64;
        assert!((length - wanted.len() as i64).abs() < 100, "{}", path.display());
    }
    assert_eq!(made_anew(&config, &preview).0, [""; 0]);
    // One that a person changed is neither done nor replaced.
    change("voxel", &t2);
    let (made, run) = made_anew(&config, &preview);
    assert_eq!(made, [""; 0]);
    run.failed_with(1, &["t2_predictions.h5", "was changed since it was written"]);
}

#[test]
fn damaged_outputs_beside_the_inputs_are_no_inputs() {
    let lab = lab();
    let config = lab.prediction();
    with_config("predict", &config, &[]).succeeded();
    let damaged = lab.path("test/t1_predictions.h5");
    let length = fs::metadata(&damaged).unwrap().len();
    File::options().write(true).open(&damaged).unwrap().set_len(length / 2).unwrap();
    let run = with_config("predict", &config, &[]).succeeded();
    assert!(run.out.contains("3 of 3 volume(s) predicted"), "{}", run.out);
    assert_eq!(fs::metadata(&damaged).unwrap().len(), length);
}

#[test]
fn a_result_that_appears_during_the_run_is_not_replaced() {
    let lab = lab();
    for number in 20..40 {
        fs::copy(lab.path("test/t1.h5"), lab.path(&format!("test/v{number}.h5"))).unwrap();
    }
    let out = format!("loaders.output_dir={}", lab.path("out").display());
    let mut child = program()
        .args(["predict", "--threads", "1", "--config"])
        .arg(lab.prediction())
        .args(["--set", &out])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // As soon as an unfinished file is there, somebody puts his own under its name.
    let unfinished = || {
        let entries = fs::read_dir(lab.path("out")).ok()?;
        let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.find(|name| name.ends_with(".partial"))
    };
    let name = loop {
        if let Some(name) = unfinished() {
            break name;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was seen at work");
    };
    let target = name[1..].strip_suffix(".partial").unwrap().rsplit_once('.').unwrap().0;
    let mine = lab.path("out").join(target);
    let came_in_time = !mine.exists();
    if came_in_time {
        fs::write(&mine, "my notes").unwrap();
    }
    let run = Run::from(child.wait_with_output().unwrap());
    if came_in_time && fs::read(&mine).unwrap() != b"my notes" {
        panic!("a file that appeared was replaced: {}", run.err);
    }
}

#[test]
fn the_unfinished_files_of_living_processes_stay_and_those_of_dead_ones_go() {
    let lab = lab();
    fs::create_dir(lab.path("out")).unwrap();
    let held = lab.path("out/.t1_predictions.h5.aBc123.partial");
    let left = lab.path("out/.t1_predictions.h5.dEf456.partial");
    let other = lab.path("out/.notes.txt.dEf456.partial");
    for path in [&held, &left, &other] {
        fs::write(path, "unfinished").unwrap();
    }
    let writer = File::open(&held).unwrap();
    writer.try_lock_shared().unwrap();
    let out = format!("loaders.output_dir={}", lab.path("out").display());
    with_config("predict", &lab.prediction(), &[&out]).succeeded();
    assert!(held.exists() && !left.exists() && other.exists());
    drop(writer);
    with_config("predict", &lab.prediction(), &[&out]).succeeded();
    assert!(!held.exists() && other.exists());
}

#[test]
fn processes_that_predict_the_same_files_do_not_disturb_each_other() {
    let (lab, config, out) = predicted();
    let wanted = ["t1", "t2", "t10"].map(|name| read(&output(&lab, name), "predictions"));
    // With the library's own locks, too.
    for locking in ["FALSE", "TRUE"] {
        fs::remove_dir_all(lab.path("out")).unwrap();
        let children: Vec<_> = (0..4)
            .map(|_| {
                program()
                    .args(["predict", "--threads", "1", "--config"])
                    .arg(&config)
                    .args(["--set", &out])
                    .env("HDF5_USE_FILE_LOCKING", locking)
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let runs: Vec<_> = children
            .into_iter()
            .map(|child| Run::from(child.wait_with_output().unwrap()))
            .collect();
        for run in runs {
            run.succeeded();
        }
        let found = ["t1", "t2", "t10"].map(|name| read(&output(&lab, name), "predictions"));
        assert!(found == wanted);
        assert_eq!(fs::read_dir(lab.path("out")).unwrap().count(), 3, "nothing is left over");
    }
}

#[test]
fn results_share_no_picture_and_no_regions_and_lie_in_no_store() {
    let lab = lab();
    let config = lab.prediction();
    let first = lab.path("test/t1.h5");
    let convert = |to: &str| {
        let words = ["convert".as_ref(), first.as_os_str(), lab.path(to).as_os_str()]
            .map(|word| word.to_owned());
        let run = program().args(words).args(["--dataset", "raw"]).output().unwrap();
        Run::from(run).succeeded();
    };
    convert("t1.tif");
    convert("s.zarr");
    // The results of these are two files of two formats.
    let files = format!(
        "loaders.test.file_paths=['{}', '{}']",
        first.display(),
        lab.path("t1.tif").display()
    );
    let out = format!("loaders.output_dir={}", lab.path("out").display());
    with_config("predict", &config, &[&files, &out, "predictor.preview=true"])
        .failed_with(2, &["would both be written to", "t1_predictions.png"]);
    for command in ["predict", "check"] {
        with_config(command, &config, &[&files, &out, "instances={threshold: 0.4}"])
            .failed_with(1, &["instances", "would both give", "t1_instances.csv"]);
    }
    assert!(!lab.path("out").exists());
    let store = format!("loaders.output_dir={}", lab.path("s.zarr/results").display());
    with_config("predict", &config, &[&store]).failed_with(2, &["within the Zarr store"]);
    assert!(!lab.path("s.zarr/results").exists());
    with_config("predict", &config, &[&files, &out]).succeeded();
    // A picture that leads nowhere is not ours.
    symlink("nowhere", lab.path("out/t1_predictions.png")).unwrap();
    let one = format!("loaders.test.file_paths=['{}']", first.display());
    with_config("predict", &config, &[&one, &out, "predictor.preview=true"])
        .failed_with(1, &["t1_predictions.png", "not replaced"]);
}

#[test]
fn an_input_whose_voxels_lie_in_another_file_is_predicted_anew_with_them() {
    let lab = lab();
    let config = lab.prediction();
    let header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 16 16 8\nencoding: raw\n\
                  data file: v.raw\n\n";
    fs::write(lab.path("v.nhdr"), header).unwrap();
    let write = |seed: u8| {
        let voxels: Vec<u8> = (0..16 * 16 * 8).map(|n: u16| (n as u8).wrapping_mul(seed)).collect();
        fs::write(lab.path("v.raw"), voxels).unwrap();
    };
    write(3);
    let files = format!("loaders.test.file_paths=['{}']", lab.path("v.nhdr").display());
    let run = || {
        let done = with_flags("predict", &config, &["--skip-existing"], &[&files]).succeeded();
        done.out.contains("1 of 1 volume(s) have their result already")
    };
    assert!(!run() && run());
    write(5);
    assert!(!run() && run());
}
