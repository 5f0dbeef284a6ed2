//! From embeddings to regions: the vectors of a patch's voxels are clustered, and the
//! regions of patches that overlap are brought together.

mod hdbscan;
mod mean_shift;
mod stitched;

use anyhow::{Result, ensure};
use ndarray::{Array3, ArrayView2};
use tch::{Device, Kind, Tensor};

use crate::ffi::tensor::as_slice;

pub use stitched::Stitched;

/// How the embeddings of a patch become regions, and when regions of two patches are one.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionSpec {
    pub clustering: Clustering,
    /// Intersection over union from which on a region is the one that it covers.
    pub iou_threshold: f64,
    /// Label of voxels that belong to no region.
    pub noise_label: i32,
}

/// How vectors are clustered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clustering {
    /// Hierarchical, by density ([Campello et al.
    /// 2013](https://doi.org/10.1007/978-3-642-37456-2_14)), with Euclidean distances and
    /// excess of mass.
    Hdbscan { min_cluster_size: usize, min_samples: usize },
    /// Towards the means of the neighbourhoods of radius `bandwidth` ([Comaniciu and Meer
    /// 2002](https://doi.org/10.1109/34.1000236)).
    MeanShift { bandwidth: f32 },
}

impl Clustering {
    /// The name in a configuration and of the written volume.
    pub fn word(self) -> &'static str {
        match self {
            Clustering::Hdbscan { .. } => "hdbscan",
            Clustering::MeanShift { .. } => "meanshift",
        }
    }

    /// The cluster of each row of `points`, numbered from 0; −1 for noise.
    ///
    /// # Errors
    /// Values that are NaN or infinite.
    pub fn labels(self, points: ArrayView2<'_, f32>) -> Result<Vec<i32>> {
        ensure!(
            points.iter().all(|value| value.is_finite()),
            "the network gives embeddings that are NaN or infinite, which cannot be clustered; \
             look at the weights of `model_path` and at the values of the input"
        );
        match self {
            Clustering::Hdbscan { min_cluster_size, min_samples } => {
                Ok(hdbscan::labels(points, min_cluster_size, min_samples))
            }
            Clustering::MeanShift { bandwidth } => Ok(mean_shift::labels(points, bandwidth)),
        }
    }

    /// The clusters of embeddings (C, D, H, W) as labels (D, H, W).
    ///
    /// # Errors
    /// Values that are NaN or infinite.
    pub fn segment(self, embeddings: &Tensor) -> Result<Array3<i32>> {
        let vectors = embeddings
            .f_to_device(Device::Cpu)?
            .f_to_kind(Kind::Float)?
            .f_permute([1, 2, 3, 0])?
            .f_contiguous()?;
        let size: Vec<usize> = vectors.size().iter().map(|length| *length as usize).collect();
        let voxels = size[..3].iter().product();
        let points = ArrayView2::from_shape((voxels, size[3]), as_slice::<f32>(&vectors)?)?;
        Ok(Array3::from_shape_vec((size[0], size[1], size[2]), self.labels(points)?)?)
    }
}
