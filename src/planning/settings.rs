//! What of the settings of a training can hardly be meant, told without any data.

use crate::augment::{normalization, normalization_differs};
use crate::config::Section;
use crate::metric::higher_is_better;
use crate::train::{LOWEST_LEARNING_RATE, TrainingPlan};

/// From this learning rate on, optimizers that divide by the size of gradients make steps
/// larger than any weight of a network.
const HIGH_ADAPTIVE_RATE: f64 = 0.1;
/// The same of the others, but Adadelta, whose rate is a factor on a step that it finds
/// itself.
const HIGH_RATE: f64 = 1.0;

/// Settings that contradict each other or that nothing can be learned with, a line each
/// with its cure.
pub fn doubtful_settings(top: &Section<'_>, plan: &TrainingPlan) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(learning_rate(top, plan));
    found.extend(direction(top, plan));
    found.extend(phases(top));
    found
}

fn learning_rate(top: &Section<'_>, plan: &TrainingPlan) -> Option<String> {
    let optimizer = &plan.learner.optimizer;
    let (rate, name) = (optimizer.rates.learning_rate, optimizer.name);
    let adaptive = name.contains("Adam") || name == "RMSprop";
    let high = match adaptive {
        true => rate > HIGH_ADAPTIVE_RATE,
        false => rate > HIGH_RATE && name != "Adadelta",
    };
    let (usual, cure) = if adaptive { ("0.0002", "0.001") } else { ("0.01", "0.1") };
    let message = if rate < LOWEST_LEARNING_RATE {
        format!(
            "the learning rate is {rate}, and training ends where it is below \
             {LOWEST_LEARNING_RATE}: nothing can be learned; {usual} is usual for {name}"
        )
    } else if high {
        format!(
            "the learning rate is {rate}, with which {name} makes steps larger than the weights \
             and the loss grows; {usual} is usual, and {cure} is high"
        )
    } else {
        return None;
    };
    let section = top.child("optimizer")?;
    Some(section.error_at("learning_rate", message).to_string())
}

fn direction(top: &Section<'_>, plan: &TrainingPlan) -> Vec<String> {
    let metric = plan.criteria.metric.name();
    let higher = higher_is_better(metric);
    let better = if higher { "higher" } else { "lower" };
    let mut found = Vec::new();
    if plan.trainer.higher_is_better != higher {
        let message = format!(
            "is {}, and of {metric} {better} scores are better: the worst network would be kept as \
             the best; set it to {higher}",
            plan.trainer.higher_is_better
        );
        found.push(plan.trainer.error("eval_score_higher_is_better", message).to_string());
    }
    if let Some(section) = top.child("lr_scheduler")
        && section.get("name").and_then(|name| name.text().ok()) == Some("ReduceLROnPlateau")
    {
        let mode = section.get("mode").and_then(|mode| mode.text().ok()).unwrap_or("min");
        let right = if higher { "max" } else { "min" };
        if mode != right {
            let message = format!(
                "the scheduler waits for {} scores (`mode: {mode}`), and of {metric} {better} ones \
                 are better: the learning rate would fall while the network improves; set `mode: \
                 {right}`",
                if mode == "max" { "higher" } else { "lower" }
            );
            found.push(section.error_at("mode", message).to_string());
        }
    }
    found
}

/// What training and validation do to raw data in different ways.
fn phases(top: &Section<'_>) -> Option<String> {
    let steps =
        |phase: &str| top.node.at(&format!("loaders.{phase}.transformer.raw")).map(normalization);
    let (train, val) = (steps("train")?, steps("val")?);
    let difference = normalization_differs(("training", &train), ("validating", &val))?;
    let list = top.node.at("loaders.val.transformer.raw")?;
    let message = format!(
        "{difference}: a network understands what it was trained with; write the same in both phases"
    );
    Some(list.error(message).to_string())
}
