//! Times reading and writing of volumes, and the HDF5 library alone for comparison.
//!
//! ```text
//! python bench/make_cells.py cells.h5 --gzip
//! cargo bench --bench volumes -- cells.h5
//! ```

use std::time::Instant;

use ndarray::{Array4, s};
use unet3d::format;
use unet3d::format::h5::H5File;
use unet3d::volume::{
    Compression, Edition, Encoding, NewVolume, Statistics, StoredType, VolumeReader,
};

/// Prints wall-clock seconds, and those that all threads together computed.
fn time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (start, computed) = (Instant::now(), computed());
    let result = work();
    let wall = start.elapsed().as_secs_f64();
    println!("{what:52} {wall:8.3} s, {:8.2} s of computing", self::computed() - computed);
    result
}

/// User time of the process in seconds, from /proc/self/stat.
fn computed() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let user = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(11));
    user.and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / 100.0
}

fn main() {
    let arguments: Vec<_> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let Some(path) = arguments.first() else {
        println!("give a file of bench/make_cells.py");
        return;
    };
    let file = H5File::open(path.as_ref()).expect("a file of bench/make_cells.py");
    let library = hdf5::File::with_options()
        .with_fapl(|plist| plist.file_locking(false))
        .open(path)
        .expect("it is HDF5");

    let raw = file.dataset("raw").expect("raw");
    let volume = time("raw: read", || raw.read().expect("raw"));
    time("raw: statistics", || Statistics::of(&volume).expect("finite"));
    let label = file.dataset("label").expect("label");
    time("label: read", || label.read().expect("label"));
    let dataset = library.dataset("label").expect("label");
    time("label: read by the HDF5 library", || dataset.read_raw::<u8>().expect("label"));

    drop(volume);
    let weight = file.dataset("weight").expect("weight");
    let found = time("label: found to be one-hot", || label.read_one_hot().expect("label"));
    let one_hot = found.expect("one-hot");
    let found = time("weight: found to be a palette", || weight.read_palette().expect("weight"));
    let palette = found.expect("few columns");
    println!("{:52} {} columns", "", palette.columns());
    time("label: expand", || one_hot.expand());
    time("weight: expand", || palette.expand());
    drop((one_hot, palette));

    let [d, h, w] = label.size();
    let shape = [label.channels(), d, h, w];
    let slab = Array4::from_shape_fn((shape[0], 8, h, w), |(c, z, y, x)| {
        let [c, z, y, x] = [c, z, y, x].map(|n| n as f32);
        let wave = (z / 3.0 + c).sin() + (y / 11.0).sin() * (x / 13.0 + c).cos();
        1.0 / (1.0 + (-4.0 * wave).exp())
    });
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    for (name, compression) in [
        ("gzip 1", Compression::Gzip { level: 1 }),
        ("gzip 4", Compression::Gzip { level: 4 }),
        ("uncompressed", Compression::None),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.h5");
        time(&format!("{shape:?} float32: write {name}"), || {
            let mut output = format::create(&path, threads).expect("created");
            let volume = NewVolume {
                name: "predictions",
                shape,
                has_channels: true,
                encoding: Encoding::Number(StoredType::F32),
                labels: false,
                compression,
                edition: Edition::Newest,
            };
            let id = output.begin(&volume).expect("created");
            for z in (0..d).step_by(8) {
                let slab = slab.slice(s![.., ..8.min(d - z), .., ..]);
                output.write(id, [0, z, 0], slab).expect("written");
            }
            output.finish().expect("written");
        });
        let size = std::fs::metadata(&path).expect("written").len();
        println!("{:52} {:8.1} MB", "", size as f64 / 1e6);
    }
}
