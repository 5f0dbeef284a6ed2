//! What the list of metrics says of each, and the metric of a configuration.

use anyhow::Result;
use tch::Tensor;

use crate::config::{self, ConfigError, Node, Parameter, Section};
use crate::target::{LabelForm, Labels, Requirement, TargetShapes, Weights};

use super::{METRICS, Scorer};

/// One metric: its name, its keys and how to make it.
pub struct MetricEntry {
    pub name: &'static str,
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
    pub labels: LabelForm,
    /// Whether it works on a weight map, and needs one.
    pub uses_weight: bool,
    pub build: fn(&Section<'_>) -> Result<Box<dyn Scorer>, ConfigError>,
}

impl config::Entry for MetricEntry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }
}

/// The metric of a configuration.
pub struct Metric {
    entry: &'static MetricEntry,
    /// Its section, for the places of errors.
    node: Node,
    scorer: Box<dyn Scorer>,
}

/// Makes the metric of the `eval_metric` section of `config`, the whole
/// configuration; the default metric if there is no such section.
///
/// # Errors
/// An unknown name, missing keys, wrong types or impossible values.
pub fn read(config: &Node) -> Result<Metric, ConfigError> {
    let node = config.section_or_empty("eval_metric");
    let (entry, section) = METRICS.open(&node)?;
    let scorer = (entry.build)(&section)?;
    Ok(Metric { entry, node, scorer })
}

impl Metric {
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The score of a batch; `None` if the batch has nothing that could be scored,
    /// and should be left out of averages. `probabilities` are (N, C, D, H, W), the
    /// network's output after its final activation. A metric that uses no weights
    /// ignores them.
    ///
    /// # Errors
    /// Labels out of range, missing weights, or a failed tensor operation.
    pub fn score(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
    ) -> Result<Option<f64>> {
        self.value(&self.sums(probabilities, labels, weights)?)
    }

    /// The sums of a part of a batch that the score follows from, with the arguments of
    /// [`Metric::score`]. Those of several parts are added up, one by one.
    ///
    /// # Errors
    /// As [`Metric::score`].
    pub fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
    ) -> Result<Vec<f64>> {
        self.scorer.sums(probabilities, labels, weights.filter(|_| self.entry.uses_weight))
    }

    /// The score of the batch whose parts' sums, added up, are `sums`.
    ///
    /// # Errors
    /// A failed tensor operation.
    pub fn value(&self, sums: &[f64]) -> Result<Option<f64>> {
        self.scorer.value(sums)
    }

    /// How many sums [`Metric::sums`] gives for a network of so many output channels.
    pub fn length(&self, channels: usize) -> usize {
        self.scorer.length(channels)
    }

    /// Finds, before any data moves, a metric that cannot work on these labels,
    /// weights and output channels.
    ///
    /// # Errors
    /// What does not fit; the message says which key to change.
    pub fn check(&self, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        self.requirement().check(shapes)?;
        self.scorer.check(&self.node, shapes)
    }

    /// Finds a metric that works on weights where the loaders read none.
    ///
    /// # Errors
    /// Such a metric.
    pub fn check_loaded(&self, weights: bool) -> Result<(), ConfigError> {
        self.requirement().check_loaded(weights)
    }

    fn requirement(&self) -> Requirement<'_> {
        Requirement {
            criterion: self.entry.name,
            node: &self.node,
            labels: self.entry.labels,
            weight: self.entry.uses_weight,
            can_skip_last: false,
        }
    }
}
