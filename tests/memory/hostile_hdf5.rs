//! Malicious and damaged HDF5 files: an error each time, no panic, and no more memory than
//! the file justifies. The files come from `tests/fixtures/make_hdf5_hostile.py`.

use crate::support::peak::alone;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::lab::Lab;
use crate::support::program::with_config;
use unet3d::format::h5::{H5File, H5Reader};
use unet3d::volume::VolumeReader;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5_hostile").join(name)
}

/// Every operation of the program on an input.
fn read_all(dataset: &H5Reader) -> anyhow::Result<()> {
    dataset.statistics()?;
    dataset.read_one_hot()?;
    dataset.read_palette()?;
    dataset.read()?;
    Ok(())
}

fn error_of(path: &Path, dataset: &str) -> String {
    let error = H5File::open(path)
        .and_then(|file| file.dataset(dataset))
        .and_then(|dataset| read_all(&dataset))
        .err();
    let error =
        error.unwrap_or_else(|| anyhow::anyhow!("{}: `{dataset}` was read", path.display()));
    let error = format!("{error:#}");
    assert!(error.contains(path.to_str().unwrap()), "no name of the file in: {error}");
    error
}

/// Peak memory of the process in kilobytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn files_made_to_do_harm_are_refused() {
    let _alone = alone();
    let before = peak();
    let mut wrong = Vec::new();
    let path = fixture("hostile.h5");
    for (dataset, says) in [
        ("shape/huge", "claims the shape [1152921504606846976, 1, 1]"),
        ("shape/sparse", "claims the shape"),
        ("shape/wraps", "claims the shape"),
        ("shape/empty", "empty axis"),
        ("shape/scalar", "has 0 axes"),
        ("shape/null", "has 0 axes"),
        ("shape/chunk", "claims chunks of the shape"),
        ("type/text", "no numbers"),
        ("type/lengthy", "no numbers"),
        ("type/compound", "no numbers"),
        ("type/reference", "no numbers"),
        ("type/region", "no numbers"),
        ("type/opaque", "no numbers"),
        ("type/array", "no numbers"),
        ("type/ragged", "no numbers"),
        ("link/nowhere", "no data set `link/nowhere`"),
        ("link/circle", "no data set `link/circle`"),
        ("link/outside_nowhere", "is a link to `raw` of /not/there.h5, which cannot be opened"),
        ("link/outside_text", "is a link to `raw` of /etc/passwd, which cannot be opened"),
        ("link/group", "no data set `link/group`"),
        ("external/raw", "has its voxels in a file without any format (/etc/passwd)"),
        ("external/zero", "has its voxels in a file without any format (/dev/zero)"),
        ("virtual/nowhere", "cannot be opened"),
        ("virtual/no_data_set", "cannot be opened"),
        ("virtual/text", "cannot be opened"),
        ("virtual/device", "cannot be opened"),
        ("virtual/itself", "is made of itself"),
        ("virtual/each_other", "is made of itself"),
        ("virtual/huge", "claims the shape"),
        ("filter/bomb", "decompressed"),
        ("filter/short", "a chunk holds 8 bytes, not 240"),
        ("filter/garbage", "decompressed"),
        ("filter/garbage_lzf", "cannot be read"),
        ("filter/checksum", "cannot be read"),
        ("filter/shuffled_short", "not"),
        ("filter/twice", "same filter twice"),
        (
            "filter/unknown",
            "the filter without a registered name (number 31999), which is not built in",
        ),
        ("nothing", "no data set `nothing`"),
    ] {
        let error = error_of(&path, dataset);
        if !error.contains(says) {
            wrong.push(format!("{dataset}: {error}"));
        }
        assert!(error.len() < 4000, "{dataset}: an error of {} bytes", error.len());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // An intact data set in the same file is read, whatever attributes it has.
    let sound = H5File::open(&path).unwrap().dataset("sound").unwrap();
    read_all(&sound).unwrap();
    let used = peak().saturating_sub(before);
    assert!(used < 64 << 10, "{used} KiB for a file of {:?} bytes", path.metadata().unwrap().len());
}

#[test]
fn circles_of_groups_have_an_end() {
    let _alone = alone();
    let error = error_of(&fixture("circles.h5"), "raw");
    assert!(error.contains("no data set `raw`"), "{error}");
}

/// A volume larger than the memory is an error before anything is allocated.
#[test]
fn a_volume_larger_than_memory_names_the_cure() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.h5");
    let file = hdf5::File::create(&path).unwrap();
    let shape = (1 << 14, 1 << 14, 1 << 14);
    let dataset =
        file.new_dataset::<f32>().shape(shape).chunk((256, 256, 256)).create("raw").unwrap();
    dataset.write_slice(&ndarray::arr3(&[[[1f32]]]), (0..1, 0..1, 0..1)).unwrap();
    drop(dataset);
    file.close().unwrap();
    // 16 TiB in a sparse file of 64 GiB.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(64 << 30).unwrap();
    let dataset = H5File::open(&path).unwrap().dataset("raw").unwrap();
    let window = unet3d::volume::Window::new([0; 3], [1, 2, 2]);
    dataset.read_window(&window).unwrap();
    let error = format!("{:#}", dataset.read().unwrap_err());
    for says in
        ["sparse.h5", "`raw`", "[1, 16384, 16384, 16384]", "17592186044416", "LazyHDF5Dataset"]
    {
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_pipe_is_not_waited_for() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.h5");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = format!("{:#}", H5File::open(&path).unwrap_err());
    assert!(error.contains("is no ordinary file"), "{error}");
}

/// Reads damaged copies of a file; returns (errors, files that were read).
fn damage(whole: &[u8], damaged: impl Iterator<Item = Vec<u8>>) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let before = peak();
    let (mut errors, mut read) = (0, 0);
    for (number, bytes) in damaged.enumerate() {
        let path = folder.path().join(format!("{number}.h5"));
        std::fs::write(&path, &bytes).unwrap();
        match H5File::open(&path) {
            Err(_) => errors += 1,
            Ok(file) => {
                for name in ["plain", "gzip", "lzf", "enum", "growing"] {
                    match file.dataset(name).and_then(|dataset| read_all(&dataset)) {
                        Ok(()) => read += 1,
                        Err(_) => errors += 1,
                    }
                }
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
    assert!(errors > 0, "a file of {} bytes that nothing can damage", whole.len());
    let used = peak().saturating_sub(before);
    assert!(used < 128 << 10, "{used} KiB for a file of {} bytes", whole.len());
    (errors, read)
}

/// Step between the damaged bytes; 1 if `EVERY_BYTE` is set.
fn step() -> usize {
    if std::env::var_os("EVERY_BYTE").is_some() { 1 } else { 23 }
}

#[test]
fn every_length_of_a_file_that_is_cut_off() {
    let _alone = alone();
    for name in ["small.h5", "small_latest.h5"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let counts =
            damage(&whole, (0..whole.len()).step_by(step()).map(|length| whole[..length].to_vec()));
        eprintln!("{name}: {counts:?} of {} lengths", whole.len());
    }
}

#[test]
fn one_bit_flipped() {
    let _alone = alone();
    for name in ["small.h5", "small_latest.h5"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let flipped = (0..whole.len()).step_by(step()).map(|place| {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            bytes
        });
        let counts = damage(&whole, flipped);
        eprintln!("{name}: {counts:?} of {} flips", whole.len());
    }
}

#[test]
fn a_byte_made_the_largest() {
    let _alone = alone();
    for name in ["small.h5", "small_latest.h5"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let changed =
            (0..whole.len()).step_by(step()).filter(|&place| whole[place] != 0xff).map(|place| {
                let mut bytes = whole.clone();
                bytes[place] = 0xff;
                bytes
            });
        let counts = damage(&whole, changed);
        eprintln!("{name}: {counts:?}");
    }
}

/// The commands name the file and do not panic.
#[test]
fn the_program_refuses_them_too() {
    let _alone = alone();
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    let train = lab.training();
    with_config("train", &train, &["trainer.iters=1", "trainer.validate_after_iters=1"])
        .succeeded();
    std::fs::create_dir(lab.path("test")).unwrap();
    let hostile = lab.path("test/hostile.h5");
    std::fs::copy(fixture("hostile.h5"), &hostile).unwrap();
    let predict = lab.prediction();
    // The run above has its checkpoints in the directory of the configuration.
    let directory = format!("trainer.checkpoint_dir={}", lab.path("other").display());
    for (dataset, says) in [
        ("shape/sparse", "claims the shape"),
        ("shape/chunk", "claims chunks"),
        ("filter/bomb", "decompressed"),
        ("filter/twice", "same filter twice"),
        ("external/raw", "/etc/passwd"),
        ("virtual/device", "cannot be opened"),
        ("link/circle", "no data set"),
        ("type/ragged", "no numbers"),
    ] {
        let raw = format!("loaders.raw_internal_path={dataset}");
        let label = format!("loaders.label_internal_path={dataset}");
        let small = ["patch_shape=[2, 4, 4]", "stride_shape=[2, 4, 4]"];
        for (command, config, phase) in
            [("predict", &predict, "test"), ("train", &train, "train"), ("check", &train, "train")]
        {
            let files = format!("loaders.{phase}.file_paths=['{}']", hostile.display());
            let small = small.map(|key| format!("loaders.{phase}.slice_builder.{key}"));
            let mut options: Vec<&str> = vec![&raw, &files, &small[0], &small[1]];
            match command {
                "predict" => options.push("predictor.patch_halo=[0, 0, 0]"),
                _ => options.extend([
                    label.as_str(),
                    "loaders.weight_internal_path=sound",
                    directory.as_str(),
                ]),
            }
            with_config(command, config, &options).failed_with(1, &["hostile.h5", says]);
        }
    }
    // Damaged files among intact ones: each is reported, the others are predicted.
    std::fs::remove_file(&hostile).unwrap();
    lab.balls("test/sound.h5", [8, 16, 16], 3);
    let whole = std::fs::read(lab.path("test/sound.h5")).unwrap();
    for tenth in 0..10 {
        let cut = &whole[..whole.len() * tenth / 10];
        std::fs::write(lab.path(&format!("test/cut{tenth}.h5")), cut).unwrap();
    }
    with_config("predict", &predict, &[])
        .failed_with(1, &["10 of 11 volume(s)", "cut0.h5", "cut9.h5"]);
    assert!(lab.path("test/sound_predictions.h5").is_file());
}
