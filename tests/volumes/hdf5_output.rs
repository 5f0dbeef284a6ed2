//! Writing volumes: other readers read the same values, and an interrupted write leaves no
//! file.

use std::path::{Path, PathBuf};
use std::process::Command;

use ndarray::{Array4, Axis, s};
use unet3d::format;
use unet3d::format::h5::H5File;
use unet3d::volume::{
    Compression, Edition, Encoding, NewVolume, StoredType, Volume, VolumeFile, VolumeId,
    VolumeReader, VolumeWriter, Window,
};

const GZIP: Compression = Compression::Gzip { level: 4 };

fn begin(
    file: &mut Box<dyn VolumeWriter>,
    name: &str,
    shape: [usize; 4],
    has_channels: bool,
    encoding: Encoding,
    compression: Compression,
) -> anyhow::Result<VolumeId> {
    let (edition, labels) = (Edition::Newest, false);
    file.begin(&NewVolume { name, shape, has_channels, encoding, compression, edition, labels })
}

fn python() -> PathBuf {
    match std::env::var_os("UNET3D_PYTHON") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
    }
}

fn values(shape: [usize; 4]) -> Array4<f32> {
    Array4::from_shape_fn(shape, |(c, z, y, x)| {
        ((7 * c + 5 * z + 3 * y + x * x) % 251) as f32 / 250.0
    })
}

/// As a network's probabilities: smooth, with the last bits all in use.
fn smooth(shape: [usize; 4]) -> Array4<f32> {
    Array4::from_shape_fn(shape, |(c, z, y, x)| {
        let [c, z, y, x] = [c, z, y, x].map(|n| n as f32);
        let wave = (z / 3.0 + c).sin() + (y / 11.0).sin() * (x / 13.0 + c).cos();
        1.0 / (1.0 + (-4.0 * wave).exp())
    })
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn h5py_reads_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.h5");
    let mut file = format::create(&path, 3).unwrap();
    file.attribute("unet3d_version", "1.2 – ü").unwrap();
    let v = values([3, 7, 40, 50]);
    for (name, encoding, compression) in [
        ("predictions", Encoding::Number(StoredType::F32), GZIP),
        ("plain", Encoding::Number(StoredType::F32), Compression::None),
        ("half", Encoding::Number(StoredType::F16), Compression::None),
        ("half_gzip", Encoding::Number(StoredType::F16), Compression::Gzip { level: 12 }),
        ("scaled", Encoding::ScaledUint8, Compression::Gzip { level: 1 }),
    ] {
        let id = begin(&mut file, name, [3, 7, 40, 50], true, encoding, compression).unwrap();
        // Boxes of several depths and heights, not in order.
        file.write(id, [0, 0, 0], v.slice(s![0..2, 0..1, .., ..])).unwrap();
        file.write(id, [0, 1, 30], v.slice(s![0..2, 1..6, 30..40, ..])).unwrap();
        file.write(id, [2, 0, 0], v.slice(s![2..3, .., .., ..])).unwrap();
        file.write(id, [0, 1, 0], v.slice(s![0..2, 1..6, 0..30, ..])).unwrap();
        file.write(id, [0, 6, 0], v.slice(s![0..2, 6..7, .., ..])).unwrap();
    }
    let v = values([1, 3, 300, 310]);
    let id =
        begin(&mut file, "tiled", [1, 3, 300, 310], true, Encoding::Number(StoredType::F32), GZIP)
            .unwrap();
    // Rows that meet no line of the chunks.
    for (y, rows) in [(0, 7), (7, 200), (207, 93)] {
        file.write(id, [0, 0, y], v.slice(s![.., .., y..y + rows, ..])).unwrap();
    }
    let labels = values([1, 7, 40, 50]).mapv(|v| (v * 250.0).round() * 200.0);
    let id =
        begin(&mut file, "labels", [1, 7, 40, 50], false, Encoding::Number(StoredType::U16), GZIP)
            .unwrap();
    file.write(id, [0; 3], labels.view()).unwrap();
    let shape = [4, 24, 96, 100];
    let id =
        begin(&mut file, "smooth", shape, true, Encoding::Number(StoredType::F32), GZIP).unwrap();
    for z in 0..24 {
        let slab = smooth(shape).slice_move(s![.., z..z + 1, .., ..]);
        file.write(id, [0, z, 0], slab.view()).unwrap();
    }
    assert!(!path.exists());
    file.finish().unwrap();
    assert_eq!(names(folder.path()), ["out.h5"]);

    // Our own reader, then everybody else's.
    let input = H5File::open(&path).unwrap();
    let tiled = input.dataset("tiled").unwrap();
    assert_eq!(tiled.read().unwrap(), Volume::channelled(v.clone()));
    let window = Window::new([1, 140, 100], [2, 70, 200]);
    assert_eq!(tiled.read_window(&window).unwrap(), Volume::channelled(v).window(&window));
    assert_eq!(input.attribute("unet3d_version").unwrap().as_deref(), Some("1.2 – ü"));
    assert_eq!(input.attribute("nothing").unwrap(), None);
    let checked = Command::new(python())
        .arg("tests/fixtures/check_output.py")
        .arg(&path)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("Python with h5py: set UNET3D_PYTHON or make .venv");
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{errors}");
    print!("{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn noise_is_stored_as_it_is() {
    // xorshift, so that every byte is noise.
    let mut state = 88172645463325252u64;
    let noise = Array4::from_shape_simple_fn((1, 4, 64, 64), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from_bits((state >> 32) as u32 & 0xbfff_ffff)
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.h5");
    let mut file = format::create(&path, 2).unwrap();
    let id =
        begin(&mut file, "noise", [1, 4, 64, 64], true, Encoding::Number(StoredType::F32), GZIP)
            .unwrap();
    file.write(id, [0; 3], noise.view()).unwrap();
    file.finish().unwrap();
    let found = H5File::open(&path).unwrap().dataset("noise").unwrap().read().unwrap();
    assert_eq!(found, Volume::channelled(noise));
}

#[test]
fn what_is_not_finished_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.h5");
    std::fs::write(&path, "the last result").unwrap();
    let begin = || {
        let mut file = format::create(&path, 2).unwrap();
        let id =
            begin(&mut file, "p", [2, 8, 64, 64], true, Encoding::Number(StoredType::F32), GZIP)
                .unwrap();
        let slab = values([2, 7, 64, 64]);
        file.write(id, [0; 3], slab.view()).unwrap();
        (file, id)
    };
    let (file, _) = begin();
    // Under a name that nobody takes for a volume.
    let partial = names(folder.path()).remove(0);
    assert!(partial.starts_with(".out.h5.") && partial.ends_with(".partial"), "{partial}");
    drop(file);
    assert_eq!(names(folder.path()), ["out.h5"]);
    let (file, _) = begin();
    let error = file.finish().unwrap_err().to_string();
    assert!(error.contains("parts of `p` were never written"), "{error}");
    assert_eq!(names(folder.path()), ["out.h5"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"the last result");
    let (mut file, id) = begin();
    file.write(id, [0, 7, 0], values([2, 1, 64, 64]).view()).unwrap();
    file.finish().unwrap();
    assert!(H5File::open(&path).unwrap().has("p"));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let error = format::create(Path::new("nowhere/out.h5"), 1).err().unwrap().to_string();
    assert!(error.starts_with('/') && error.contains("nowhere/out.h5"), "{error}");
}

/// Runs itself with a limit on the size of files, which fails a write as a full
/// disk does.
#[test]
fn a_disk_that_takes_no_more_is_one_error() {
    let folder = match std::env::var_os("UNET3D_TEST_FULL_DISK") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let folder = tempfile::tempdir().unwrap();
            let status = Command::new("sh")
                .args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\""])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "hdf5_output::a_disk_that_takes_no_more_is_one_error"])
                .env("UNET3D_TEST_FULL_DISK", folder.path())
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&status.stdout);
            assert!(status.status.success(), "{output}");
            assert!(output.contains("1 passed"), "{output}");
            assert!(names(folder.path()).is_empty());
            return;
        }
    };
    let path = folder.join("out.h5");
    let mut file = format::create(&path, 2).unwrap();
    let id = begin(
        &mut file,
        "p",
        [1, 64, 128, 128],
        true,
        Encoding::Number(StoredType::F32),
        Compression::None,
    )
    .unwrap();
    let slab = values([1, 1, 128, 128]);
    let error = (0..64)
        .map(|z| file.write(id, [0, z, 0], slab.view()))
        .find_map(Result::err)
        .unwrap_or_else(|| file.finish().unwrap_err());
    let error = error.to_string();
    assert!(
        error.contains("out.h5: writing failed") && error.contains("File too large"),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn many_small_files_from_many_threads() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let folder = folder.path();
            scope.spawn(move || {
                for number in 0..5 {
                    let shape = [2, 3 + thread, 5, 6 + number];
                    let path = folder.join(format!("{thread}_{number}.h5"));
                    let mut file = format::create(&path, 2).unwrap();
                    let id =
                        begin(&mut file, "p", shape, true, Encoding::Number(StoredType::F32), GZIP)
                            .unwrap();
                    for (i, planes) in values(shape).axis_chunks_iter(Axis(1), 2).enumerate() {
                        file.write(id, [0, 2 * i, 0], planes).unwrap();
                    }
                    file.finish().unwrap();
                    let found = H5File::open(&path).unwrap().dataset("p").unwrap();
                    assert_eq!(found.read().unwrap(), Volume::channelled(values(shape)));
                }
            });
        }
    });
}
