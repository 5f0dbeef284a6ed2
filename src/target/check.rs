//! Whether a criterion, the labels and the network fit, told from shapes alone.

use crate::config::{ConfigError, Node};
use crate::volume::VolumeShape;

/// What network and data set give a loss or metric to work with.
#[derive(Clone, Debug)]
pub struct TargetShapes<'a> {
    /// `train` or `val`, so that messages can name the keys of that phase.
    pub phase: &'a str,
    /// Channels of the network's output.
    pub out_channels: usize,
    /// Labels after their transforms.
    pub labels: VolumeShape,
    /// Weight map after its transforms, `None` if the loader has none.
    pub weight: Option<VolumeShape>,
}

/// The labels that a loss or metric understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelForm {
    /// Class indices (N, D, H, W), integer.
    Classes,
    /// As [`LabelForm::Classes`], or class probabilities (N, C, D, H, W), float.
    ClassesOrProbabilities,
    /// As [`LabelForm::Classes`], or (N, C, D, H, W) of any type.
    ClassesOrOneHot,
    /// (N, C, D, H, W) with the channels of the logits.
    LikeLogits { float: bool },
    /// Instance labels (N, D, H, W), integer.
    Instances,
    /// Instance labels, (N, D, H, W) or one channel of (N, C, D, H, W).
    AnyInstances,
}

/// The labels that a loss on class indices can take. A GPU would abort on others
/// without saying why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelRange {
    /// Labels are in `0..classes`,
    pub classes: i64,
    /// or equal to this one.
    pub ignored: Option<i64>,
}

/// What a loss or metric asks of labels and weights.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    /// Name of the loss or metric.
    pub criterion: &'a str,
    /// Its section in the configuration, for the places of errors.
    pub node: &'a Node,
    pub labels: LabelForm,
    /// Whether it works on a weight map, and needs one.
    pub weight: bool,
    /// Whether its section can say `skip_last_target`.
    pub can_skip_last: bool,
}

impl Requirement<'_> {
    /// Compares the requirement with what network and data set give.
    ///
    /// # Errors
    /// Labels or weights that the criterion cannot work on; the message says which
    /// key to change.
    pub fn check(&self, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        let labels = self.check_labels(shapes);
        let result = labels.and_then(|()| match self.weight {
            true => self.check_weight(shapes),
            false => Ok(()),
        });
        result.map_err(|message| self.node.error_at("name", message))
    }

    /// Compares the requirement with whether the loaders read a weight map at all.
    ///
    /// # Errors
    /// A criterion that works on weights where none are read.
    pub fn check_loaded(&self, weights: bool) -> Result<(), ConfigError> {
        if self.weight && !weights {
            return Err(self.node.error(format!(
                "{} works with a weight map, and none is loaded: set \
                 `loaders.weight_internal_path`",
                self.criterion
            )));
        }
        Ok(())
    }

    /// What is wrong with the labels.
    fn check_labels(&self, shapes: &TargetShapes<'_>) -> Result<(), String> {
        let (name, labels) = (self.criterion, &shapes.labels);
        let (list, out_channels) = (shapes.label_list(), shapes.out_channels);
        let element = labels.element.name();
        match (self.labels, labels.channels) {
            (
                LabelForm::Classes | LabelForm::ClassesOrProbabilities | LabelForm::ClassesOrOneHot,
                None,
            ) => {
                self.check_integer(shapes)?;
                if out_channels < 2 {
                    return Err(format!(
                        "{name} chooses between classes, and the network has one output channel: \
                         set `model.out_channels` to the number of classes (2 for background and \
                         foreground), or `expand_dims: true` in the `ToTensor` of {list} for a \
                         loss and a metric that work on channels"
                    ));
                }
                Ok(())
            }
            (LabelForm::Classes, Some(_)) => Err(format!(
                "{name} wants class indices (D, H, W), and the labels of {list} have a channel \
                 axis: set `expand_dims: false` in their `ToTensor`"
            )),
            (LabelForm::ClassesOrProbabilities, Some(count)) => {
                if count == 1 && out_channels > 1 {
                    return Err(format!(
                        "{name} wants class indices (D, H, W), and the labels of {list} have a \
                         channel axis: set `expand_dims: false` and `dtype: long` in their \
                         `ToTensor`"
                    ));
                }
                if !labels.element.is_float() {
                    return Err(format!(
                        "{name} takes labels with channels as class probabilities, and those of \
                         {list} are {element}: set `dtype: float32` in their `ToTensor`"
                    ));
                }
                self.check_channels(count, shapes)
            }
            (LabelForm::ClassesOrOneHot, Some(count)) => {
                if count == 1 && out_channels > 1 {
                    return Err(format!(
                        "{name} wants class indices (D, H, W) or one channel a class, and the \
                         labels of {list} have one channel for `model.out_channels: \
                         {out_channels}`: set `expand_dims: false` and `dtype: long` in their \
                         `ToTensor`"
                    ));
                }
                self.check_channels(count, shapes)
            }
            (LabelForm::LikeLogits { .. }, None) => Err(format!(
                "{name} wants labels with a channel axis, and those of {list} are (D, H, W): set \
                 `expand_dims: true` in their `ToTensor`"
            )),
            (LabelForm::LikeLogits { float }, Some(count)) => {
                if float && !labels.element.is_float() {
                    return Err(format!(
                        "{name} wants labels in floating point, and those of {list} are \
                         {element}: set `dtype: float32` in their `ToTensor`"
                    ));
                }
                self.check_channels(count, shapes)
            }
            (LabelForm::Instances, None) => self.check_integer(shapes),
            (LabelForm::Instances, Some(_)) => Err(format!(
                "{name} wants instance labels (D, H, W), and the labels of {list} have a channel \
                 axis: set `expand_dims: false` in their `ToTensor`"
            )),
            (LabelForm::AnyInstances, _) => Ok(()),
        }
    }

    fn check_integer(&self, shapes: &TargetShapes<'_>) -> Result<(), String> {
        if !shapes.labels.element.is_float() {
            return Ok(());
        }
        Err(format!(
            "{} wants integer labels, and those of {} are {}: set `dtype: long` in their \
             `ToTensor`",
            self.criterion,
            shapes.label_list(),
            shapes.labels.element.name()
        ))
    }

    /// Compares the number of label channels with that of output channels.
    fn check_channels(&self, channels: usize, shapes: &TargetShapes<'_>) -> Result<(), String> {
        let out_channels = shapes.out_channels;
        if channels == out_channels {
            return Ok(());
        }
        let hint = if channels == out_channels + 1 && self.can_skip_last {
            " (`loss.skip_last_target: true` leaves the last channel out of the loss)"
        } else {
            ""
        };
        Err(format!(
            "{} compares every output channel with one of the labels, and there are {channels} \
             label channels for `model.out_channels: {out_channels}`: set `model.out_channels` to \
             {channels}, or change the transforms of {}{hint}",
            self.criterion,
            shapes.label_list()
        ))
    }

    /// What is wrong with the weight map.
    fn check_weight(&self, shapes: &TargetShapes<'_>) -> Result<(), String> {
        let (name, phase) = (self.criterion, shapes.phase);
        let Some(weight) = &shapes.weight else {
            return Err(format!(
                "{name} needs a weight map: set `loaders.weight_internal_path` to its data set, \
                 and list its transforms under `loaders.{phase}.transformer.weight`"
            ));
        };
        match weight.channels {
            None => Ok(()),
            Some(channels) if channels == shapes.out_channels => Ok(()),
            Some(1) => Err(format!(
                "{name} wants weights (D, H, W) or one channel a class, and those of \
                 `loaders.{phase}.transformer.weight` have one channel: set `expand_dims: false` \
                 in their `ToTensor`"
            )),
            Some(channels) => Err(format!(
                "{name} wants weights (D, H, W) or one channel a class, and the weight map of \
                 `loaders.weight_internal_path` has {channels} channels for `model.out_channels: \
                 {}`",
                shapes.out_channels
            )),
        }
    }
}

impl TargetShapes<'_> {
    /// The key of the phase's label transforms, for messages.
    pub fn label_list(&self) -> String {
        format!("`loaders.{}.transformer.label`", self.phase)
    }
}
