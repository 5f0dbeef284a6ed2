//! A step of several batches, on one rank or several: how the sums of each become those of
//! all.
//!
//! If ranks have several batches, the network runs twice on every batch. The first pass, without a graph, adds up what the
//! loss sums over voxels; the second computes every batch's share of the loss from these
//! totals, and its gradient. Only one graph is in memory at a time.

use anyhow::{Context, Result};
use tch::{Kind, Tensor};

use crate::distributed::Group;
use crate::loss::{Totals, with_gradient_of};

/// One batch on each rank: sums over the ranks at once.
pub struct OverRanks<'a>(pub &'a Group);

impl Totals for OverRanks<'_> {
    fn join(&mut self, local: Tensor) -> Result<Tensor> {
        let total = self.0.sum(&local.f_detach()?.f_to_kind(Kind::Double)?)?;
        with_gradient_of(&total.f_to_kind(local.f_kind()?)?, &local)
    }

    fn is_first(&self) -> bool {
        self.0.is_first()
    }
}

/// The first pass: adds up the sums of one batch after the other.
#[derive(Default)]
pub struct Collector {
    /// In float64, in the order in which a batch joins them.
    sums: Vec<Tensor>,
    /// How many the batch at work has joined.
    next: usize,
}

impl Collector {
    /// The next batch begins.
    pub fn begin(&mut self) {
        self.next = 0;
    }

    /// The totals of all batches.
    pub fn totals(self) -> Vec<Tensor> {
        self.sums
    }
}

impl Totals for Collector {
    fn join(&mut self, local: Tensor) -> Result<Tensor> {
        let sums = local.f_detach()?.f_to_kind(Kind::Double)?;
        match self.sums.get_mut(self.next) {
            Some(total) => *total = total.f_add(&sums)?,
            None => self.sums.push(sums),
        }
        self.next += 1;
        Ok(local)
    }

    fn is_first(&self) -> bool {
        true
    }
}

/// The second pass: gives out the totals.
pub struct Known<'a> {
    totals: &'a [Tensor],
    next: usize,
    first: bool,
}

impl<'a> Known<'a> {
    /// For one batch of the step, which is the first of them or not.
    pub fn new(totals: &'a [Tensor], first: bool) -> Self {
        Known { totals, next: 0, first }
    }
}

impl Totals for Known<'_> {
    fn join(&mut self, local: Tensor) -> Result<Tensor> {
        let total = self.totals.get(self.next).context("a loss joins more than it collected")?;
        self.next += 1;
        let total = total.f_to_kind(local.f_kind()?)?.f_reshape(&local.size()[..])?;
        with_gradient_of(&total, &local)
    }

    fn is_first(&self) -> bool {
        self.first
    }
}
