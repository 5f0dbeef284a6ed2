//! Scores of names: how often they agree with those that people gave.

use std::collections::BTreeMap;

use crate::instances::naming::{HumanLabel, UNKNOWN};

/// Names that agree, and how many were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    pub compared: u64,
    pub agree: u64,
    /// Agree but for the side: `AVA?` for AVAL, or the other side.
    pub agree_but_for_side: u64,
}

impl Agreement {
    /// The share of names that agree, `None` if none was compared.
    pub fn share(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.agree as f64 / self.compared as f64)
    }

    /// The share of names that agree at least but for the side.
    pub fn share_but_for_side(&self) -> Option<f64> {
        let agree = self.agree + self.agree_but_for_side;
        (self.compared > 0).then(|| agree as f64 / self.compared as f64)
    }

    fn add(&mut self, found: &str, truth: &str) {
        self.compared += 1;
        if found == truth {
            self.agree += 1;
        } else if but_for_side(found, truth) {
            self.agree_but_for_side += 1;
        }
    }

    /// Adds what another table compared.
    pub fn merge(&mut self, other: &Agreement) {
        self.compared += other.compared;
        self.agree += other.agree;
        self.agree_but_for_side += other.agree_but_for_side;
    }
}

/// Agreement of the names of one animal with those that people gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NameScores {
    pub all: Agreement,
    /// By the confidence of the prediction.
    pub by_confidence: BTreeMap<i64, Agreement>,
    /// By the name that people gave.
    pub by_name: BTreeMap<String, Agreement>,
    /// How often the first name (people's) was given as the second (predicted), where the
    /// two differ.
    pub confusion: BTreeMap<(String, String), u64>,
    /// Regions with a human name that the prediction leaves UNKNOWN; they count as
    /// compared.
    pub unknown: u64,
    /// Regions with one human name that the prediction does not have.
    pub absent: u64,
}

/// Compares the rows of a table with human labels, region by region. Human labels with
/// several names, or with the name UNKNOWN, are left out. An ending `-alt`, which says
/// that another region has the name as well, is no part of the name.
pub fn name_scores(found: &[HumanLabel], truth: &[HumanLabel]) -> NameScores {
    let found: BTreeMap<u32, &HumanLabel> = found.iter().map(|row| (row.region, row)).collect();
    let mut scores = NameScores::default();
    for human in truth {
        let [name] = &human.names[..] else { continue };
        let name = plain(name);
        if name == UNKNOWN {
            continue;
        }
        let Some(row) = found.get(&human.region) else {
            scores.absent += 1;
            continue;
        };
        let given = row.names.first().map_or(UNKNOWN, |name| plain(name));
        scores.unknown += u64::from(given == UNKNOWN);
        scores.all.add(given, name);
        scores.by_confidence.entry(row.confidence as i64).or_default().add(given, name);
        scores.by_name.entry(name.to_owned()).or_default().add(given, name);
        if given != name {
            *scores.confusion.entry((name.to_owned(), given.to_owned())).or_default() += 1;
        }
    }
    scores
}

impl NameScores {
    /// Adds the scores of another animal.
    pub fn merge(&mut self, other: &NameScores) {
        self.all.merge(&other.all);
        for (key, agreement) in &other.by_confidence {
            self.by_confidence.entry(*key).or_default().merge(agreement);
        }
        for (key, agreement) in &other.by_name {
            self.by_name.entry(key.clone()).or_default().merge(agreement);
        }
        for (key, count) in &other.confusion {
            *self.confusion.entry(key.clone()).or_default() += count;
        }
        self.unknown += other.unknown;
        self.absent += other.absent;
    }
}

fn plain(name: &str) -> &str {
    let name = name.trim();
    name.strip_suffix("-alt").unwrap_or(name)
}

/// Whether two names differ in the last letter alone, each L, R or `?`.
fn but_for_side(one: &str, other: &str) -> bool {
    let parts = |name: &str| {
        let side = name.chars().next_back().filter(|side| ['L', 'R', '?'].contains(side))?;
        Some(name[..name.len() - side.len_utf8()].to_owned())
    };
    parts(one).is_some_and(|stem| !stem.is_empty() && parts(other) == Some(stem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::naming::human_labels;

    #[test]
    fn names_are_compared_region_by_region() {
        let found = "Neuron Class,Coordinates,ROI ID,Confidence\nAVAL,\"1,1,1\",1,4\nAVA?-alt,x,2,2\nRID,x,3,5\nUNKNOWN,x,4,0\nRIH,x,9,3\n";
        let truth = "name,place,region,confidence\nAVAL,x,1,5\nAVAR,x,2,5\nRIS,x,3,5\nALA,x,4,2\nM4,x,5,3\nRIH,x,9,1\nAVA,x,6,4\nAVB,x,6,4\n";
        let found = human_labels(found, f64::NEG_INFINITY).unwrap();
        let truth = human_labels(truth, 2.0).unwrap();
        let scores = name_scores(&found, &truth);
        let all = Agreement { compared: 4, agree: 1, agree_but_for_side: 1 };
        assert_eq!((scores.all, scores.unknown, scores.absent), (all, 1, 1));
        assert_eq!(scores.by_confidence[&2].share_but_for_side(), Some(1.0));
        assert_eq!(scores.by_name["AVAL"].share(), Some(1.0));
        assert_eq!(scores.confusion[&("RIS".into(), "RID".into())], 1);
        let mut twice = scores.clone();
        twice.merge(&scores);
        assert_eq!((twice.all.compared, twice.absent), (8, 2));
    }

    #[test]
    fn sides_are_the_last_letter() {
        assert!(but_for_side("AVA?", "AVAL") && but_for_side("AVAR", "AVAL"));
        assert!(!but_for_side("AVBL", "AVAL") && !but_for_side("RID", "RIS"));
        assert!(!but_for_side("L", "R"));
    }
}
