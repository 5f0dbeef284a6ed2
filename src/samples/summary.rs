//! What the raw data of a phase are like, as checkpoints keep it.

use crate::volume::Statistics;

/// The raw data of all files of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawSummary {
    pub files: usize,
    /// Of all voxels of all files.
    pub statistics: Statistics,
    /// Size of a voxel along z, y and x in micrometres, if all files tell the same.
    pub voxel_size: Option<[f64; 3]>,
}

impl RawSummary {
    /// Joins the voxels, statistics and voxel sizes of files; `None` without files.
    ///
    /// The variance is that of all voxels together: the mean of the variances plus the
    /// variance of the means, both weighted by numbers of voxels.
    pub fn of(files: &[(u64, Statistics, Option<[f64; 3]>)]) -> Option<RawSummary> {
        let all: f64 = files.iter().map(|(voxels, ..)| *voxels as f64).sum();
        let weighted = |value: &dyn Fn(&Statistics) -> f64| {
            files.iter().map(|(voxels, of, _)| *voxels as f64 * value(of)).sum::<f64>() / all
        };
        let mean = weighted(&|of| of.mean);
        let variance = weighted(&|of| of.std * of.std + (of.mean - mean) * (of.mean - mean));
        let (_, first, size) = files.first()?;
        let statistics = Statistics {
            min: files.iter().fold(first.min, |min, (_, of, _)| min.min(of.min)),
            max: files.iter().fold(first.max, |max, (_, of, _)| max.max(of.max)),
            mean,
            std: variance.sqrt(),
        };
        let same = files.iter().all(|(.., other)| other == size);
        Some(RawSummary { files: files.len(), statistics, voxel_size: size.filter(|_| same) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_joined_as_if_their_voxels_were_one_volume() {
        // 0 and 2, and six times 4.
        let of = |min, max, mean, std| Statistics { min, max, mean, std };
        let size = Some([2.0, 1.0, 1.0]);
        let files = [(2, of(0.0, 2.0, 1.0, 1.0), size), (6, of(4.0, 4.0, 4.0, 0.0), size)];
        let summary = RawSummary::of(&files).unwrap();
        let values = [0.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0f64];
        let mean = values.iter().sum::<f64>() / 8.0;
        let std = (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 8.0).sqrt();
        assert_eq!((summary.files, summary.voxel_size), (2, size));
        assert!((summary.statistics.mean - mean).abs() < 1e-12);
        assert!((summary.statistics.std - std).abs() < 1e-12);
        assert_eq!((summary.statistics.min, summary.statistics.max), (0.0, 4.0));
        let other = [files[0], (6, files[1].1, None)];
        assert_eq!(RawSummary::of(&other).unwrap().voxel_size, None);
        assert_eq!(RawSummary::of(&[]), None);
    }
}
