//! Labels and weights of a batch, as losses and metrics see them, and the checks
//! that a criterion, the data and the network fit.
//!
//! A criterion gets [`Labels`] and [`Weights`] as they come, dense or compact. One
//! that cannot work on compact forms asks for [`Labels::dense`]. Before any data
//! moves, [`Requirement::check`] compares what a criterion takes with the
//! [`TargetShapes`] that network and data set give.

mod check;
mod dice;
mod labels;
mod weights;

pub use check::{LabelForm, LabelRange, Requirement, TargetShapes};
pub use dice::{DiceSums, LabelSums};
pub use labels::{Labels, NO_CLASS};
pub use weights::Weights;

use crate::volume::{Volume, Voxels};

/// Axes of (N, C, D, H, W) but the channel's: what a sum per channel runs over.
pub const ALL_BUT_CHANNEL: &[i64] = &[0, 2, 3, 4];

/// The volumes in the form that `form` takes out, if all (at least one) are held in
/// it and agree in what `key` tells.
fn held_alike<'a, T, K: PartialEq>(
    volumes: &'a [Voxels],
    form: impl Fn(&'a Voxels) -> Option<&'a T>,
    key: impl Fn(&T) -> K,
) -> Option<Vec<&'a T>> {
    let held: Vec<&T> = volumes.iter().map(form).collect::<Option<_>>()?;
    let alike = held.windows(2).all(|pair| key(pair[0]) == key(pair[1]));
    (alike && !held.is_empty()).then_some(held)
}

/// The volumes written out.
fn expanded(volumes: Vec<Voxels>) -> Vec<Volume> {
    volumes.into_iter().map(Voxels::expand).collect()
}
