//! Event files, read with TensorBoard's own reader.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::program::script;
use rand::{RngExt, SeedableRng};
use unet3d::tensorboard::{EventWriter, Image};

fn python() -> PathBuf {
    match std::env::var_os("UNET3D_PYTHON") {
        Some(python) => python.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
    }
}

#[test]
fn tensorboard_finds_every_tag_and_value() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("run/logs");
    let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(1);
    const COUNT: usize = 20_000;
    let uniform: Vec<f32> = (0..COUNT).map(|_| random.random_range(-0.5..0.5)).collect();
    // All magnitudes, both signs, and beyond the last bin.
    let wide: Vec<f32> = (0..COUNT)
        .map(|_| 10f32.powf(random.random_range(-20.0..22.0)) * random.random_range(-1.0..1.0))
        .collect();
    // Floats at and beside the edges of bins, and zeros of both signs.
    let edges: Vec<f32> = (0..COUNT as i32)
        .map(|i| match i % 4 {
            0 => (1e-12 * 1.1f64.powi(i / 14)) as f32,
            1 => -(1e-12 * 1.1f64.powi(i / 14)) as f32,
            2 => 0.0,
            _ => -0.0,
        })
        .collect();
    {
        let events = EventWriter::open(&logs);
        for n in 1..200 {
            events.scalar("learning_rate", 0.5f64.powi(n), n as u64 * 10);
        }
        events.scalar("train_loss_avg", f64::NAN, 10);
        events.scalar("val_eval_score_avg", 0.25, 10);
        events.histogram("conv.weight", uniform.clone(), 10);
        events.histogram("conv.weight/grad", wide.clone(), 10);
        events.histogram("edges", edges.clone(), 10);
        events.histogram("lost", vec![f32::NAN; 3], 10);
        events.histogram("empty", vec![], 10);
        let pixels = vec![-1.0, 0.0, 1.0, 2.0, 3.0, 4.0];
        events.image("inputs/batch_0/channel_0/slice_4", Image { height: 2, width: 3, pixels }, 10);
        events.image("constant", Image { height: 2, width: 1, pixels: vec![7.0, 7.0] }, 10);
    }
    let values: Vec<u8> =
        [uniform, wide, edges].concat().into_iter().flat_map(f32::to_le_bytes).collect();
    let values_path = folder.path().join("values");
    std::fs::write(&values_path, values).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/check_tensorboard.py");
    let output = Command::new(python())
        .arg(script)
        .args([&logs, &values_path])
        .output()
        .expect("Python with tensorboard and torch: set UNET3D_PYTHON or make .venv");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"same\n");
}

#[test]
fn flush_brings_everything_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let events = EventWriter::open(folder.path());
    let size = || {
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1);
        files[0].as_ref().unwrap().metadata().unwrap().len()
    };
    events.flush();
    let before = size();
    events.scalar("loss", 1.0, 1);
    events.flush();
    // 12 bytes before the data, 4 after it, and 9 + 2 + 15 bytes of event.
    assert_eq!(size() - before, 42);
}

#[test]
fn runs_of_the_same_second_do_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let writers: Vec<EventWriter> = (0..3).map(|_| EventWriter::open(folder.path())).collect();
    drop(writers);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_log_that_is_removed_goes_on_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("run/logs");
    let events = EventWriter::open(&logs);
    events.scalar("before", 1.0, 1);
    events.flush();
    std::fs::remove_dir_all(folder.path().join("run")).unwrap();
    events.scalar("after", 2.0, 2);
    events.flush();
    // Another file in its place is not this one.
    let name = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&name).unwrap();
    std::fs::write(&name, "").unwrap();
    events.scalar("later", 3.0, 3);
    drop(events);
    assert_eq!(std::fs::read(&name).unwrap(), b"", "what others put there stays");
    std::fs::remove_file(&name).unwrap();
    let read = script("read_events.py", [format!("run={}", logs.display())]);
    assert!(read.contains("run later 3 ") && !read.contains("before"), "{read}");
}

#[test]
fn trouble_never_reaches_training() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    // A directory that cannot be made.
    let lost = EventWriter::open(&file.join("logs"));
    for step in 0..1000 {
        lost.scalar("loss", 0.0, step);
    }
    lost.flush();
    drop(lost);
    assert_eq!(std::fs::read(&file).unwrap(), b"");
}
