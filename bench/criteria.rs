//! Measures a loss or the functions on label images, for `criteria.py`: prints lines
//! `<name> <seconds>`, and `peak <bytes>` for a loss.
//!
//!     criteria_speed loss <classes> <depth> <height> <width>
//!     criteria_speed instances <file.h5>

use std::env;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ndarray::Array3;
use tch::{Device, Kind, Tensor};
use unet3d::config::Tree;
use unet3d::loss;
use unet3d::metric::adapted_rand_error;
use unet3d::regions::{Connectivity, Contingency, LabelImage, components};
use unet3d::target::{Labels, Weights};

const REPEATS: usize = 3;

fn main() -> Result<()> {
    // `cargo bench` adds this flag.
    let arguments: Vec<_> = env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["loss", ref size @ ..] if size.len() == 4 => {
            let size = size.iter().map(|n| Ok(n.parse()?)).collect::<Result<Vec<i64>>>()?;
            bench_loss(size[0], size[1], size[2], size[3])
        }
        ["instances", file] => bench_instances(file),
        [] => {
            println!("bench/criteria.py runs this");
            Ok(())
        }
        _ => bail!("loss <classes> <depth> <height> <width>, or instances <file.h5>"),
    }
}

/// The least time of a few runs.
fn time<T>(name: &str, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let mut least = f64::INFINITY;
    let mut result = None;
    for _ in 0..REPEATS {
        let start = Instant::now();
        result = Some(run()?);
        least = least.min(start.elapsed().as_secs_f64());
    }
    println!("{name} {least:.6}");
    result.context("nothing ran")
}

/// PixelWiseCrossEntropyLoss, forward and backward, on compact labels and weights.
fn bench_loss(classes: i64, depth: i64, height: i64, width: i64) -> Result<()> {
    tch::manual_seed(0);
    let tree = Tree::parse("loss: {name: PixelWiseCrossEntropyLoss}", "bench", &[])?;
    let loss = loss::read(tree.root.get("loss").context("no loss")?)?;
    let space = [1, depth, height, width];
    let logits = Tensor::f_randn([1, classes, depth, height, width], (Kind::Float, Device::Cpu))?;
    let integers = (Kind::Int64, Device::Cpu);
    let labels = Labels::OneHot {
        index: Tensor::f_randint_low(-1, classes, space, integers)?,
        channels: classes,
    };
    let weights = Weights::Palette {
        index: Tensor::f_randint(300, space, integers)?,
        table: Tensor::f_randint(50, [300, classes], integers)?,
    };
    let value = time("loss", || {
        // A leaf of its own for every run, so that no gradient adds to an older.
        let logits = logits.f_detach()?.f_set_requires_grad(true)?;
        let value = loss.forward(&logits, &labels, Some(&weights))?;
        value.f_backward()?;
        Ok(value.f_double_value(&[])?)
    })?;
    ensure!(value.is_finite(), "the loss is {value}");
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kibibytes: u64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    println!("peak {}", kibibytes * 1024);
    Ok(())
}

/// Components of `mask`, table and adapted Rand error of `truth` and `found`.
fn bench_instances(file: &str) -> Result<()> {
    let file = hdf5::File::open(file)?;
    let data = file.dataset("mask")?;
    let size: [usize; 3] = data.shape().try_into().ok().context("the mask is not 3D")?;
    let mask: Vec<bool> = data.read_raw::<u8>()?.into_iter().map(|voxel| voxel != 0).collect();
    let (truth, found) = (file.dataset("truth")?, file.dataset("found")?);
    let (truth, found) = (truth.read_raw::<i64>()?, found.read_raw::<i64>()?);
    let mask = Array3::from_shape_vec(size, mask)?;
    let labelled = time("components", || Ok(components(mask.view(), Connectivity::Faces6)))?;
    let wanted = file.dataset("labels")?.read_raw::<i64>()?;
    ensure!(
        labelled.labels.iter().zip(&wanted).all(|(&a, &b)| i64::from(a) == b),
        "the components differ"
    );
    time("table", || Ok(Contingency::new(&LabelImage::new(&truth), &LabelImage::new(&found))))?;
    let error = time("arand", || {
        Ok(adapted_rand_error(&LabelImage::new(&truth), &LabelImage::new(&found)))
    })?;
    let wanted: f64 = file.dataset("error")?.read_scalar()?;
    ensure!((error - wanted).abs() < 1e-9, "the error is {error}, not {wanted}");
    Ok(())
}
