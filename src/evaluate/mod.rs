//! Scores of predictions against truth: of classes, of objects and of names; means with
//! their uncertainty, the comparison of two sets of predictions, and a report.

mod images;
mod names;
mod nearest;
mod objects;
mod overlaps;
mod pairs;
mod plan;
mod report;
mod score;
mod semantic;
mod statistics;
mod summary;
mod surface;
mod views;

pub use names::{Agreement, NameScores, name_scores};
pub use objects::{Matches, ObjectScores, object_scores};
pub use overlaps::{LabelCounts, LabelPairs, PairCounter};
pub use pairs::{EvaluationPair, guess_kind, pair_files};
pub use plan::{Better, EvaluationKind, EvaluationPlan, Score};
pub use report::{is_report, report};
pub use score::{ClassRow, FileScores, score};
pub use semantic::{ClassScorer, ClassScores, IGNORED};
pub use statistics::{Mean, mean, wilcoxon};
pub use summary::{Scored, Summary, noted_tables};
pub use surface::SurfaceDistances;
pub use views::{SliceView, view};
