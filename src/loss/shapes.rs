//! Whether a loss, the labels and the network fit, told from shapes alone.

use crate::config::{ConfigError, Section};
use crate::volume::VolumeShape;

use super::Entry;

/// What network and data set give a loss or metric to work with.
#[derive(Clone, Debug)]
pub struct Shapes<'a> {
    /// `train` or `val`, so that messages can name the keys of that phase.
    pub phase: &'a str,
    /// Channels of the network's output.
    pub out_channels: usize,
    /// Of the labels, after their transforms.
    pub target: VolumeShape,
    /// Of the weight map after its transforms, `None` if the loader has none.
    pub weight: Option<VolumeShape>,
}

/// The target that a loss or metric understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Class indices (N, D, H, W), integer.
    Classes,
    /// As [`Target::Classes`], or class probabilities (N, C, D, H, W), float.
    ClassesOrProbabilities,
    /// As [`Target::Classes`], or (N, C, D, H, W) of any type.
    ClassesOrOneHot,
    /// (N, C, D, H, W) with the channels of the logits.
    LikeLogits { float: bool },
    /// Instance labels (N, D, H, W), integer.
    Instances,
    /// Instance labels, (N, D, H, W) or one channel of (N, C, D, H, W).
    AnyInstances,
}

/// Labels that a loss can take; a GPU would stop at others without saying why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelRange {
    /// Labels are in `0..classes`,
    pub classes: i64,
    /// or equal to this one.
    pub ignored: Option<i64>,
}

impl LabelRange {
    pub fn allows(&self, label: i64) -> bool {
        (0..self.classes).contains(&label) || self.ignored == Some(label)
    }

    /// What is wrong with a label outside the range, and what would be right.
    pub fn complaint(&self, label: i64) -> String {
        let ignored = match self.ignored {
            Some(ignored) if !(0..self.classes).contains(&ignored) => {
                format!(" (or {ignored}, which `loss.ignore_index` leaves out)")
            }
            _ => String::new(),
        };
        format!(
            "the label {label} is outside the {0} classes of the network, 0 to {1}{ignored}; \
             set `model.out_channels` to the number of classes, or `loss.ignore_index` to a label \
             that should not count",
            self.classes,
            self.classes - 1
        )
    }
}

/// The label list of a phase, as the user finds it in the file.
pub(crate) fn label_list(phase: &str) -> String {
    format!("`loaders.{phase}.transformer.label`")
}

/// Checks `target`, as the loss sees it, against what it wants.
pub(crate) fn check_target(
    section: &Section<'_>,
    name: &str,
    wanted: Target,
    shapes: &Shapes<'_>,
    target: VolumeShape,
) -> Result<(), ConfigError> {
    let list = label_list(shapes.phase);
    let fail = |message: String| Err(section.error("name", message));
    let element = target.element.name();
    let integer = || {
        if target.element.is_float() {
            return fail(format!(
                "{name} wants integer labels, and those of {list} are {element}: set `dtype: long` \
                 in their `ToTensor`"
            ));
        }
        Ok(())
    };
    let channels = |channels: usize| {
        if channels == shapes.out_channels {
            return Ok(());
        }
        fail(format!(
            "{name} compares every output channel with one of the labels, and there are {channels} \
             label channels for `model.out_channels: {}`: set `model.out_channels` to {channels}, \
             or change the transforms of {list}{}",
            shapes.out_channels,
            if channels == shapes.out_channels + 1 && section.node.path == "loss" {
                " (`loss.skip_last_target: true` leaves the last channel out of the loss)"
            } else {
                ""
            }
        ))
    };
    let enough_classes = || {
        if shapes.out_channels < 2 {
            return fail(format!(
                "{name} chooses between classes, and the network has one output channel: set \
                 `model.out_channels` to the number of classes (2 for background and foreground), \
                 or `expand_dims: true` in the `ToTensor` of {list} for a loss and a metric that \
                 work on channels"
            ));
        }
        Ok(())
    };
    match (wanted, target.channels) {
        (Target::Classes, None) => integer().and_then(|()| enough_classes()),
        (Target::ClassesOrProbabilities | Target::ClassesOrOneHot, None) => {
            integer().and_then(|()| enough_classes())
        }
        (Target::Classes, Some(_)) => fail(format!(
            "{name} wants class indices (D, H, W), and the labels of {list} have a channel axis: \
             set `expand_dims: false` in their `ToTensor`"
        )),
        (Target::ClassesOrProbabilities, Some(count)) => {
            if count == 1 && shapes.out_channels > 1 {
                return fail(format!(
                    "{name} wants class indices (D, H, W), and the labels of {list} have a channel \
                     axis: set `expand_dims: false` and `dtype: long` in their `ToTensor`"
                ));
            }
            if !target.element.is_float() {
                return fail(format!(
                    "{name} takes labels with channels as class probabilities, and those of {list} \
                     are {element}: set `dtype: float32` in their `ToTensor`"
                ));
            }
            channels(count)
        }
        (Target::ClassesOrOneHot, Some(count)) => {
            if count == 1 && shapes.out_channels > 1 {
                return fail(format!(
                    "{name} wants class indices (D, H, W) or one channel a class, and the labels \
                     of {list} have one channel for `model.out_channels: {}`: set `expand_dims: \
                     false` and `dtype: long` in their `ToTensor`",
                    shapes.out_channels
                ));
            }
            channels(count)
        }
        (Target::LikeLogits { .. }, None) => fail(format!(
            "{name} wants labels with a channel axis, and those of {list} are (D, H, W): set \
             `expand_dims: true` in their `ToTensor`"
        )),
        (Target::LikeLogits { float }, Some(count)) => {
            if float && !target.element.is_float() {
                return fail(format!(
                    "{name} wants labels in floating point, and those of {list} are {element}: set \
                     `dtype: float32` in their `ToTensor`"
                ));
            }
            channels(count)
        }
        (Target::Instances, None) => integer(),
        (Target::Instances, Some(_)) => fail(format!(
            "{name} wants instance labels (D, H, W), and the labels of {list} have a channel axis: \
             set `expand_dims: false` in their `ToTensor`"
        )),
        (Target::AnyInstances, _) => Ok(()),
    }
}

/// Checks the weight map of a loss or metric that needs one.
pub(crate) fn check_weight(
    section: &Section<'_>,
    name: &str,
    shapes: &Shapes<'_>,
) -> Result<(), ConfigError> {
    let Some(weight) = shapes.weight.clone() else {
        return Err(section.error(
            "name",
            format!(
                "{name} needs a weight map: set `loaders.weight_internal_path` to its data set, \
                 and list its transforms under `loaders.{}.transformer.weight`",
                shapes.phase
            ),
        ));
    };
    match weight.channels {
        None => Ok(()),
        Some(channels) if channels == shapes.out_channels => Ok(()),
        Some(1) => Err(section.error(
            "name",
            format!(
                "{name} wants weights (D, H, W) or one channel a class, and those of \
                 `loaders.{}.transformer.weight` have one channel: set `expand_dims: false` in \
                 their `ToTensor`",
                shapes.phase
            ),
        )),
        Some(channels) => Err(section.error(
            "name",
            format!(
                "{name} wants weights (D, H, W) or one channel a class, and the weight map of \
                 `loaders.weight_internal_path` has {channels} channels for `model.out_channels: \
                 {}`",
                shapes.out_channels
            ),
        )),
    }
}

/// What the loss sees of the target after `skip_last_target` and
/// `squeeze_channel`.
pub(super) fn seen_target(
    section: &Section<'_>,
    entry: &Entry,
    shapes: &Shapes<'_>,
) -> Result<VolumeShape, ConfigError> {
    let mut target = shapes.target.clone();
    if !section.flag("skip_last_target") {
        return Ok(target);
    }
    let list = label_list(shapes.phase);
    let Some(channels) = target.channels.filter(|&channels| channels > 1) else {
        let what = match target.channels {
            Some(_) => "have one channel",
            None => "have no channel axis",
        };
        return Err(section.error(
            "skip_last_target",
            format!(
                "there is no last channel to skip, since the labels of {list} {what}: remove \
                 `skip_last_target`, or set `append_label: true` in the transform that makes the \
                 channels"
            ),
        ));
    };
    let squeeze = channels == 2 && section.flag("squeeze_channel");
    target.channels = (!squeeze).then_some(channels - 1);
    if channels == 2
        && !squeeze
        && shapes.out_channels > 1
        && entry.target != (Target::LikeLogits { float: true })
        && entry.target != (Target::LikeLogits { float: false })
    {
        return Err(section.error(
            "squeeze_channel",
            format!(
                "{} wants labels (D, H, W), and one channel is left of those of {list}: set \
                 `squeeze_channel: true`",
                entry.name
            ),
        ));
    }
    Ok(target)
}
