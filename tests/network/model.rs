//! Networks against torch's own modules (tests/fixtures/make_model.py), fresh
//! weights against torch's bounds, parameter counts, patch sizes.

use crate::support::{difference, fixture, tensor, tree};
use hdf5::File;
use tch::{Device, Kind, Tensor};
use unet3d::config::Tree;
use unet3d::device::MemoryFormat;
use unet3d::device::Precision;
use unet3d::model::{NetworkSpec, UNet};

fn spec(yaml: &str) -> NetworkSpec {
    NetworkSpec::read(&tree(yaml).root).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(yaml: &str) -> String {
    let tree = Tree::parse(yaml, "test.yaml", &[]).unwrap();
    NetworkSpec::read(&tree.root).unwrap_err().to_string()
}

/// The `model` section that a fixture's attributes describe.
fn fixture_spec(group: &hdf5::Group) -> NetworkSpec {
    let ints = |name: &str| -> Vec<i64> { group.attr(name).unwrap().read_raw().unwrap() };
    let int = |name: &str| ints(name)[0];
    let order: hdf5::types::VarLenUnicode = group.attr("order").unwrap().read_scalar().unwrap();
    let residual: bool = group.attr("residual").unwrap().read_scalar().unwrap();
    let kernel = ints("kernel");
    let name = match (residual, kernel[0]) {
        (true, _) => "ResidualUNet3D",
        (false, 1) => "UNet2D",
        (false, _) => "UNet3D",
    };
    let padding = if name == "UNet2D" { vec![1; 3] } else { ints("padding") };
    spec(&format!(
        "{{name: {name}, in_channels: {}, out_channels: {}, f_maps: {:?}, layer_order: {order}, \
         num_groups: {}, conv_kernel_size: {kernel:?}, pool_kernel_size: {:?}, conv_padding: {padding:?}}}",
        int("cin"),
        int("cout"),
        ints("f_maps"),
        int("groups"),
        ints("pool"),
    ))
}

fn state_of(group: &hdf5::Group, kind: Kind) -> Vec<(String, Tensor)> {
    let state = group.group("state").unwrap();
    state
        .member_names()
        .unwrap()
        .into_iter()
        .map(|name| {
            let value = tensor(&state, &name);
            let value = if value.is_floating_point() { value.to_kind(kind) } else { value };
            (name, value)
        })
        .collect()
}

fn agrees_with_torch(kind: Kind, layout: MemoryFormat, tolerance: f64) {
    let file = File::open(fixture("model/networks.h5")).unwrap();
    let names = file.member_names().unwrap();
    assert_eq!(names.len(), 13);
    for name in names {
        let group = file.group(&name).unwrap();
        let training: bool = group.attr("train").unwrap().read_scalar().unwrap();
        let net = UNet::with_format(&fixture_spec(&group), kind, Device::Cpu, layout).unwrap();
        net.load_state_dict(&state_of(&group, kind)).unwrap();

        let logits = net.forward(&tensor(&group, "input").to_kind(kind), training).unwrap();
        let expected = tensor(&group, "logits");
        let scale = 1.0 + expected.abs().max().double_value(&[]);
        let error = difference(&logits, &expected);
        assert!(error <= tolerance * scale, "{name}: logits differ by {error}");

        let direction = Tensor::arange(logits.numel() as i64, (Kind::Double, Device::Cpu)).cos();
        let loss = (&logits * direction.view_as(&logits).to_kind(kind)).sum(kind);
        let parameters = net.parameters();
        let tensors: Vec<_> = parameters.iter().map(|p| p.tensor.shallow_clone()).collect();
        let gradients = Tensor::run_backward(&[loss], &tensors, false, false);
        let expected = group.group("gradient").unwrap();
        assert_eq!(expected.member_names().unwrap().len(), parameters.len());
        for (parameter, gradient) in parameters.iter().zip(&gradients) {
            let expected = tensor(&expected, &parameter.name);
            let scale = 1.0 + expected.abs().max().double_value(&[]);
            let error = difference(gradient, &expected);
            assert!(error <= 10.0 * tolerance * scale, "{name} {}: {error}", parameter.name);
        }
        if let Ok(buffers) = group.group("buffers") {
            let state = net.state_dict();
            for key in buffers.member_names().unwrap() {
                let (_, ours) = state.iter().find(|(other, _)| *other == key).unwrap();
                let error = difference(ours, &tensor(&buffers, &key));
                assert!(error <= tolerance, "{name} {key}: {error}");
            }
        }
    }
}

#[test]
fn forward_and_backward_agree_with_torch_in_float64() {
    agrees_with_torch(Kind::Double, MemoryFormat::ChannelsFirst, 1e-9);
    agrees_with_torch(Kind::Double, MemoryFormat::ChannelsLast, 1e-9);
}

#[test]
fn forward_and_backward_agree_with_torch_in_float32() {
    agrees_with_torch(Kind::Float, MemoryFormat::ChannelsFirst, 1e-4);
    agrees_with_torch(Kind::Float, MemoryFormat::ChannelsLast, 1e-4);
}

/// The rounding error in bfloat16 is of the same size as torch's.
#[test]
fn bfloat16_errs_as_torch_does_and_keeps_gradients_in_float32() {
    let file = File::open(fixture("model/networks.h5")).unwrap();
    for name in file.member_names().unwrap() {
        let group = file.group(&name).unwrap();
        let training: bool = group.attr("train").unwrap().read_scalar().unwrap();
        let expected = tensor(&group, "logits");
        let error = |logits: &Tensor| {
            (logits - &expected).square().mean(Kind::Double).sqrt().double_value(&[])
        };
        let near = |logits: &Tensor, torch: &str| {
            assert_eq!(logits.kind(), Kind::Float, "{name}");
            let (ours, theirs) = (error(logits), error(&tensor(&group, torch)));
            // The rounding differs, but its error is neither larger nor smaller.
            assert!(ours < 1.7 * theirs && ours > theirs / 1.7, "{name}: {ours}, {torch} {theirs}");
        };
        for layout in [MemoryFormat::ChannelsFirst, MemoryFormat::ChannelsLast] {
            let net = |kinds| {
                let spec = fixture_spec(&group);
                let net = UNet::with_format(&spec, kinds, Device::Cpu, layout).unwrap();
                net.load_state_dict(&state_of(&group, Kind::Float)).unwrap();
                net
            };
            let input = tensor(&group, "input").to_kind(Kind::Float);
            let trained = net(Precision::Bf16.training());
            let logits = trained.forward(&input, training).unwrap();
            near(&logits, "logits_autocast");
            let tensors: Vec<_> = trained.parameters().into_iter().map(|p| p.tensor).collect();
            let loss = logits.square().mean(Kind::Float);
            for gradient in Tensor::run_backward(&[loss], &tensors, false, false) {
                assert_eq!(gradient.kind(), Kind::Float, "{name}");
                assert!(gradient.isfinite().all().int64_value(&[]) == 1, "{name}");
            }
            // Batch norms of fixtures in training have no statistics to predict with.
            if !training {
                let predicted = net(Precision::Bf16.prediction());
                let input = input.to_kind(Kind::BFloat16);
                near(
                    &tch::no_grad(|| predicted.forward(&input, false)).unwrap(),
                    "logits_bfloat16",
                );
            }
        }
    }
}

#[test]
fn parameters_come_in_the_order_of_torch() {
    let file = File::open(fixture("model/networks.h5")).unwrap();
    for name in file.member_names().unwrap() {
        let group = file.group(&name).unwrap();
        let net = UNet::new(&fixture_spec(&group), Kind::Double, Device::Cpu).unwrap();
        // The fixture keeps the order in which torch listed them.
        let mut ours: Vec<_> = net.state_dict().into_iter().map(|(name, _)| name).collect();
        let mut theirs = group.group("state").unwrap().member_names().unwrap();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{name}");
    }
    let net = UNet::new(
        &spec("{name: ResidualUNet3D, in_channels: 1, out_channels: 1, f_maps: [2, 4], num_groups: 2}"),
        Kind::Float,
        Device::Cpu,
    )
    .unwrap();
    let names: Vec<_> = net.parameters().into_iter().map(|p| p.name).collect();
    let first_decoder = names.iter().position(|n| n.starts_with("decoders.0")).unwrap();
    assert_eq!(names[0], "encoders.0.basic_module.conv1.groupnorm.weight");
    assert_eq!(names[1], "encoders.0.basic_module.conv1.groupnorm.bias");
    assert_eq!(names[2], "encoders.0.basic_module.conv1.conv.weight");
    assert_eq!(names[first_decoder], "decoders.0.upsampling.upsample.weight");
    assert_eq!(names[names.len() - 1], "final_conv.bias");
}

#[test]
fn parameter_counts_are_those_of_the_reference() {
    for (yaml, count) in [
        ("{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 32, num_groups: 8}", 4_081_300),
        ("{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 64, num_groups: 16}", 16_318_756),
        ("{name: UNet3D, in_channels: 4, out_channels: 185, num_groups: 16}", 16_333_249),
        ("{name: ResidualUNet3D, in_channels: 1, out_channels: 1, f_maps: 16}", 8_831_219),
    ] {
        let net = UNet::new(&spec(yaml), Kind::Float, Device::Cpu).unwrap();
        assert_eq!(net.parameter_count(), count, "{yaml}");
    }
}

/// torch starts convolutions with U(−b, b), b = 1/√fan_in, and norms with 1 and 0.
#[test]
fn fresh_weights_have_the_bounds_and_moments_of_torch() {
    tch::manual_seed(7);
    let yaml = "{name: ResidualUNet3D, in_channels: 1, out_channels: 3, f_maps: [16, 32], layer_order: cr}";
    let net = UNet::new(&spec(yaml), Kind::Double, Device::Cpu).unwrap();
    let parameters = net.parameters();
    for (index, parameter) in parameters.iter().enumerate() {
        let weight = if parameter.name.ends_with("bias") {
            &parameters[index - 1].tensor
        } else {
            &parameter.tensor
        };
        // dimension 1 is the input for convolutions, the output for transposed ones
        let size = weight.size();
        let fan_in: i64 = size[1..].iter().product();
        let bound = 1.0 / (fan_in as f64).sqrt();
        let values = &parameter.tensor;
        let largest = values.abs().max().double_value(&[]);
        assert!(largest <= bound, "{}: {largest} > {bound}", parameter.name);
        let count = values.numel() as f64;
        if count >= 1000.0 {
            assert!(largest > 0.98 * bound, "{}", parameter.name);
            let mean = values.mean(Kind::Double).double_value(&[]);
            let variance = (values * values).mean(Kind::Double).double_value(&[]);
            let expected = bound * bound / 3.0;
            // five standard errors of a mean and of a mean square of a uniform draw
            assert!(mean.abs() < 5.0 * (expected / count).sqrt(), "{}", parameter.name);
            let spread = bound.powi(4) * (1.0 / 5.0 - 1.0 / 9.0);
            assert!(
                (variance - expected).abs() < 5.0 * (spread / count).sqrt(),
                "{}",
                parameter.name
            );
        }
    }
    let yaml = "{name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [8, 16], layer_order: bcr}";
    let net = UNet::new(&spec(yaml), Kind::Double, Device::Cpu).unwrap();
    for (name, value) in net.state_dict() {
        let expected = match name.rsplit('.').next().unwrap() {
            "running_var" => 1.0,
            "running_mean" | "num_batches_tracked" => 0.0,
            "weight" if name.contains("batchnorm") => 1.0,
            "bias" if name.contains("batchnorm") => 0.0,
            _ => continue,
        };
        assert_eq!(difference(&value, &value.full_like(expected)), 0.0, "{name}");
    }
}

#[test]
fn impossible_networks_are_refused_with_a_cure() {
    let base = "name: UNet3D, in_channels: 1, out_channels: 2";
    for (yaml, words) in [
        ("{name: Unet3D, in_channels: 1, out_channels: 2}", "is `UNet3D` meant?"),
        ("{name: UNet3D, out_channels: 2}", "`in_channels` is missing"),
        (&format!("{{{base}, layer_order: gr}}"), "has no convolution"),
        (&format!("{{{base}, layer_order: rcg}}"), "begins with a non-linearity"),
        (&format!("{{{base}, layer_order: gxc}}"), "'x'"),
        (&format!("{{{base}, f_maps: 60, num_groups: 16}}"), "do not divide"),
        (&format!("{{{base}, f_maps: many}}"), "number of feature maps"),
        (&format!("{{{base}, f_maps: []}}"), "number of feature maps"),
        (&format!("{{{base}, output_heads: 2}}"), "several outputs"),
    ] {
        let message = refused(yaml);
        assert!(message.contains(words), "{yaml}: {message}");
        assert!(message.starts_with("test.yaml:1:"), "{message}");
    }
}

#[test]
fn patches_that_do_not_fit_are_told_the_next_sizes_that_do() {
    let residual = spec("{name: ResidualUNet3D, in_channels: 1, out_channels: 1, f_maps: 16}");
    assert_eq!(residual.check_patch([32, 64, 64]), Ok(()));
    let message = residual.check_patch([32, 64, 70]).unwrap_err().to_string();
    assert!(message.contains("70 voxels along x"), "{message}");
    assert!(message.contains("64 and 80"), "{message}");

    let plain = spec("{name: UNet3D, in_channels: 1, out_channels: 1, f_maps: 16}");
    assert_eq!(plain.check_patch([17, 65, 97]), Ok(()));
    let message = plain.check_patch([4, 64, 64]).unwrap_err().to_string();
    assert!(message.contains("the next size that does is 8"), "{message}");

    let flat = spec("{name: UNet2D, in_channels: 1, out_channels: 1, f_maps: 16}");
    assert_eq!(flat.check_patch([1, 64, 64]), Ok(()));

    let shrinking = spec("{name: UNet3D, in_channels: 1, out_channels: 1, conv_padding: 0}");
    let message = shrinking.check_patch([128, 128, 128]).unwrap_err().to_string();
    assert!(message.contains("conv_padding"), "{message}");
}

#[test]
fn a_state_that_does_not_fit_names_every_tensor() {
    let small = UNet::new(
        &spec("{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [8, 16]}"),
        Kind::Float,
        Device::Cpu,
    )
    .unwrap();
    let before = small.state_dict()[0].1.copy();
    let mut state: Vec<_> =
        small.state_dict().into_iter().map(|(n, t)| (n, t.copy() + 1)).collect();
    state.retain(|(name, _)| name != "final_conv.bias");
    state.push(("head.weight".into(), Tensor::zeros([3], (Kind::Float, Device::Cpu))));
    let index = state.iter().position(|(name, _)| name == "final_conv.weight").unwrap();
    state[index].1 = Tensor::zeros([4, 8, 1, 1, 1], (Kind::Float, Device::Cpu));
    let message = small.load_state_dict(&state).unwrap_err().to_string();
    assert!(message.contains("`final_conv.bias` [2] is missing"), "{message}");
    assert!(message.contains("`head.weight` [3] has no place"), "{message}");
    assert!(
        message
            .contains("`final_conv.weight` is [4, 8, 1, 1, 1], the network wants [2, 8, 1, 1, 1]"),
        "{message}"
    );
    assert_eq!(
        difference(&small.state_dict()[0].1, &before),
        0.0,
        "a refused state changes nothing"
    );
}

/// Large channels-last feature maps use our own statistics instead of torch's.
#[test]
fn large_patches_lose_no_digits() {
    let tree = crate::support::tree(
        "model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [6, 12], num_groups: 3}",
    );
    let spec = NetworkSpec::read(tree.root.get("model").unwrap()).unwrap();
    let single = UNet::new(&spec, Kind::Float, Device::Cpu).unwrap();
    let double = UNet::new(&spec, Kind::Double, Device::Cpu).unwrap();
    double.load_state_dict(&single.state_dict()).unwrap();
    // No power of two, so that the last rows are not full.
    let x = Tensor::rand([1, 1, 41, 97, 103], (Kind::Float, Device::Cpu)) * 2 - 1;
    let exact = tch::no_grad(|| double.forward(&x.to_kind(Kind::Double), false)).unwrap();
    let found = tch::no_grad(|| single.forward(&x, false)).unwrap();
    let error = difference(&found, &exact);
    assert!(error < 5e-6, "{error}");
}
