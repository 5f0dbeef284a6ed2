//! The scores of all files: tables, means with their intervals, and the comparison of
//! two sets of predictions.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::files::{SEAL, is_sealed, sealed};
use crate::instances::naming::table_field;

use super::names::{Agreement, NameScores};
use super::pairs::EvaluationPair;
use super::plan::{Better, EvaluationKind};
use super::score::FileScores;
use super::statistics::{Mean, mean, wilcoxon};

/// By what files of ours are known.
pub const MADE_BY: &str = "unet3d evaluate";

/// Keys of `summary.json`: the checksum of the text, and the SHA-256 of tables of scores that
/// stood beside it, the present one first.
pub const CHECKSUM: &str = "checksum";
pub const TABLES: &str = "scores_sha256";

/// The SHA-256 of the tables that a text of [`Summary::text`] names; `None` if the text is
/// another one, or was changed.
pub fn noted_tables(text: &str) -> Option<Vec<String>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let ours = value["made_by"] == MADE_BY && is_sealed(text, &format!("\"{CHECKSUM}\": \""));
    let tables = value[TABLES].as_array().filter(|_| ours)?;
    Some(tables.iter().filter_map(|sum| sum.as_str().map(str::to_owned)).collect())
}

/// A file with its scores, and those of the other prediction of it.
#[derive(Clone, Debug)]
pub struct Scored {
    pub pair: EvaluationPair,
    pub scores: FileScores,
    pub against: Option<FileScores>,
}

/// The scores of all files.
pub struct Summary {
    pub kind: EvaluationKind,
    pub files: Vec<Scored>,
    /// Files that could not be scored, with the reason.
    pub failed: Vec<(String, String)>,
    /// Draws of the bootstrap and where its random numbers begin.
    pub bootstrap: usize,
    pub seed: u64,
}

/// A number as JSON; `null` for what is none.
fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, Value::from)
}

impl Summary {
    /// The classes of all files, in the order in which they come.
    pub fn classes(&self) -> Vec<&str> {
        let mut classes: Vec<&str> = Vec::new();
        for row in self.files.iter().flat_map(|file| &file.scores.classes) {
            if !classes.contains(&row.class.as_str()) {
                classes.push(&row.class);
            }
        }
        classes
    }

    /// The values of a score of a class, file by file.
    fn values(&self, class: &str, score: usize) -> Vec<f64> {
        let rows = self.files.iter().flat_map(|file| &file.scores.classes);
        rows.filter(|row| row.class == class).filter_map(|row| row.scores[score]).collect()
    }

    /// The mean of a score of a class over the files that have it.
    pub fn mean(&self, class: &str, score: usize) -> Option<Mean> {
        mean(&self.values(class, score), self.bootstrap, self.seed)
    }

    /// By how much the predictions score more than those they are compared with, file by
    /// file.
    fn differences(&self, class: &str, score: usize) -> Vec<f64> {
        let of = |scores: &FileScores| {
            scores.classes.iter().find(|row| row.class == class).and_then(|row| row.scores[score])
        };
        let files = self.files.iter();
        files.filter_map(|file| Some(of(&file.scores)? - of(file.against.as_ref()?)?)).collect()
    }

    /// Files in ascending order of how good they are, by the first score of the last
    /// class, which is the mean if there are several.
    pub fn worst_first(&self) -> Vec<usize> {
        let better = self.kind.scores()[0].better;
        let goodness = |file: &Scored| {
            let value = file.scores.classes.last().and_then(|row| row.scores[0]);
            let sign = if better == Some(Better::Lower) { -1.0 } else { 1.0 };
            value.map_or(f64::INFINITY, |value| sign * value)
        };
        let mut order: Vec<usize> = (0..self.files.len()).collect();
        order.sort_by(|&a, &b| goodness(&self.files[a]).total_cmp(&goodness(&self.files[b])));
        order
    }

    /// A row for each file and class.
    pub fn csv(&self) -> String {
        let mut text = String::from("file,class");
        let scores = self.kind.scores();
        let against = self.files.iter().any(|file| file.against.is_some());
        for score in scores {
            let _ = write!(text, ",{}", score.name);
        }
        if against {
            for score in scores {
                let _ = write!(text, ",against_{}", score.name);
            }
        }
        text.push('\n');
        let cells = |text: &mut String, values: &[Option<f64>]| {
            for value in values {
                text.push(',');
                if let Some(value) = value {
                    let _ = write!(text, "{value}");
                }
            }
        };
        for file in &self.files {
            for row in &file.scores.classes {
                let name = table_field(&file.pair.name);
                let _ = write!(text, "{name},{}", table_field(&row.class));
                cells(&mut text, &row.scores);
                if let Some(other) = &file.against {
                    match other.classes.iter().find(|other| other.class == row.class) {
                        Some(other) => cells(&mut text, &other.scores),
                        None => cells(&mut text, &vec![None; scores.len()]),
                    }
                }
                text.push('\n');
            }
        }
        text
    }

    /// The whole as the text of `summary.json`, with its own checksum and that of each table
    /// that may stand beside it.
    pub fn text(&self, tables: &[String]) -> String {
        let mut whole = self.json();
        whole[CHECKSUM] = SEAL.into();
        whole[TABLES] = json!(tables);
        sealed(&format!("{whole:#}\n"))
    }

    /// The whole as JSON.
    pub fn json(&self) -> Value {
        let scores = self.kind.scores();
        let by_score = |value: &dyn Fn(usize) -> Value| -> Value {
            let entries = scores.iter().enumerate();
            Value::Object(entries.map(|(i, score)| (score.name.to_owned(), value(i))).collect())
        };
        let by_class = |scores: &FileScores| -> Value {
            let rows = scores.classes.iter();
            Value::Object(
                rows.map(|row| (row.class.clone(), by_score(&|i| number(row.scores[i])))).collect(),
            )
        };
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|file| {
                let mut entry = json!({
                    "file": file.pair.name,
                    "prediction": file.pair.found.display().to_string(),
                    "truth": file.pair.truth.display().to_string(),
                    "classes": by_class(&file.scores),
                });
                if let (Some(other), Some(path)) = (&file.against, &file.pair.against) {
                    entry["against"] = json!({
                        "prediction": path.display().to_string(),
                        "classes": by_class(other),
                    });
                }
                if let Some(names) = &file.scores.names {
                    entry["names"] = name_tables(names);
                }
                entry
            })
            .collect();
        let over_classes = |value: &dyn Fn(&str, usize) -> Value| -> Value {
            let classes = self.classes();
            Value::Object(
                classes
                    .iter()
                    .map(|class| ((*class).to_owned(), by_score(&|i| value(class, i))))
                    .collect(),
            )
        };
        let mean_of = |values: Option<Mean>| -> Value {
            let Some(Mean { mean, interval, count }) = values else {
                return json!({"mean": null, "low": null, "high": null, "files": 0});
            };
            json!({
                "mean": mean,
                "low": number(interval.map(|interval| interval[0])),
                "high": number(interval.map(|interval| interval[1])),
                "files": count,
            })
        };
        let mut whole = json!({
            "made_by": MADE_BY,
            "unet3d_version": env!("CARGO_PKG_VERSION"),
            "kind": self.kind.name(),
            "bootstrap": {"samples": self.bootstrap, "seed": self.seed, "interval": 0.95},
            "meaning": by_score(&|i| Value::from(scores[i].meaning)),
            "mean": over_classes(&|class, i| mean_of(self.mean(class, i))),
            "files": files,
            "failed": self.failed.iter().map(|(file, error)| json!({"file": file, "error": error}))
                .collect::<Vec<_>>(),
        });
        if self.files.iter().any(|file| file.against.is_some()) {
            whole["against"] = over_classes(&|class, i| {
                let differences = self.differences(class, i);
                let mut entry = mean_of(mean(&differences, self.bootstrap, self.seed));
                entry["p"] = number(wilcoxon(&differences));
                entry
            });
        }
        let mut all = NameScores::default();
        self.files
            .iter()
            .filter_map(|file| file.scores.names.as_ref())
            .for_each(|one| all.merge(one));
        if all.all.compared > 0 {
            whole["names"] = name_tables(&all);
        }
        whole
    }
}

/// Agreement of names by confidence and by class, and what was confused, most often
/// first.
fn name_tables(names: &NameScores) -> Value {
    let agreement = |one: &Agreement| {
        json!({
            "compared": one.compared,
            "agree": one.agree,
            "agree_but_for_side": one.agree_but_for_side,
            "share": number(one.share()),
        })
    };
    let table = |rows: &mut dyn Iterator<Item = (String, &Agreement)>| -> Value {
        Value::Object(rows.map(|(key, one)| (key, agreement(one))).collect::<Map<_, _>>())
    };
    let mut confusion: Vec<(&(String, String), &u64)> = names.confusion.iter().collect();
    confusion.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    json!({
        "all": agreement(&names.all),
        "by_confidence":
            table(&mut names.by_confidence.iter().map(|(key, one)| (key.to_string(), one))),
        "by_name": table(&mut names.by_name.iter().map(|(key, one)| (key.clone(), one))),
        "confusion": confusion.iter()
            .map(|((human, found), count)| json!({"human": human, "predicted": found, "regions": count}))
            .collect::<Vec<_>>(),
        "unknown": names.unknown,
        "absent": names.absent,
    })
}
