//! Averages of losses and scores over batches.

/// A mean weighted by batch size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Average {
    pub sum: f64,
    pub count: u64,
}

impl Average {
    pub fn add(&mut self, value: f64, samples: usize) {
        self.sum += value * samples as f64;
        self.count += samples as u64;
    }

    /// `None` before anything was added.
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}
