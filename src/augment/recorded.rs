//! Random numbers recorded from another program and replayed in tests.

use std::collections::VecDeque;
use std::ops::Range;

use hdf5::types::FixedAscii;

use super::stream::RandomSource;

/// Kinds and values in order. A value of kind `normal` includes its mean and deviation, `randn`
/// is standard normal, `rand` is in [0, 1), and `randint` is an integer of the requested range,
/// or an index.
pub struct Recorded(VecDeque<(String, f64)>);

impl Recorded {
    /// Reads a group with `draw_kinds`, `draws` and, where one kind represents several values,
    /// `draw_sizes`.
    pub fn read(group: &hdf5::Group) -> Self {
        let kinds: Vec<FixedAscii<7>> = group.dataset("draw_kinds").unwrap().read_raw().unwrap();
        let sizes: Vec<i64> = group.dataset("draw_sizes").unwrap().read_raw().unwrap();
        let draws: Vec<f64> = group.dataset("draws").unwrap().read_raw().unwrap();
        let names = kinds
            .iter()
            .zip(sizes)
            .flat_map(|(kind, size)| std::iter::repeat_n(kind.to_string(), size as usize));
        Recorded(names.zip(draws).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn next(&mut self, kind: &str) -> f64 {
        let (found, value) = self.0.pop_front().expect("a draw is left");
        assert_eq!(found, kind);
        value
    }
}

impl RandomSource for Recorded {
    fn uniform(&mut self) -> f64 {
        self.next("uniform")
    }

    fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next("rand")
    }

    fn index(&mut self, count: usize) -> usize {
        let value = self.next("randint") as usize;
        assert!(value < count);
        value
    }

    fn integer(&mut self, range: Range<i64>) -> i64 {
        let value = self.next("randint") as i64;
        assert!(range.contains(&value));
        value
    }

    fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        match self.0.front() {
            Some((kind, _)) if kind == "randn" => mean + deviation * self.next("randn"),
            _ => self.next("normal"),
        }
    }
}
