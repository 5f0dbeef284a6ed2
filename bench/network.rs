//! Times a network alone, for `bench/network.py`, which compares it with torch:
//!
//!     cargo bench --bench network -- F_MAPS GROUPS D H W PRECISION LAYOUT THREADS
//!
//! PRECISION is fp32, bf16 or fp64; LAYOUT is first or last (the position of the channels).
//! Prints the seconds of one prediction and of one training iteration (forward, loss,
//! backward, Adam); the second of two passes is timed.

use std::time::Instant;

use tch::{Device, Kind, Reduction, Tensor};
use unet3d::config::Tree;
use unet3d::device::MemoryFormat;
use unet3d::device::Precision;
use unet3d::ffi::tensor::keep_memory;
use unet3d::model::{NetworkSpec, UNet};
use unet3d::optim::{Optimizer, OptimizerSpec};

fn main() -> anyhow::Result<()> {
    // cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with("--")).collect();
    let [f_maps, groups, d, h, w, precision, layout, threads] = &words[..] else {
        println!("give F_MAPS GROUPS D H W PRECISION LAYOUT THREADS, or run bench/network.py");
        return Ok(());
    };
    tch::set_num_threads(threads.parse()?);
    let precision = match precision.as_str() {
        "bf16" => Precision::Bf16,
        "fp64" => Precision::Fp64,
        _ => Precision::Fp32,
    };
    let layout =
        if layout == "first" { MemoryFormat::ChannelsFirst } else { MemoryFormat::ChannelsLast };
    let size = [1, 1, d.parse()?, h.parse()?, w.parse()?];
    let yaml = format!(
        "{{model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: {f_maps}, \
           num_groups: {groups}}}, \
           optimizer: {{algorithm: Adam, learning_rate: 0.0001, weight_decay: 0}}}}"
    );
    let tree = Tree::parse(&yaml, "network", &[])?;
    let spec = NetworkSpec::read(tree.root.at("model").expect("it stands there"))?;
    let optimizer = OptimizerSpec::read(tree.root.at("optimizer").expect("it stands there"))?;
    keep_memory();

    let kinds = precision.prediction();
    let net = UNet::with_format(&spec, kinds, Device::Cpu, layout)?;
    let x = Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(kinds.tensors);
    let mut predict = 0.0;
    for _ in 0..2 {
        let started = Instant::now();
        let logits = tch::no_grad(|| net.forward(&x, false))?;
        let _ = net.activation().forward(&logits)?;
        predict = started.elapsed().as_secs_f64();
    }

    let kinds = precision.training();
    let net = UNet::with_format(&spec, kinds, Device::Cpu, layout)?;
    let parameters = net.parameters().into_iter().map(|p| p.tensor).collect();
    let mut optimizer = Optimizer::new(optimizer, parameters)?;
    let x = Tensor::randn(size, (kinds.tensors, Device::Cpu));
    let target = Tensor::zeros([1, size[2], size[3], size[4]], (Kind::Int64, Device::Cpu));
    let mut train = 0.0;
    for _ in 0..2 {
        let started = Instant::now();
        let logits = net.forward(&x, true)?;
        let loss = logits.cross_entropy_loss(&target, None::<Tensor>, Reduction::Mean, -100, 0.0);
        let gradients = Tensor::f_run_backward(&[loss], optimizer.parameters(), false, false)?;
        optimizer.step(&gradients, None)?;
        train = started.elapsed().as_secs_f64();
    }
    println!("{predict:.4} {train:.4}");
    Ok(())
}
