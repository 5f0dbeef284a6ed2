//! What is to be done with a prediction, decided before anything runs.

use crate::regions::{Connectivity, QueueRule};

/// How regions are found.
#[derive(Clone, Debug, PartialEq)]
pub enum InstancesPlan {
    /// The probability is that of being inside an object.
    Foreground(Foreground),
    /// The probability is that of being on the border between two objects.
    Boundary(Boundary),
}

/// Regions of the voxels whose probability exceeds a threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreground {
    /// A voxel is foreground if its probability, as a double, exceeds it.
    pub threshold: f64,
    /// Which foreground voxels belong together.
    pub connectivity: Connectivity,
    /// Regions with fewer voxels are left out.
    pub min_size: u64,
    /// Regions with more voxels are left out.
    pub max_size: Option<u64>,
    /// Cavities count as foreground.
    pub fill: bool,
    /// Regions that touch a face of the volume are left out.
    pub drop_border: bool,
    /// Components of what is not above the threshold are regions as well, and the
    /// largest component of either kind is the background, as in SegmentationTools.jl.
    pub original: bool,
    /// How regions that hold several objects are cut.
    pub split: Split,
    /// How the cut runs.
    pub flooding: Flooding,
}

/// How regions that hold several objects are found and marked.
#[derive(Clone, Debug, PartialEq)]
pub enum Split {
    /// Not at all.
    None,
    /// By regions at further thresholds.
    Thresholds {
        levels: Vec<Level>,
        /// Parts are marked by all of their voxels, not by the voxel at their centroid.
        whole_parts: bool,
    },
    /// By maxima of the distance to the background.
    Distance {
        /// Standard deviation, in voxels, of the gaussian that smooths the distance.
        sigma: f64,
        /// How far a maximum stands above the pass to a higher one, at least; `None` for
        /// three quarters of the least spacing, since a smoothed distance has shallow
        /// maxima along the ridge of any long object.
        height: Option<f64>,
        /// How far apart two maxima are, at least; both in the unit of the spacing.
        apart: f64,
    },
    /// By the labels of an image, or the regions of another channel.
    Seeds,
}

/// A further threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    pub threshold: f64,
    pub min_size: u64,
}

/// What the flood from the markers follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flooding {
    pub height: Height,
    /// The flood stays within the region.
    pub confined: bool,
    pub rule: QueueRule,
    pub connectivity: Connectivity,
}

/// Low where a flood is early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Height {
    /// The negative probability.
    Probability,
    /// The negative distance to the background.
    Distance,
    /// The raw image: bright borders between dark cells.
    Raw,
}

/// PlantSeg's watershed of a boundary map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boundary {
    /// A voxel is boundary if its probability exceeds it.
    pub threshold: f64,
    /// Smooths the distance to the boundary before its maxima are found, in voxels.
    pub sigma_seeds: f64,
    /// Smooths the probability before it is flooded, in voxels.
    pub sigma_weights: f64,
    /// Share of the probability in the height; the rest is the inverted distance.
    pub alpha: f64,
    /// Smaller regions are removed and flooded by their neighbours.
    pub min_size: u64,
    /// Every slice by itself.
    pub slices: bool,
    pub rule: QueueRule,
    pub connectivity: Connectivity,
}

impl Default for Foreground {
    /// ANTSUN's values.
    fn default() -> Self {
        let level = |threshold, min_size| Level { threshold, min_size };
        Foreground {
            threshold: 0.5,
            connectivity: Connectivity::Faces6,
            min_size: 7,
            max_size: None,
            fill: false,
            drop_border: false,
            original: false,
            split: Split::Thresholds {
                levels: vec![level(0.7, 5), level(0.8, 4), level(0.9, 4)],
                whole_parts: false,
            },
            flooding: Flooding {
                height: Height::Probability,
                confined: false,
                rule: QueueRule::Previous,
                connectivity: Connectivity::Corners26,
            },
        }
    }
}

impl Default for Boundary {
    /// PlantSeg's values.
    fn default() -> Self {
        Boundary {
            threshold: 0.5,
            sigma_seeds: 1.0,
            sigma_weights: 2.0,
            alpha: 1.0,
            min_size: 100,
            slices: false,
            rule: QueueRule::Own,
            connectivity: Connectivity::Faces6,
        }
    }
}
