//! Times training and prediction of a network in both memory layouts, in turn:
//!
//!     cargo bench --bench layouts -- [F_MAPS GROUPS D H W [ROUNDS]]

use std::time::Instant;

use tch::{Device, Kind, Tensor};
use unet3d::config::Tree;
use unet3d::model::{Layout, NetworkSpec, UNet};

fn main() -> anyhow::Result<()> {
    // cargo adds `--bench`.
    let given = std::env::args().skip(1).filter(|text| !text.starts_with("--"));
    let mut numbers: Vec<i64> = given.map(|text| text.parse()).collect::<Result<_, _>>()?;
    if numbers.is_empty() {
        numbers = vec![32, 8, 51, 96, 210];
    }
    let Some(&[f_maps, groups, d, h, w]) = numbers.first_chunk() else {
        anyhow::bail!("F_MAPS GROUPS D H W are wanted");
    };
    let rounds = numbers.get(5).copied().unwrap_or(2);
    let yaml = format!(
        "{{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: {f_maps}, num_groups: {groups}}}"
    );
    let spec = NetworkSpec::read(&Tree::parse(&yaml, "layouts", &[])?.root)?;
    let x = Tensor::randn([1, 1, d, h, w], (Kind::Float, Device::Cpu));
    let target = Tensor::zeros([1, d, h, w], (Kind::Int64, Device::Cpu));
    for _ in 0..rounds {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let net = UNet::with_layout(&spec, Kind::Float, Device::Cpu, layout)?;
            let parameters: Vec<_> = net.parameters().into_iter().map(|p| p.tensor).collect();
            let started = Instant::now();
            let _ = tch::no_grad(|| net.forward(&x, false))?;
            let predict = started.elapsed().as_secs_f64();
            let started = Instant::now();
            let logits = net.forward(&x, true)?;
            let loss =
                logits.cross_entropy_loss(&target, None::<Tensor>, tch::Reduction::Mean, -100, 0.0);
            Tensor::run_backward(&[loss], &parameters, false, false);
            let train = started.elapsed().as_secs_f64();
            println!("{layout:?}: prediction {predict:.3} s, training {train:.3} s");
        }
    }
    Ok(())
}
