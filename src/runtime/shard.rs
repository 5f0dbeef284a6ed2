//! A share of the input files, for runs on several machines.

use std::env;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};

/// Every `count`-th file, beginning with number `index` (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.index, self.count)
    }
}

impl Shard {
    /// `I/N` with I from 1 to N, or `slurm`: the task of a Slurm job array.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "slurm" {
            let number = |name: &str| -> Result<usize> {
                let value = env::var(name).with_context(|| {
                    format!(
                        "`--shard slurm` is for tasks of a Slurm job array, and {name} is not set"
                    )
                })?;
                value.parse().with_context(|| format!("{name} is '{value}', no number"))
            };
            let count = number("SLURM_ARRAY_TASK_COUNT")?;
            // Array indices may start with any number.
            let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
            let id = number("SLURM_ARRAY_TASK_ID")?;
            // An array may have a step, as in 0-14:2.
            let step = number("SLURM_ARRAY_TASK_STEP").unwrap_or(1).max(1);
            let distance =
                id.checked_sub(first).context("SLURM_ARRAY_TASK_ID is below the first")?;
            let index = distance / step + 1;
            return Self::new(index, count);
        }
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, count)) => Self::new(index, count),
            None => bail!("'{text}' is no share; write I/N, as in 1/4, or slurm"),
        }
    }

    fn new(index: usize, count: usize) -> Result<Self> {
        ensure!(
            (1..=count).contains(&index),
            "there is no share {index}/{count}; shares count from 1 to {count}"
        );
        Ok(Shard { index, count })
    }

    /// The files of this share.
    pub fn select<T>(&self, files: Vec<T>) -> Vec<T> {
        let numbered = files.into_iter().enumerate();
        numbered.filter(|(index, _)| self.takes(*index)).map(|(_, file)| file).collect()
    }

    /// Whether the file with index `file` (from 0) belongs to this share.
    pub fn takes(&self, file: usize) -> bool {
        file % self.count == self.index - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_files_and_none_twice() {
        for count in 1..6 {
            for file in 0..20 {
                let takers = (1..=count)
                    .filter(|index| Shard::parse(&format!("{index}/{count}")).unwrap().takes(file));
                assert_eq!(takers.count(), 1);
            }
        }
        for wrong in ["0/3", "4/3", "1", "a/b", "1/0", ""] {
            assert!(Shard::parse(wrong).is_err(), "{wrong}");
        }
    }
}
