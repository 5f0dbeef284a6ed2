//! What the list of losses says of each, and the loss of a configuration.

use anyhow::Result;
use tch::Tensor;

use crate::config::{self, ConfigError, Node, Parameter, Section};
use crate::target::{LabelForm, LabelRange, Labels, Requirement, TargetShapes, Weights};

use super::preparation::Preparation;
use super::{Criterion, Joined, LOSSES, Totals, Whole};

/// One loss: its name, its keys and how to make it.
pub struct LossEntry {
    pub name: &'static str,
    pub meaning: &'static str,
    /// Its own keys, without those that all losses share.
    pub parameters: &'static [Parameter],
    pub labels: LabelForm,
    /// Whether it works on a weight map, and needs one.
    pub uses_weight: bool,
    pub ignore_index: IgnoreIndex,
    pub build: fn(&Section<'_>) -> Result<Box<dyn Criterion>, ConfigError>,
}

/// How a loss leaves out the voxels of `ignore_index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreIndex {
    /// Logits and labels are set to 0 there before the loss sees them.
    Masked,
    /// The loss leaves them out itself; the label that it ignores when the key is
    /// absent, if there is one.
    Own { default: Option<i64> },
}

impl config::Entry for LossEntry {
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

/// The loss of a configuration.
pub struct Loss {
    entry: &'static LossEntry,
    /// Its section, for the places of errors.
    node: Node,
    criterion: Box<dyn Criterion>,
    preparation: Preparation,
    /// The label that does not count.
    ignored: Option<i64>,
}

/// Makes the loss of the configuration's `loss` section.
///
/// # Errors
/// An unknown name, missing keys, wrong types or impossible values.
pub fn read(node: &Node) -> Result<Loss, ConfigError> {
    let (entry, section) = LOSSES.open(node)?;
    let criterion = (entry.build)(&section)?;
    let given = section.maybe_integer("ignore_index");
    let (mask, ignored) = match entry.ignore_index {
        IgnoreIndex::Masked => (given, given),
        IgnoreIndex::Own { default } => (None, given.or(default)),
    };
    let preparation = Preparation {
        skip_last: section.flag("skip_last_target"),
        squeeze: section.flag("squeeze_channel"),
        mask,
    };
    if preparation.squeeze
        && !preparation.skip_last
        && let Some(key) = section.child("squeeze_channel")
    {
        key.warn("has no effect without `skip_last_target: true`");
    }
    Ok(Loss { entry, node: node.clone(), criterion, preparation, ignored })
}

impl Loss {
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The loss of a batch, a scalar on the device of `logits`, (N, C, D, H, W),
    /// through which the gradient flows back. A loss that uses no weights ignores
    /// them.
    ///
    /// # Errors
    /// Labels outside the classes, missing weights, or a failed tensor operation.
    pub fn forward(
        &self,
        logits: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
    ) -> Result<Tensor> {
        self.share(logits, labels, weights, &mut Whole)
    }

    /// What a part of a batch adds to its loss, a scalar as [`Loss::forward`] gives it;
    /// `totals` joins the sums of the parts.
    ///
    /// # Errors
    /// As [`Loss::forward`], and parts that cannot be reached.
    pub fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let weights = weights.filter(|_| self.entry.uses_weight);
        match self.preparation.apply(logits, labels)? {
            Some((logits, labels)) => self.criterion.share(&logits, &labels, weights, totals),
            None => self.criterion.share(logits, labels, weights, totals),
        }
    }

    /// What [`Loss::share`] joins, for a network of so many output channels.
    pub fn joined(&self, channels: usize) -> Joined {
        self.criterion.joined(channels)
    }

    /// Finds, before any data moves, a `loss` section that cannot work on these
    /// labels, weights and output channels.
    ///
    /// # Errors
    /// What does not fit; the message says which key to change.
    pub fn check(&self, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        let labels = self.preparation.seen_labels(self.entry, &self.node, shapes)?;
        let seen = TargetShapes { labels, ..shapes.clone() };
        self.requirement().check(&seen)?;
        self.criterion.check(&self.node, &seen)
    }

    /// The labels that may stand in a target of class indices; `None` when the
    /// loss takes any. For a loader that checks labels before a GPU sees them.
    pub fn label_range(&self, shapes: &TargetShapes<'_>) -> Option<LabelRange> {
        let classes = matches!(
            self.entry.labels,
            LabelForm::Classes | LabelForm::ClassesOrProbabilities | LabelForm::ClassesOrOneHot
        );
        (classes && shapes.labels.channels.is_none())
            .then_some(LabelRange { classes: shapes.out_channels as i64, ignored: self.ignored })
    }

    /// Finds a loss that works on weights where the loaders read none.
    ///
    /// # Errors
    /// Such a loss.
    pub fn check_loaded(&self, weights: bool) -> Result<(), ConfigError> {
        self.requirement().check_loaded(weights)
    }

    /// The label whose voxels do not count, if there is one.
    pub fn ignored(&self) -> Option<i64> {
        self.ignored
    }

    /// Whether voxels count by their weights.
    pub fn uses_weights(&self) -> bool {
        self.entry.uses_weight
    }

    fn requirement(&self) -> Requirement<'_> {
        Requirement {
            criterion: self.entry.name,
            node: &self.node,
            labels: self.entry.labels,
            weight: self.entry.uses_weight,
            can_skip_last: true,
        }
    }
}
