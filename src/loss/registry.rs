//! The list of all losses: adding one adds one line here.

use crate::config::{ConfigError, Node, Parameter, Section, nearest};

use super::masked::Prepared;
use super::shapes::{check_target, check_weight, seen_target};
use super::{Criterion, LabelRange, Shapes, Target};

/// One loss: its name, its keys and how to make it.
pub struct Entry {
    pub name: &'static str,
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
    /// Works on a weight map, and needs one.
    pub uses_weight: bool,
    /// `ignore_index` masks logits and target; else the loss minds it itself.
    pub(super) masks: bool,
    /// The label that is ignored when `ignore_index` is absent.
    pub(super) ignored_label: Option<i64>,
    pub target: Target,
    pub build: fn(&Section<'_>) -> Result<Box<dyn Criterion>, ConfigError>,
}

static ENTRIES: &[&Entry] = &[
    &super::bce_with_logits::ENTRY,
    &super::dice::ENTRY,
    &super::bce_dice::ENTRY,
    &super::generalized_dice::ENTRY,
    &super::cross_entropy::ENTRY,
    &super::weighted_cross_entropy::ENTRY,
    &super::pixel_wise_cross_entropy::ENTRY,
    &super::mse::ENTRY,
    &super::l1::ENTRY,
    &super::smooth_l1::ENTRY,
    &super::weighted_smooth_l1::ENTRY,
    &super::contrastive::ENTRY,
];

/// Losses of the Python program that need a network with several outputs.
const SEVERAL_HEADS: &[&str] = &["TagsAngularLoss"];

/// The loss of that name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().copied().find(|entry| entry.name == name)
}

pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name)
}

/// The loss of a configuration.
pub struct Loss {
    pub criterion: Box<dyn Criterion>,
    pub entry: &'static Entry,
    ignored: Option<i64>,
}

impl Loss {
    /// The labels that may stand in a target of class indices; `None` when the
    /// loss takes any. For a loader that checks labels before a GPU sees them.
    pub fn label_range(&self, shapes: &Shapes<'_>) -> Option<LabelRange> {
        let classes = matches!(
            self.entry.target,
            Target::Classes | Target::ClassesOrProbabilities | Target::ClassesOrOneHot
        );
        (classes && shapes.target.channels.is_none())
            .then_some(LabelRange { classes: shapes.out_channels as i64, ignored: self.ignored })
    }
}

fn open(node: &Node) -> Result<(&'static Entry, Section<'_>), ConfigError> {
    let name = match node.get("name") {
        Some(name) => name,
        None => {
            return Err(node.error(format!(
                "the key `name` is missing; it is one of {}",
                names().collect::<Vec<_>>().join(", ")
            )));
        }
    };
    let text = name.text()?;
    let entry = entry(text).ok_or_else(|| {
        if SEVERAL_HEADS.contains(&text) {
            return name.error(format!(
                "{text} needs a network with several outputs, and there is none here; the losses \
                 are {}",
                names().collect::<Vec<_>>().join(", ")
            ));
        }
        name.error(match nearest(text, names()) {
            Some(near) => format!("no loss is called {text}; is {near} meant?"),
            None => format!(
                "no loss is called {text}; there are {}",
                names().collect::<Vec<_>>().join(", ")
            ),
        })
    })?;
    Ok((entry, node.section(entry.parameters)?))
}

/// Makes the loss of the configuration's `loss` section.
pub fn read(node: &Node) -> Result<Loss, ConfigError> {
    let (entry, section) = open(node)?;
    let inner = (entry.build)(&section)?;
    let given = section.maybe_integer("ignore_index");
    let mask = given.filter(|_| entry.masks);
    let skip_last = section.flag("skip_last_target");
    let squeeze = section.flag("squeeze_channel");
    if squeeze
        && !skip_last
        && let Some(key) = section.child("squeeze_channel")
    {
        key.warn("has no effect without `skip_last_target: true`");
    }
    let criterion = if skip_last || mask.is_some() {
        Box::new(Prepared { inner, skip_last, squeeze, mask })
    } else {
        inner
    };
    Ok(Loss { criterion, entry, ignored: given.or(entry.ignored_label) })
}

/// Finds, before any data moves, a `loss` section that cannot work on these
/// labels, weights and output channels; the message says which key to change.
pub fn check(node: &Node, shapes: &Shapes<'_>) -> Result<(), ConfigError> {
    let (entry, section) = open(node)?;
    let target = seen_target(&section, entry, shapes)?;
    check_target(&section, entry.name, entry.target, shapes, target)?;
    if entry.uses_weight {
        check_weight(&section, entry.name, shapes)?;
    }
    for key in ["weight", "pos_weight"] {
        if entry.parameters.iter().all(|parameter| parameter.name != key) {
            continue;
        }
        let Some(node) = section.child(key) else { continue };
        let given = super::bce_with_logits::numbers(node)?.len();
        if given != shapes.out_channels && !(key == "pos_weight" && given == 1) {
            return Err(node.error(format!(
                "one number for each of the {} output channels is wanted, not {given}: give {}, or \
                 set `model.out_channels: {given}`",
                shapes.out_channels, shapes.out_channels
            )));
        }
    }
    Ok(())
}
