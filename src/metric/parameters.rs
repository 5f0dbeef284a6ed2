//! Keys that several metrics have, and what they must be.

use crate::config::{ConfigError, Node, Parameter, Section};
use crate::target::TargetShapes;

pub(super) const SKIP_CHANNELS: Parameter =
    Parameter::integers("skip_channels", &[], "classes to leave out of the mean").at_least(0.0);
pub(super) const IGNORE_INDEX: Parameter =
    Parameter::integer("ignore_index", 0, "label whose voxels do not count").optional();

/// Checks the classes that are left out, `skip`, against the channels there are.
pub(super) fn check_skip(
    node: &Node,
    skip: &[i64],
    shapes: &TargetShapes<'_>,
) -> Result<(), ConfigError> {
    let classes = shapes.out_channels as i64;
    if let (Some(beyond), Some(key)) =
        (skip.iter().find(|&&channel| channel >= classes), node.get(SKIP_CHANNELS.name))
    {
        key.warn(format!("there is no channel {beyond}; the last one is {}", classes - 1));
    }
    if (0..classes).all(|channel| skip.contains(&channel)) {
        return Err(node.error_at(
            SKIP_CHANNELS.name,
            format!(
                "all {classes} output channels are left out and nothing is scored: take one out \
                 of the list"
            ),
        ));
    }
    Ok(())
}

/// Checks the output channels that the key `key` names against those there are.
pub(super) fn check_channels(
    node: &Node,
    key: &str,
    channels: &[i64],
    shapes: &TargetShapes<'_>,
) -> Result<(), ConfigError> {
    let count = shapes.out_channels as i64;
    match channels.iter().find(|&&channel| channel >= count) {
        Some(beyond) => Err(node.error_at(
            key,
            format!(
                "there is no output channel {beyond}: channels are 0 to {} for \
                 `model.out_channels: {count}`",
                count - 1
            ),
        )),
        None => Ok(()),
    }
}

/// The levels of a metric that cuts its maps, at least one.
pub(super) fn thresholds(section: &Section<'_>) -> Result<Vec<f64>, ConfigError> {
    let levels = section.numbers("thresholds");
    if levels.is_empty() {
        return Err(section.error("thresholds", "give at least one threshold"));
    }
    Ok(levels)
}
