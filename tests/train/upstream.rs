//! Scores, training runs, optimizers and resumed runs against those recorded from
//! wolny/pytorch-3dunet 1.9.6.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use unet3d::config::{Node, Tree, YamlValue};

use crate::support::fixture;
use crate::support::program::{script, with_config};

/// A map of cases in a recorded JSON file.
fn cases(file: &Path) -> Vec<(String, Node)> {
    let text = fs::read_to_string(file).unwrap();
    match Tree::parse(&text, "recorded.json", &[]).unwrap().root.value {
        YamlValue::Map(cases) => cases,
        _ => panic!("a map of cases"),
    }
}

/// Pairs of step and value under a tag.
fn series(node: &Node) -> Vec<(u64, f64)> {
    let number = |node: &Node| match node.value {
        YamlValue::Number(x) => x,
        YamlValue::Integer(i) => i as f64,
        _ => panic!("{node:?}"),
    };
    let pair = |node: &Node| {
        let pair = node.items().unwrap();
        (number(&pair[0]) as u64, number(&pair[1]))
    };
    node.items().unwrap().iter().map(pair).collect()
}

/// Scalars by run and tag, in the order of their steps.
type Scalars = HashMap<(String, String), Vec<(u64, f64)>>;

/// Runs the configuration `yaml` of each name and reads what it logged.
fn train(folder: &Path, recorded: &Path, runs: &[(String, String)]) -> Scalars {
    let mut logs = Vec::new();
    for (name, yaml) in runs {
        let place = folder.join(name);
        let text = yaml
            .replace("@DIR@", &recorded.display().to_string())
            .replace("@CK@", &place.display().to_string());
        let file = folder.join(format!("{name}.yaml"));
        fs::write(&file, text).unwrap();
        let run = with_config("train", &file, &["device=cpu"]).succeeded();
        assert!(run.out.contains("read as a file of upstream"), "{name}: {}", run.out);
        assert!(place.join("last_checkpoint.pytorch").is_file(), "{name}");
        logs.push(format!("{name}={}", place.join("logs").display()));
    }
    let mut scalars = Scalars::new();
    for line in script("read_events.py", &logs).lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let [name, tag, step, value] = words[..]
            && let (Ok(step), Ok(value)) = (step.parse(), value.parse())
        {
            scalars.entry((name.into(), tag.into())).or_default().push((step, value));
        }
    }
    scalars.values_mut().for_each(|series| series.sort_by_key(|(step, _)| *step));
    scalars
}

const TAGS: [&str; 5] = [
    "train_loss_avg",
    "train_eval_score_avg",
    "val_loss_avg",
    "val_eval_score_avg",
    "learning_rate",
];

/// Compares the series of a run in order, whatever their steps are called.
fn compare(name: &str, scalars: &Scalars, expected: &Node) {
    let mut compared = 0;
    for tag in TAGS {
        let Some(expected) = expected.get(tag) else { continue };
        let ours = scalars.get(&(name.to_string(), tag.to_string()));
        let ours = ours.unwrap_or_else(|| panic!("{name}: no {tag} was logged"));
        let expected = series(expected);
        assert_eq!(ours.len(), expected.len(), "{name} {tag}: {ours:?} {expected:?}");
        let tolerance = if tag == "learning_rate" { 1e-5 } else { 1e-3 };
        for ((step, ours), (_, wanted)) in ours.iter().zip(&expected) {
            let error = (ours - wanted).abs() / wanted.abs().max(1e-3);
            assert!(error <= tolerance, "{name} {tag} {step}: {ours} {wanted}");
        }
        compared += 1;
    }
    assert!(compared >= 2, "{name}");
}

/// Runs all recorded cases of a file in a folder, each with the configuration that
/// `configuration` makes, and compares what they log. Gives back their number.
fn agree(recorded: &Path, expected: &str, configuration: impl Fn(&str, &Node) -> String) -> usize {
    let cases = cases(&recorded.join(expected));
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = cases
        .iter()
        .map(|(name, expected)| (name.clone(), configuration(name, expected)))
        .collect();
    let scalars = train(folder.path(), recorded, &runs);
    for (name, expected) in &cases {
        compare(name, &scalars, expected);
    }
    cases.len()
}

/// The configuration `NAME.yaml` of a folder.
fn yaml(recorded: &Path, name: &str) -> String {
    fs::read_to_string(recorded.join(format!("{name}.yaml"))).unwrap()
}

#[test]
fn scores_are_those_of_upstream() {
    let recorded = fixture("recorded/upstream/scores");
    let count = agree(&recorded, "expected.json", |name, _| yaml(&recorded, name));
    assert_eq!(count, 29);
}

#[test]
fn training_runs_are_those_of_upstream() {
    let recorded = fixture("recorded/upstream/train");
    let count = agree(&recorded, "expected.json", |name, _| yaml(&recorded, name));
    assert_eq!(count, 9);
}

#[test]
fn optimizers_are_those_of_upstream() {
    let recorded = fixture("recorded/upstream/train");
    let template = yaml(&recorded, "optimizers");
    let count = agree(&recorded, "optimizers.json", |_, expected| {
        template.replace("'@OPTIMIZER@'", &expected.get("optimizer").unwrap().to_json())
    });
    assert!(count >= 8);
}
