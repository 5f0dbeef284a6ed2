//! Keys that several losses have.

use crate::config::Parameter;

pub(super) const NAME: Parameter =
    Parameter::text("name", "", "which loss to train with").required();
pub(super) const CLASS_WEIGHT: Parameter =
    Parameter::numbers("weight", &[], "one weight for each class, in the order of the channels")
        .at_least(0.0)
        .optional();
pub(super) const IGNORE_INDEX: Parameter =
    Parameter::integer("ignore_index", 0, "label whose voxels do not count").optional();
pub(super) const SKIP_LAST_TARGET: Parameter = Parameter::flag(
    "skip_last_target",
    false,
    "leaves the last channel of the labels to the metric, such as the instances that \
     `append_label` appends",
);
pub(super) const SQUEEZE_CHANNEL: Parameter = Parameter::flag(
    "squeeze_channel",
    false,
    "with `skip_last_target`: drops the channel axis when one channel is left",
);
pub(super) const SIGMOID_NORMALIZATION: Parameter = Parameter::flag(
    "sigmoid_normalization",
    true,
    "true: sigmoid of every channel; false: softmax over the channels",
);
