//! Networks as TorchScript and ONNX: torch and ONNX Runtime compute the same from them, at
//! sizes that were not known when they were written.

use hdf5::types::VarLenUnicode;
use tch::{Device, Kind, Tensor};
use unet3d::config::Dialect;
use unet3d::ffi::tensor::as_slice;
use unet3d::model::{NetworkSpec, UNet};
use unet3d::package::{write_onnx, write_torchscript};

use crate::support::lab::Lab;
use crate::support::program::script;
use crate::support::tree;

/// A network and the sizes (D, H, W) at which it is run.
struct Case {
    name: &'static str,
    dialect: Dialect,
    model: &'static str,
    sizes: [[i64; 3]; 2],
}

/// A whole number of halvings, and sizes that do not halve evenly.
const SIZES: [[i64; 3]; 2] = [[8, 16, 8], [9, 22, 15]];
/// Sizes that transposed convolutions reach without interpolation.
const EVEN: [[i64; 3]; 2] = [[8, 16, 8], [12, 20, 16]];
const PLANES: [[i64; 3]; 2] = [[1, 16, 8], [1, 22, 15]];

/// Every family, block, join, letter and final activation of both dialects.
const CASES: &[Case] = &[
    Case {
        name: "fork_unet3d",
        dialect: Dialect::Fork,
        model: "{name: UNet3D, in_channels: 2, out_channels: 3, f_maps: [8, 16, 24], \
                num_groups: 4, layer_order: gcr, final_sigmoid: false}",
        sizes: SIZES,
    },
    Case {
        name: "fork_kernels",
        dialect: Dialect::Fork,
        model: "{name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [8, 16], \
                layer_order: cbl, conv_kernel_size: [1, 3, 5], conv_padding: [0, 1, 2], \
                pool_kernel_size: [1, 2, 3]}",
        sizes: SIZES,
    },
    Case {
        name: "fork_unet2d",
        dialect: Dialect::Fork,
        model: "{name: UNet2D, in_channels: 1, out_channels: 2, f_maps: [8, 16], \
                layer_order: ce}",
        sizes: SIZES,
    },
    Case {
        name: "fork_residual",
        dialect: Dialect::Fork,
        model: "{name: ResidualUNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8, 12], \
                num_groups: 2, layer_order: cge}",
        sizes: EVEN,
    },
    Case {
        name: "fork_residual_leaky",
        dialect: Dialect::Fork,
        model: "{name: ResidualUNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], \
                layer_order: bcl, is_segmentation: false}",
        sizes: EVEN,
    },
    Case {
        name: "unet3d",
        dialect: Dialect::Upstream,
        model: "{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [8, 16], num_groups: 4, \
                layer_order: gcld, dropout_prob: 0.5, conv_upscale: 1}",
        sizes: SIZES,
    },
    Case {
        name: "trilinear",
        dialect: Dialect::Upstream,
        model: "{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8, 16], \
                num_groups: 2, layer_order: cgrD, upsample: trilinear}",
        sizes: SIZES,
    },
    Case {
        name: "area",
        dialect: Dialect::Upstream,
        model: "{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8, 16], \
                num_groups: 2, upsample: area}",
        sizes: SIZES,
    },
    Case {
        name: "deconv",
        dialect: Dialect::Upstream,
        model: "{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], num_groups: 2, \
                upsample: deconv}",
        sizes: SIZES,
    },
    Case {
        name: "residual",
        dialect: Dialect::Upstream,
        model: "{name: ResidualUNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8, 16], \
                layer_order: bcl}",
        sizes: SIZES,
    },
    Case {
        name: "residual_se",
        dialect: Dialect::Upstream,
        model: "{name: ResidualUNetSE3D, in_channels: 4, out_channels: 2, f_maps: [4, 8], \
                num_groups: 2, layer_order: gce, upsample: deconv, final_sigmoid: false}",
        sizes: SIZES,
    },
    Case {
        name: "unet2d",
        dialect: Dialect::Upstream,
        model: "{name: UNet2D, in_channels: 3, out_channels: 2, f_maps: [8, 16], num_groups: 2, \
                layer_order: cge, upsample: bilinear}",
        sizes: PLANES,
    },
    Case {
        name: "unet2d_area",
        dialect: Dialect::Upstream,
        model: "{name: UNet2D, in_channels: 1, out_channels: 2, f_maps: [4, 8], \
                layer_order: cbr, upsample: area}",
        sizes: PLANES,
    },
    Case {
        name: "residual2d",
        dialect: Dialect::Upstream,
        model: "{name: ResidualUNet2D, in_channels: 1, out_channels: 2, f_maps: [4, 8, 16], \
                num_groups: 2}",
        sizes: PLANES,
    },
];

impl Case {
    /// A network with running statistics and norms unlike those of fresh ones, and with
    /// probabilities that are not all near 0.5.
    fn network(&self) -> UNet {
        let config = tree(&format!("model: {}", self.model));
        config.set_dialect(self.dialect);
        let spec = NetworkSpec::read(config.root.get("model").unwrap()).unwrap();
        let net = UNet::new(&spec, Kind::Float, Device::Cpu).unwrap();
        tch::no_grad(|| {
            for (name, mut tensor) in net.state_dict() {
                let is_norm = name.contains("norm") || name.contains("running");
                if is_norm && tensor.is_floating_point() {
                    let _ = tensor.uniform_(0.5, 1.5);
                }
                if name == "final_conv.weight" {
                    let _ = tensor.g_mul_scalar_(8.0);
                }
            }
        });
        net
    }
}

/// Stores a tensor, without the z axis where it is for 2D layers.
fn store(group: &hdf5::Group, name: &str, tensor: &Tensor, planar: bool) {
    let mut shape: Vec<usize> = tensor.size().iter().map(|size| *size as usize).collect();
    if planar {
        shape.remove(2);
    }
    let values = as_slice::<f32>(&tensor.contiguous()).unwrap().to_vec();
    let array = ndarray::ArrayD::from_shape_vec(shape, values).unwrap();
    group.new_dataset_builder().with_data(&array).create(name).unwrap();
}

#[test]
fn torch_and_onnx_runtime_compute_the_same_at_every_size() {
    let lab = Lab::new();
    tch::manual_seed(5);
    let cases = hdf5::File::create(lab.path("cases.h5")).unwrap();
    for case in CASES {
        let net = case.network();
        write_torchscript(&net, &lab.path(&format!("{}.pt", case.name))).unwrap();
        write_onnx(&net, &lab.path(&format!("{}.onnx", case.name))).unwrap();
        let group = cases.create_group(case.name).unwrap();
        let names: Vec<VarLenUnicode> =
            net.state_dict().iter().map(|(name, _)| name.parse().unwrap()).collect();
        group.new_attr_builder().with_data(&names).create("names").unwrap();
        for (number, size) in case.sizes.iter().enumerate() {
            let spec = net.spec();
            let shape = [2, spec.in_channels, size[0], size[1], size[2]];
            let raw = Tensor::randn(shape, (Kind::Float, Device::Cpu));
            let output = tch::no_grad(|| {
                net.activation().forward(&net.forward(&raw, false).unwrap()).unwrap()
            });
            let pair = group.create_group(&number.to_string()).unwrap();
            store(&pair, "raw", &raw, spec.anatomy.planar);
            store(&pair, "output", &output, spec.anatomy.planar);
        }
    }
    cases.close().unwrap();

    let printed = script("run_exported.py", [lab.path("")]);
    assert_eq!(printed.lines().count(), CASES.len() * 4, "{printed}");
    for line in printed.lines() {
        let numbers: Vec<f64> = line.split(' ').skip(3).map(|word| word.parse().unwrap()).collect();
        assert!(numbers[0] <= 1e-4, "{line}");
        assert!(numbers[1] >= 0.01, "{line}: an output that hardly varies shows nothing");
    }
}
