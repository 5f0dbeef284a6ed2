//! The list of all metrics: adding one adds one line here.

use crate::config::{ConfigError, Node, Parameter, Section, YamlValue, nearest};
use crate::loss::{Shapes, Target, check_target, check_weight};

use super::Metric;

/// The metric of a configuration that names none.
const DEFAULT: &str = "MeanIoU";

/// One metric: its name, its keys and how to make it.
pub struct Entry {
    pub name: &'static str,
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
    /// Works on a weight map, and needs one.
    pub uses_weight: bool,
    pub target: Target,
    /// Finds what is wrong with this section beyond target and weight.
    pub check: fn(&Section<'_>, &Shapes<'_>) -> Result<(), ConfigError>,
    pub build: fn(&Section<'_>) -> Result<Box<dyn Metric>, ConfigError>,
}

static ENTRIES: &[&Entry] = &[
    &super::adapted_rand::PLAIN,
    &super::adapted_rand::BOUNDARY,
    &super::adapted_rand::GENERIC,
    &super::average_precision::BOUNDARY,
    &super::average_precision::BLOBS,
    &super::average_precision::BLOBS_BOUNDARY,
    &super::dice_coefficient::ENTRY,
    &super::mean_iou::ENTRY,
    &super::pixel_wise_mean_iou::ENTRY,
    &super::mse::ENTRY,
    &super::psnr::ENTRY,
];

/// Metrics of the Python program that need several outputs, or embeddings.
const SEVERAL_HEADS: &[&str] = &[
    "WithinAngleThreshold",
    "InverseAngularError",
    "EmbeddingsAdaptedRandError",
    "EmbeddingsMeanShiftAdaptedRandError",
];

/// The metric of that name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().copied().find(|entry| entry.name == name)
}

pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name)
}

/// The metric of a configuration.
pub struct Chosen {
    pub metric: Box<dyn Metric>,
    pub entry: &'static Entry,
}

/// The `eval_metric` section of the whole configuration, or the one that stands
/// for its absence.
fn section_of(config: &Node) -> Node {
    if let Some(node) = config.get("eval_metric") {
        return node.clone();
    }
    let mut name = config.clone();
    name.path = "eval_metric.name".into();
    name.value = YamlValue::Text(DEFAULT.into());
    let mut node = name.clone();
    node.path = "eval_metric".into();
    node.value = YamlValue::Map(vec![("name".into(), name)]);
    node
}

fn open(node: &Node) -> Result<(&'static Entry, Section<'_>), ConfigError> {
    let all = || names().collect::<Vec<_>>().join(", ");
    let Some(name) = node.get("name") else {
        return Err(node.error(format!("the key `name` is missing; it is one of {}", all())));
    };
    let text = name.text()?;
    let entry = entry(text).ok_or_else(|| {
        if SEVERAL_HEADS.contains(&text) {
            return name.error(format!(
                "{text} needs a network with several outputs or embeddings, and there is none \
                 here; the metrics are {}",
                all()
            ));
        }
        name.error(match nearest(text, names()) {
            Some(near) => format!("no metric is called {text}; is {near} meant?"),
            None => format!("no metric is called {text}; there are {}", all()),
        })
    })?;
    Ok((entry, node.section(entry.parameters)?))
}

/// Makes the metric of the `eval_metric` section of `config`, the whole
/// configuration.
pub fn read(config: &Node) -> Result<Chosen, ConfigError> {
    let node = section_of(config);
    let (entry, section) = open(&node)?;
    Ok(Chosen { metric: (entry.build)(&section)?, entry })
}

/// Finds, before any data moves, a metric that cannot work on these labels,
/// weights and output channels; the message says which key to change.
pub fn check(config: &Node, shapes: &Shapes<'_>) -> Result<(), ConfigError> {
    let node = section_of(config);
    let (entry, section) = open(&node)?;
    check_target(&section, entry.name, entry.target, shapes, shapes.target.clone())?;
    if entry.uses_weight {
        check_weight(&section, entry.name, shapes)?;
    }
    (entry.check)(&section, shapes)
}
