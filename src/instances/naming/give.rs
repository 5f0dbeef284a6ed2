//! Gives every region the name that fits best, as AutoCellLabeler's
//! `output_label_file`.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};

use super::matrix::NameMatrix;
use super::table;

/// How names are given. The defaults are AutoCellLabeler's, but for
/// `max_prob_decrease`, which its callers set to 0.
#[derive(Clone, Debug, PartialEq)]
pub struct NamingPlan {
    /// Regions of one name that are closer than this are parts of one cell.
    pub max_distance: f64,
    /// Size of a voxel along x, y, z in the unit of `max_distance`.
    pub spacing: [f64; 3],
    /// A region whose name was given before, and whose next name is less probable by
    /// more than this, takes its likeliest name as an alternative.
    pub max_prob_decrease: f64,
    /// Below this probability a region is UNKNOWN.
    pub min_prob: f64,
    /// A partner from this probability on makes left or right undecided.
    pub left_right_threshold: f64,
    /// Voxels of other classes from which on a region is contaminated.
    pub contamination_voxels: f64,
    /// The same as a share of the region's voxels.
    pub contamination_fraction: f64,
    /// The confidence that doubtful names have at most.
    pub demoted_confidence: i64,
    /// Names that many cells may have.
    pub repeatable: Vec<String>,
    /// Names of which the confidence is demoted.
    pub excluded: Vec<String>,
    /// Regions that get no row.
    pub excluded_regions: Vec<u32>,
    /// For regions 1, 2, …: 0 if the region has no counterpart in the moving animal.
    pub matches: Vec<i64>,
    pub pairs: Pairs,
    /// Contamination by the own partner counts for undecided alternatives.
    pub original: bool,
}

/// Which names differ in the side alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Pairs {
    /// Those that differ in the last letter alone, L or R.
    Letters,
    /// Those of a table.
    Table(Vec<[String; 2]>),
}

/// The names that the published AutoCellLabeler learned from few cells.
pub const EXCLUDED: [&str; 23] = [
    "glia", "granule", "RIFL", "RIFR", "AFDL", "AFDR", "RMFL", "RMFR", "SIADL", "SIADR", "VA01",
    "VD01", "AVG", "DD01", "SABVL", "SABVR", "SIBDL", "SIBDR", "ADFL", "RIGL", "RIGR", "AVFL",
    "DB02",
];

/// The names that many cells have.
pub const REPEATABLE: [&str; 3] = ["granule", "glia", UNKNOWN];

/// The name of class 0, and of regions without a likely name.
pub const UNKNOWN: &str = "UNKNOWN";

impl Default for NamingPlan {
    fn default() -> Self {
        NamingPlan {
            max_distance: 8.0,
            spacing: [1.0; 3],
            max_prob_decrease: 0.0,
            min_prob: 0.01,
            left_right_threshold: 0.1,
            contamination_voxels: 10.0,
            contamination_fraction: 0.2,
            demoted_confidence: 2,
            repeatable: REPEATABLE.map(str::to_owned).to_vec(),
            excluded: EXCLUDED.map(str::to_owned).to_vec(),
            excluded_regions: Vec::new(),
            matches: Vec::new(),
            pairs: Pairs::Letters,
            original: false,
        }
    }
}

/// A region with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedRegion {
    pub name: String,
    /// x, y, z from 1.
    pub coordinates: [i64; 3],
    pub region: u32,
    /// From 0 to 5, or what doubtful names are demoted to.
    pub confidence: i64,
    pub probability: f64,
    /// The name was taken although another region had it.
    pub alternative: bool,
    pub contaminated: bool,
    /// The likely classes with their probabilities.
    pub alternatives: String,
    pub notes: String,
}

/// What is known of the regions beside their probabilities.
pub struct Regions<'a> {
    /// Coordinates x, y, z from 1, by id.
    pub coordinates: &'a BTreeMap<u32, [i64; 3]>,
    /// Voxels of the ids from 1 on, `None` if unknown.
    pub sizes: Option<&'a [u64]>,
}

/// One region on its way to a name.
struct Candidate {
    id: u32,
    coordinates: [i64; 3],
    row: usize,
    /// Classes in descending probability.
    order: Vec<usize>,
    /// Which of them is tried.
    pointer: usize,
}

/// Gives names to all regions of a matrix; `names` are those of its classes. Rows come
/// in the order in which the names were given.
///
/// # Errors
/// Regions without coordinates, and names that are not as many as the classes.
pub fn give_names(
    plan: &NamingPlan,
    names: &[String],
    matrix: &NameMatrix,
    regions: &Regions<'_>,
) -> Result<Vec<NamedRegion>> {
    if let Some(row) = matrix.probabilities.first() {
        ensure!(
            row.len() == names.len(),
            "the predictions have {} classes, but there are {} names with UNKNOWN",
            row.len(),
            names.len()
        );
    }
    let lost: Vec<String> = matrix
        .ids
        .iter()
        .filter(|id| !regions.coordinates.contains_key(id))
        .map(u32::to_string)
        .collect();
    ensure!(
        lost.is_empty(),
        "the regions {} are not in the image that gives the coordinates",
        lost.join(", ")
    );
    Ok(Giver { plan, names, matrix, regions, named: Vec::new() }.run())
}

struct Giver<'a> {
    plan: &'a NamingPlan,
    names: &'a [String],
    matrix: &'a NameMatrix,
    regions: &'a Regions<'a>,
    named: Vec<NamedRegion>,
}

impl Giver<'_> {
    fn run(mut self) -> Vec<NamedRegion> {
        let mut queue: Vec<Candidate> = Vec::new();
        for (row, id) in self.matrix.ids.iter().enumerate() {
            if self.plan.excluded_regions.contains(id) {
                continue;
            }
            let values = &self.matrix.probabilities[row];
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
            let coordinates = self.regions.coordinates[id];
            queue.push(Candidate { id: *id, coordinates, row, order, pointer: 0 });
        }
        // The first to be taken is last; of equals the lower id.
        queue.sort_by(|a, b| {
            self.pointed(a).total_cmp(&self.pointed(b)).then_with(|| b.id.cmp(&a.id))
        });
        // By class the rows of the regions that have it.
        let mut given: HashMap<usize, Vec<usize>> = HashMap::new();
        while let Some(mut candidate) = queue.pop() {
            let class = candidate.order[candidate.pointer];
            let value = self.value(&candidate, class);
            let taken =
                given.get(&class).filter(|_| !self.plan.repeatable.contains(&self.names[class]));
            let mut notes = String::new();
            let mut alternative = false;
            let mut used_up = false;
            if let Some(taken) = taken {
                let place = candidate.coordinates;
                let near = taken
                    .iter()
                    .copied()
                    .find(|row| self.near(self.named[*row].coordinates, place));
                let next = candidate.order.get(candidate.pointer + 1).copied();
                if let Some(row) = near {
                    let other = &mut self.named[row];
                    other.notes += &format!("ROI likely merged with {}. ", candidate.id);
                    notes = format!("ROI likely merged with {}.", other.region);
                } else if next.is_some_and(|next| {
                    value - self.value(&candidate, next) > self.plan.max_prob_decrease
                }) {
                    alternative = true;
                } else {
                    used_up = true;
                    if value > self.plan.min_prob && next.is_some() {
                        candidate.pointer += 1;
                        let value = self.pointed(&candidate);
                        let behind = queue.partition_point(|other| self.pointed(other) < value);
                        queue.insert(behind, candidate);
                        continue;
                    }
                }
            }
            let lost = used_up && value > self.plan.min_prob;
            let class = if alternative { candidate.order[0] } else { class };
            if !alternative && !used_up {
                given.entry(class).or_default().push(self.named.len());
            }
            let row = self.describe(&candidate, class, alternative, lost, notes);
            self.named.push(row);
        }
        self.named
    }

    fn value(&self, candidate: &Candidate, class: usize) -> f64 {
        self.matrix.probabilities[candidate.row][class]
    }

    fn pointed(&self, candidate: &Candidate) -> f64 {
        self.value(candidate, candidate.order[candidate.pointer])
    }

    fn near(&self, a: [i64; 3], b: [i64; 3]) -> bool {
        let square: f64 =
            (0..3).map(|axis| ((a[axis] - b[axis]) as f64 * self.plan.spacing[axis]).powi(2)).sum();
        square.sqrt() < self.plan.max_distance
    }

    /// The row of a region that takes a class. One that is `lost` had no name left.
    fn describe(
        &self,
        candidate: &Candidate,
        class: usize,
        alternative: bool,
        lost: bool,
        mut notes: String,
    ) -> NamedRegion {
        let plan = self.plan;
        let mut probability = self.value(candidate, class);
        let mut name = self.names[class].clone();
        let partner = candidate
            .order
            .iter()
            .copied()
            .filter(|other| *other != class)
            .take_while(|other| self.value(candidate, *other) >= plan.left_right_threshold)
            .find_map(|other| {
                plan.pairs
                    .undecided(&self.names[class], &self.names[other])
                    .map(|name| (other, name))
            });
        if let Some((other, undecided)) = &partner {
            name = undecided.clone();
            probability += self.value(candidate, *other);
        }
        if alternative {
            name += "-alt";
        }

        let counts = &self.matrix.contamination[candidate.row];
        let mut contaminated = false;
        if !counts.is_empty() {
            let largest = counts.iter().map(|(_, voxels)| *voxels).max().unwrap_or(0);
            let largest = counts.iter().position(|(_, voxels)| *voxels == largest);
            // The original looks for the letter behind `-alt`.
            let sides = partner.filter(|_| !(plan.original && alternative));
            let foreign: u64 = counts
                .iter()
                .enumerate()
                .filter(|(index, _)| Some(*index) != largest)
                .map(|(_, count)| count)
                .filter(|(other, _)| {
                    !sides.as_ref().is_some_and(|(side, _)| other == side || *other == class)
                })
                .map(|(_, voxels)| *voxels)
                .sum();
            let voxels = self
                .regions
                .sizes
                .and_then(|sizes| sizes.get(candidate.id as usize - 1))
                .copied()
                .unwrap_or(1);
            contaminated = foreign as f64 >= plan.contamination_voxels
                || foreign as f64 >= plan.contamination_fraction * voxels as f64;
            if contaminated {
                let list: Vec<String> = counts
                    .iter()
                    .map(|(class, voxels)| format!("{}: {voxels}", self.names[*class]))
                    .collect();
                notes += &format!("ROI possibly contaminated - {}. ", list.join(", "));
            }
        }
        if plan.matches.get(candidate.id as usize - 1).copied().unwrap_or(0) == 0 {
            notes += "ROI not matched to freely-moving dataset. ";
        }
        if probability < plan.min_prob || lost || probability.is_nan() && !plan.original {
            name = UNKNOWN.to_owned();
        }
        let mut confidence = match probability {
            _ if name == UNKNOWN => 0,
            p if p < 0.1 => 0,
            p if p < 0.5 => 1,
            p if p < 0.75 => 2,
            p if p < 0.95 => 3,
            p if p < 0.99 => 4,
            _ => 5,
        };
        if alternative || contaminated || plan.excluded.contains(&self.names[class]) {
            confidence = confidence.min(plan.demoted_confidence);
        }
        let alternatives: Vec<String> = candidate
            .order
            .iter()
            .map(|other| (other, self.value(candidate, *other)))
            .take_while(|(_, value)| *value >= 0.01)
            .map(|(other, value)| format!("{}({value:.2})", self.names[*other]))
            .collect();
        NamedRegion {
            name,
            coordinates: candidate.coordinates,
            region: candidate.id,
            confidence,
            probability,
            alternative,
            contaminated,
            alternatives: alternatives.join(", "),
            notes,
        }
    }
}

impl Pairs {
    /// The name of a cell that is one of two partners; `None` if they are none.
    fn undecided(&self, one: &str, other: &str) -> Option<String> {
        let stem = |name: &str| {
            let side = name.chars().next_back()?;
            Some((name[..name.len() - side.len_utf8()].to_owned(), side))
        };
        let by_letter = || {
            let ((first, a), (second, b)) = (stem(one)?, stem(other)?);
            (first == second && a != b).then(|| (first + "?", a, b))
        };
        match self {
            Pairs::Letters => by_letter()
                .filter(|(_, a, b)| matches!((a, b), ('L', 'R') | ('R', 'L')))
                .map(|x| x.0),
            Pairs::Table(pairs) => pairs
                .iter()
                .any(|[a, b]| (a == one && b == other) || (a == other && b == one))
                .then(|| by_letter().map_or_else(|| format!("{one}|{other}"), |x| x.0)),
        }
    }
}

/// The rows as the table that the lab's other programs read.
pub fn label_table(rows: &[NamedRegion]) -> String {
    let mut text =
        String::from("Neuron Class,Coordinates,ROI ID,Confidence,Alternatives,Notes\r\n");
    for row in rows {
        let [x, y, z] = row.coordinates;
        let fields = [
            row.name.clone(),
            format!("{x},{y},{z}"),
            row.region.to_string(),
            row.confidence.to_string(),
            row.alternatives.clone(),
            row.notes.clone(),
        ];
        text += &fields.map(|field| table::field(&field)).join(",");
        text += "\r\n";
    }
    text
}

/// The mean voxel of each region, rounded with halves to even and counted from 1:
/// x, y, z by id.
pub fn coordinates(runs: &crate::regions::Runs) -> BTreeMap<u32, [i64; 3]> {
    let most = runs.all().iter().map(|run| run.label).max().unwrap_or(0);
    runs.regions(most)
        .iter()
        .enumerate()
        .filter_map(|(index, region)| {
            let region = region.as_ref()?;
            let mean = |sum: u64| (sum as f64 / region.voxels as f64).round_ties_even() as i64 + 1;
            let [z, y, x] = region.sums.map(mean);
            Some((index as u32 + 1, [x, y, z]))
        })
        .collect()
}
