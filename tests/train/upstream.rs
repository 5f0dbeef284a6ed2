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

#[test]
fn scores_are_those_of_upstream() {
    let recorded = fixture("recorded/upstream/scores");
    let cases = cases(&recorded.join("expected.json"));
    assert_eq!(cases.len(), 29);
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = cases
        .iter()
        .map(|(name, _)| {
            let yaml = fs::read_to_string(recorded.join(format!("{name}.yaml"))).unwrap();
            (name.clone(), yaml)
        })
        .collect();
    let scalars = train(folder.path(), &recorded, &runs);
    for (name, expected) in &cases {
        compare(name, &scalars, expected);
    }
}

#[test]
fn training_runs_are_those_of_upstream() {
    let recorded = fixture("recorded/upstream/train");
    let cases = cases(&recorded.join("expected.json"));
    assert_eq!(cases.len(), 9);
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = cases
        .iter()
        .map(|(name, _)| {
            let yaml = fs::read_to_string(recorded.join(format!("{name}.yaml"))).unwrap();
            (name.clone(), yaml)
        })
        .collect();
    let scalars = train(folder.path(), &recorded, &runs);
    for (name, expected) in &cases {
        compare(name, &scalars, expected);
    }
}

#[test]
fn optimizers_are_those_of_upstream() {
    let recorded = fixture("recorded/upstream/train");
    let cases = cases(&recorded.join("optimizers.json"));
    assert!(cases.len() >= 8);
    let yaml = fs::read_to_string(recorded.join("optimizers.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = cases
        .iter()
        .map(|(name, expected)| {
            let optimizer = expected.get("optimizer").unwrap().to_json();
            (name.clone(), yaml.replace("'@OPTIMIZER@'", &optimizer))
        })
        .collect();
    let scalars = train(folder.path(), &recorded, &runs);
    for (name, expected) in &cases {
        compare(name, &scalars, expected);
    }
}
