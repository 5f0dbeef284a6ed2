//! What is found wrong from shapes alone, and that the message names the cure.

use ndarray::Array4;
use unet3d::config::{ConfigError, Tree};
use unet3d::loss;
use unet3d::metric;
use unet3d::samples::LabelCheck;
use unet3d::target::{LabelRange, TargetShapes};
use unet3d::volume::{Element, Volume, VolumeShape};

const INDEX: VolumeShape = VolumeShape { channels: None, element: Element::I64, sizes: Vec::new() };
const FLOAT: VolumeShape = VolumeShape { channels: None, element: Element::F32, sizes: Vec::new() };

fn channels(count: usize, element: Element) -> VolumeShape {
    VolumeShape { channels: Some(count), element, sizes: Vec::new() }
}

fn shapes(
    out_channels: usize,
    labels: VolumeShape,
    weight: Option<VolumeShape>,
) -> TargetShapes<'static> {
    TargetShapes { phase: "train", out_channels, labels, weight }
}

fn check_loss(section: &str, shapes: TargetShapes<'_>) -> Result<(), ConfigError> {
    let tree = Tree::parse(&format!("loss: {{{section}}}"), "config.yaml", &[]).unwrap();
    let node = tree.root.get("loss").unwrap();
    loss::read(node)?.check(&shapes)
}

fn check_metric(section: &str, shapes: TargetShapes<'_>) -> Result<(), ConfigError> {
    let tree = Tree::parse(&format!("eval_metric: {{{section}}}"), "config.yaml", &[]).unwrap();
    metric::read(&tree.root)?.check(&shapes)
}

/// Fails at the key, with a message that names all of `cures`.
#[track_caller]
fn fails(result: Result<(), ConfigError>, key: &str, cures: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.key, key, "{error}");
    for cure in cures {
        assert!(error.message.contains(cure), "'{cure}' is not in: {error}");
    }
}

#[test]
fn what_fits_passes() {
    let onehot = || channels(3, Element::I64);
    let float = || channels(3, Element::F32);
    for (section, shapes) in [
        ("name: CrossEntropyLoss, weight: [1, 2, 3]", shapes(3, INDEX, None)),
        ("name: CrossEntropyLoss", shapes(3, float(), None)),
        ("name: WeightedCrossEntropyLoss", shapes(2, INDEX, Some(INDEX))),
        ("name: PixelWiseCrossEntropyLoss", shapes(3, INDEX, Some(FLOAT))),
        ("name: PixelWiseCrossEntropyLoss", shapes(3, onehot(), Some(onehot()))),
        ("name: PixelWiseCrossEntropyLoss", shapes(3, onehot(), Some(INDEX))),
        ("name: DiceLoss, weight: [1, 2, 3]", shapes(3, onehot(), None)),
        ("name: DiceLoss, skip_last_target: true", shapes(2, float(), None)),
        ("name: BCEWithLogitsLoss, pos_weight: 10.", shapes(3, float(), None)),
        ("name: BCEWithLogitsLoss, pos_weight: [1, 2, 3]", shapes(3, float(), None)),
        (
            "name: CrossEntropyLoss, skip_last_target: true, squeeze_channel: true",
            shapes(2, channels(2, Element::I64), None),
        ),
        (
            "name: ContrastiveLoss, delta_var: 0.5, delta_dist: 2, norm: fro, alpha: 1, beta: 1, \
             gamma: 0.1",
            shapes(8, INDEX, None),
        ),
    ] {
        check_loss(section, shapes).unwrap_or_else(|error| panic!("{section}: {error}"));
    }
    for (section, shapes) in [
        ("name: MeanIoU", shapes(3, INDEX, None)),
        ("name: MeanIoU, skip_channels: [0]", shapes(3, onehot(), None)),
        ("name: MeanIoU", shapes(1, channels(1, Element::F32), None)),
        ("name: PixelWiseMeanIoU", shapes(3, INDEX, Some(INDEX))),
        ("name: BoundaryAdaptedRandError", shapes(1, channels(2, Element::F32), None)),
        ("name: PSNR", shapes(1, channels(1, Element::F32), None)),
    ] {
        check_metric(section, shapes).unwrap_or_else(|error| panic!("{section}: {error}"));
    }
}

#[test]
fn a_loss_and_labels_that_do_not_fit() {
    let one = || channels(1, Element::F32);
    fails(
        check_loss("name: CrossEntropyLoss", shapes(3, FLOAT, None)),
        "loss.name",
        &["float32", "dtype: long", "loaders.train.transformer.label"],
    );
    fails(
        check_loss("name: CrossEntropyLoss", shapes(3, channels(1, Element::I64), None)),
        "loss.name",
        &["expand_dims: false"],
    );
    fails(
        check_loss("name: CrossEntropyLoss", shapes(3, channels(3, Element::I64), None)),
        "loss.name",
        &["dtype: float32"],
    );
    fails(
        check_loss("name: CrossEntropyLoss", shapes(1, INDEX, None)),
        "loss.name",
        &["model.out_channels"],
    );
    fails(
        check_loss("name: WeightedCrossEntropyLoss", shapes(3, channels(3, Element::F32), None)),
        "loss.name",
        &["expand_dims: false"],
    );
    fails(
        check_loss("name: DiceLoss", shapes(3, FLOAT, None)),
        "loss.name",
        &["expand_dims: true"],
    );
    fails(
        check_loss("name: DiceLoss", shapes(3, one(), None)),
        "loss.name",
        &["model.out_channels", "1"],
    );
    fails(
        check_loss("name: BCEWithLogitsLoss", shapes(2, channels(3, Element::F32), None)),
        "loss.name",
        &["skip_last_target: true"],
    );
    fails(
        check_loss("name: BCEWithLogitsLoss", shapes(1, channels(1, Element::I64), None)),
        "loss.name",
        &["int64", "dtype: float32"],
    );
    fails(
        check_loss("name: PixelWiseCrossEntropyLoss", shapes(4, channels(3, Element::I64), None)),
        "loss.name",
        &["model.out_channels", "3"],
    );
}

#[test]
fn weights_that_are_missing_or_misshapen() {
    let section = "name: PixelWiseCrossEntropyLoss";
    fails(
        check_loss(section, shapes(3, INDEX, None)),
        "loss.name",
        &["loaders.weight_internal_path"],
    );
    fails(
        check_loss(section, shapes(3, INDEX, Some(channels(1, Element::F32)))),
        "loss.name",
        &["expand_dims: false", "loaders.train.transformer.weight"],
    );
    fails(
        check_metric("name: PixelWiseMeanIoU", shapes(3, INDEX, None)),
        "eval_metric.name",
        &["loaders.weight_internal_path"],
    );
}

#[test]
fn channels_that_are_not_there() {
    let skip = "name: DiceLoss, skip_last_target: true";
    let one = || channels(1, Element::F32);
    fails(check_loss(skip, shapes(1, one(), None)), "loss.skip_last_target", &["append_label"]);
    fails(check_loss(skip, shapes(1, FLOAT, None)), "loss.skip_last_target", &["append_label"]);
    fails(
        check_loss(
            "name: CrossEntropyLoss, skip_last_target: true",
            shapes(3, channels(2, Element::I64), None),
        ),
        "loss.squeeze_channel",
        &["squeeze_channel: true"],
    );
    fails(
        check_loss("name: DiceLoss, weight: [1, 2]", shapes(3, channels(3, Element::F32), None)),
        "loss.weight",
        &["3 output channels", "model.out_channels: 2"],
    );
    fails(
        check_loss(
            "name: BCEWithLogitsLoss, pos_weight: [1, 2]",
            shapes(3, channels(3, Element::F32), None),
        ),
        "loss.pos_weight",
        &["3 output channels"],
    );
    fails(
        check_metric("name: MeanIoU, skip_channels: [0, 1]", shapes(2, INDEX, None)),
        "eval_metric.skip_channels",
        &["all 2"],
    );
    fails(
        check_metric("name: BlobsAveragePrecision, input_channel: 1", shapes(1, one(), None)),
        "eval_metric.input_channel",
        &["0 to 0"],
    );
    fails(
        check_metric("name: MeanIoU", shapes(2, channels(3, Element::F32), None)),
        "eval_metric.name",
        &["model.out_channels"],
    );
}

#[test]
fn names_that_are_wrong_or_refused() {
    fails(
        check_loss("name: PixelwiseCrossEntropyLoss", shapes(3, INDEX, None)),
        "loss.name",
        &["is `PixelWiseCrossEntropyLoss` meant?"],
    );
    fails(check_loss("name: Hinge", shapes(3, INDEX, None)), "loss.name", &["DiceLoss"]);
    fails(check_loss("weight: [1]", shapes(3, INDEX, None)), "loss", &["`name`", "DiceLoss"]);
    fails(
        check_loss("name: TagsAngularLoss", shapes(3, INDEX, None)),
        "loss.name",
        &["several outputs"],
    );
    for name in ["WithinAngleThreshold", "InverseAngularError", "EmbeddingsAdaptedRandError"] {
        let section = format!("name: {name}");
        fails(check_metric(&section, shapes(3, INDEX, None)), "eval_metric.name", &["several"]);
    }
}

#[test]
fn keys_that_nobody_knows_are_warnings() {
    let text = "loss: {name: PixelWiseCrossEntropyLoss, weights: null}\n\
                eval_metric: {name: BoundaryAdaptedRandError, threshold: 0.4}\n";
    let tree = Tree::parse(text, "config.yaml", &[]).unwrap();
    loss::read(tree.root.get("loss").unwrap()).unwrap();
    metric::read(&tree.root).unwrap();
    let warnings = tree.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("loss.weights") && warnings[0].contains("`weight`"));
    assert!(warnings[1].contains("eval_metric.threshold") && warnings[1].contains("`thresholds`"));
}

#[test]
fn label_ranges_honour_what_is_ignored() {
    let range = |section: &str, target| {
        let tree = Tree::parse(&format!("loss: {{{section}}}"), "config.yaml", &[]).unwrap();
        loss::read(tree.root.get("loss").unwrap()).unwrap().label_range(&shapes(3, target, None))
    };
    let found = range("name: CrossEntropyLoss, ignore_index: -1", INDEX).unwrap();
    assert_eq!(found, LabelRange { classes: 3, ignored: Some(-1) });
    // The loader's check, made of the range, lets these labels through or names them.
    let check = |range: LabelRange| LabelCheck {
        classes: range.classes as usize,
        ignore_index: range.ignored,
    };
    let allows = |range: LabelRange, label: i64| {
        let labels = Volume::plain(Array4::from_elem((1, 1, 1, 1), label));
        check(range).find(&labels.into()).is_none()
    };
    assert!(allows(found, 2) && allows(found, -1) && !allows(found, 3) && !allows(found, -2));
    assert!(check(found).message(3.0).contains("0 to 2"), "{}", check(found).message(3.0));
    assert!(allows(range("name: CrossEntropyLoss", INDEX).unwrap(), -100));
    assert!(!allows(range("name: PixelWiseCrossEntropyLoss", INDEX).unwrap(), -100));
    assert_eq!(range("name: PixelWiseCrossEntropyLoss", channels(3, Element::I64)), None);
    assert_eq!(range("name: DiceLoss", channels(3, Element::I64)), None);
}
