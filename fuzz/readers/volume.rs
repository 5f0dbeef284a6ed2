//! Reads bytes as a file of volumes: its metadata, and the voxels of small ones.

use std::fs;
use std::path::{Path, PathBuf};

use crate::format;
use crate::volume::Window;

/// Voxels of a volume that is read, at most.
const SMALL: usize = 1 << 16;

/// The folder of this process for its files: in memory where there is such a place.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let thread = std::thread::current().id();
    place.join(format!("unet3d_fuzz_{}_{thread:?}", std::process::id()))
}

/// Reads bytes as a file of that name.
pub fn read(name: &str, bytes: &[u8]) {
    let folder = folder();
    let _ = fs::create_dir_all(&folder);
    let path = folder.join(name);
    fs::write(&path, bytes).expect("room for the input");
    open(&path);
    let _ = fs::remove_dir_all(&folder);
}

/// The files of a store that parts of an input become.
const PARTS: [&str; 5] = ["zarr.json", ".zarray", ".zattrs", "0/zarr.json", "0/.zarray"];

/// Reads bytes as the metadata of a store: the parts between lines of four dashes are
/// its files, those that are empty are left out. There are no chunks but those of the
/// fill value, and one of eight bytes.
pub fn read_store(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let folder = folder();
    let store = folder.join("fuzzed.zarr");
    fs::create_dir_all(store.join("0/c/0/0")).expect("room for the input");
    for (name, part) in PARTS.iter().zip(text.split("\n----\n")) {
        if !part.is_empty() {
            fs::write(store.join(name), part).expect("room for the input");
        }
    }
    fs::write(store.join("0/c/0/0/0"), [1, 2, 3, 4, 5, 6, 7, 8]).expect("room for the input");
    open(&store);
    open(&store.join("0"));
    let _ = fs::remove_dir_all(&folder);
}

fn open(path: &Path) {
    let Ok(file) = format::open_file(path) else { return };
    let _ = (file.names(), file.attribute("configuration"));
    let Ok(reader) = file.volume("0") else { return };
    let extent = reader.extent();
    assert!(extent.iter().all(|length| *length > 0));
    let _ = reader.calibration().check();
    let [channels, size @ ..] = extent;
    let voxels = extent.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
    if voxels.is_some_and(|voxels| voxels <= SMALL) {
        if let Ok(volume) = reader.read_part(0..channels, &Window::whole(size), 1) {
            assert_eq!(volume.size(), size);
        }
    } else {
        let corner = Window::new(size.map(|n| n - 1), [1; 3]);
        let _ = reader.read_part(0..1, &corner, 1);
    }
}
