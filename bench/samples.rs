//! Times the data side of training alone: opens the files of a configuration and makes
//! samples, on one thread, and then with the workers of `loaders.num_workers`, as training
//! has them made ahead; without a network.
//!
//! ```text
//! cargo bench --bench samples -- CONFIG COUNT [KEY=YAML…]
//! ```
//!
//! `--loader` leaves out the samples on one thread, which fill the cache of chunks.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use unet3d::config::Tree;
use unet3d::samples::{Loader, Loaders, SampleSet, VolumePatches};

/// A line of /proc/self/status, in GB.
fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0 / 1e9
}

fn main() -> anyhow::Result<()> {
    // cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with("--")).collect();
    let Some((config, rest)) = words.split_first() else {
        println!("give CONFIG COUNT [KEY=YAML...]");
        return Ok(());
    };
    let count: u64 = rest.first().map_or(Ok(8), |word| word.parse())?;
    let overrides = rest.get(1..).unwrap_or_default();
    let tree = Tree::read(Path::new(config), overrides)?;
    let loaders = tree.root.get("loaders").ok_or_else(|| anyhow::anyhow!("no `loaders`"))?;
    let loaders = Loaders::read(loaders)?;

    let started = Instant::now();
    let data = VolumePatches::open(&loaders, &loaders.training_phase("train")?, 0)?;
    let (files, open) = (data.files().count(), started.elapsed().as_secs_f64());
    let held = data.bytes_held() as f64 / 1e9;
    println!(
        "{files} file(s) opened in {open:.2} s, {held:.3} GB held, {:.2} GB at most",
        memory("VmHWM")
    );

    let alone = if std::env::args().any(|word| word == "--loader") { 0 } else { count };
    let mut seconds = Vec::new();
    for epoch in 0..alone {
        let started = Instant::now();
        let sample = data.sample(epoch, epoch as usize % data.len())?;
        seconds.push(started.elapsed().as_secs_f64());
        drop(sample);
    }
    let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
    let most = seconds.iter().copied().fold(0.0, f64::max);
    println!(
        "{alone} samples: {mean:.3} s on average, {most:.3} s at most, {:.2} GB at most",
        memory("VmHWM")
    );

    let all = data.len().min(count as usize);
    let memory_for_samples = 1 << 30;
    let loader =
        Loader::new(Arc::new(data), loaders.batch_size, loaders.num_workers, memory_for_samples);
    let workers = loader.workers();
    let loader = loader.shuffled(0);
    let batches = all.div_ceil(loaders.batch_size);
    let started = Instant::now();
    let mut made = 0;
    for batch in loader.epoch(0).take(batches) {
        made += batch?.samples.len();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{made} samples by {workers} worker(s): {:.1} samples/s, {:.2} GB at most",
        made as f64 / seconds,
        memory("VmHWM")
    );
    Ok(())
}
