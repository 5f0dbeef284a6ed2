//! Keys that several metrics have, and what they must be.

use crate::config::{ConfigError, Parameter, Section};
use crate::loss::Shapes;

pub(super) const NAME: Parameter =
    Parameter::text("name", "", "which metric to judge by").required();
pub(super) const SKIP_CHANNELS: Parameter =
    Parameter::integers("skip_channels", &[], "classes to leave out of the mean").at_least(0.0);
pub(super) const IGNORE_INDEX: Parameter =
    Parameter::integer("ignore_index", 0, "label whose voxels do not count").optional();

/// Checks `skip_channels` against the channels there are.
pub(super) fn check_skip(section: &Section<'_>, shapes: &Shapes<'_>) -> Result<(), ConfigError> {
    let skip = section.integers(SKIP_CHANNELS.name);
    let classes = shapes.out_channels as i64;
    if let (Some(beyond), Some(key)) =
        (skip.iter().find(|&&channel| channel >= classes), section.child(SKIP_CHANNELS.name))
    {
        key.warn(format!("there is no channel {beyond}; the last one is {}", classes - 1));
    }
    if (0..classes).all(|channel| skip.contains(&channel)) {
        return Err(section.error(
            SKIP_CHANNELS.name,
            format!(
                "all {classes} output channels are left out and nothing is scored: take one out \
                 of the list"
            ),
        ));
    }
    Ok(())
}

/// The levels of a metric that cuts its maps, at least one.
pub(super) fn thresholds(section: &Section<'_>) -> Result<Vec<f64>, ConfigError> {
    let levels = section.numbers("thresholds");
    if levels.is_empty() {
        return Err(section.error("thresholds", "give at least one threshold"));
    }
    Ok(levels)
}
