//! Flags of `unet3d name-cells` and `unet3d make-label-input`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::instances::naming::{CropCentre, NamingPlan};

use super::{Verbosity, number};

#[derive(Args, Debug)]
pub struct NameCells {
    /// File with the probabilities (1 + K, D, H, W) of background and K names. Repeat
    /// it for several predictions of one animal, with --regions for each and --links.
    #[arg(long, required = true, value_name = "FILE")]
    pub predictions: Vec<PathBuf>,
    /// Region image (D, H, W) of the same size.
    #[arg(long, required = true, value_name = "FILE")]
    pub regions: Vec<PathBuf>,
    /// The K names: an HDF5 file, or a text of one name a line.
    #[arg(long, value_name = "FILE")]
    pub names: PathBuf,
    /// The table to write.
    #[arg(long, value_name = "CSV")]
    pub output: PathBuf,
    /// Region image before it was cropped, for the coordinates (default: --regions).
    #[arg(long, value_name = "FILE")]
    pub rois: Option<PathBuf>,
    /// For regions 1, 2, … a number a line: 0 if the region has no counterpart in the
    /// moving animal.
    #[arg(long, value_name = "FILE")]
    pub matches: Option<PathBuf>,
    /// Regions that get no row.
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',')]
    pub exclude_regions: Vec<u32>,
    /// Table of two columns: names that differ in the side alone (default: names that
    /// differ in the last letter alone, L or R).
    #[arg(long, value_name = "CSV")]
    pub pairs: Option<PathBuf>,
    /// Names that many cells may have (default: granule,glia,UNKNOWN).
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    pub repeatable: Option<Vec<String>>,
    /// Names of little confidence (default: the 23 that AutoCellLabeler saw least).
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    pub excluded: Option<Vec<String>>,
    /// Weight of voxels at the edge of their region, next to 1 inside.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.01, value_parser = number)]
    pub edge_weight: f64,
    /// From which probability on a voxel is sure of its name.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.75, value_parser = number)]
    pub contamination_probability: f64,
    /// Voxels sure of other names from which on a region is contaminated.
    #[arg(long, value_name = "VOXELS", default_value_t = 10.0, value_parser = number)]
    pub contamination_voxels: f64,
    /// The same as a share of the region's voxels.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = number)]
    pub contamination_fraction: f64,
    /// Regions of one name that are closer than this are parts of one cell.
    #[arg(long, value_name = "DISTANCE", default_value_t = 8.0, value_parser = number)]
    pub max_distance: f64,
    /// Size of a voxel along z, y and x in the unit of --max-distance (default: 1).
    #[arg(long, value_name = "Z,Y,X", value_delimiter = ',', num_args = 1, value_parser = number)]
    pub voxel_size: Option<Vec<f64>>,
    /// A region whose name is taken, and whose next name is less probable by more than
    /// this, keeps its likeliest name as an alternative (default: 0).
    #[arg(long, value_name = "PROBABILITY", value_parser = number)]
    pub max_prob_decrease: Option<f64>,
    /// Below this probability a region is UNKNOWN.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.01, value_parser = number)]
    pub min_prob: f64,
    /// From this probability of the partner on, left or right is undecided.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.1, value_parser = number)]
    pub left_right_threshold: f64,
    /// The confidence that doubtful names have at most.
    #[arg(long, value_name = "N", default_value_t = 2, allow_negative_numbers = true)]
    pub demoted_confidence: i64,
    /// Also write ids, names, probabilities, contamination and sizes (HDF5).
    #[arg(long, value_name = "FILE")]
    pub matrix: Option<PathBuf>,
    /// Table with the columns prediction (its number from 1, or its file), region and
    /// cell: several predictions are averaged cell by cell.
    #[arg(long, value_name = "CSV")]
    pub links: Option<PathBuf>,
    /// Add a row of UNKNOWN for regions of --rois that the crop left out.
    #[arg(long)]
    pub cropped_rows: bool,
    /// Do as AutoCellLabeler does, with its defaults and faults.
    #[arg(long)]
    pub original: bool,
    /// Data set with the probabilities, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "predictions")]
    pub predictions_dataset: String,
    /// Data set with the regions, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "roi")]
    pub regions_dataset: String,
    /// Data set with the names, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "neuron_ids")]
    pub names_dataset: String,
    /// Threads (default: all cores).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub verbosity: Verbosity,
}

impl NameCells {
    /// How names are given, but for what other files tell.
    pub fn plan(&self) -> NamingPlan {
        let default = NamingPlan::default();
        let decrease = if self.original { 0.3 } else { default.max_prob_decrease };
        NamingPlan {
            max_distance: self.max_distance,
            spacing: match self.voxel_size.as_deref() {
                Some(&[z, y, x]) => [x, y, z],
                _ => default.spacing,
            },
            max_prob_decrease: self.max_prob_decrease.unwrap_or(decrease),
            min_prob: self.min_prob,
            left_right_threshold: self.left_right_threshold,
            contamination_voxels: self.contamination_voxels,
            contamination_fraction: self.contamination_fraction,
            demoted_confidence: self.demoted_confidence,
            repeatable: self.repeatable.clone().unwrap_or(default.repeatable),
            excluded: self.excluded.clone().unwrap_or(default.excluded),
            excluded_regions: self.exclude_regions.clone(),
            matches: Vec::new(),
            pairs: default.pairs,
            original: self.original,
        }
    }
}

#[derive(Args, Debug)]
pub struct MakeLabelInput {
    /// The image, (C, D, H, W) or (D, H, W).
    #[arg(long, value_name = "FILE")]
    pub image: PathBuf,
    /// The region image, (D, H, W).
    #[arg(long, value_name = "FILE")]
    pub regions: PathBuf,
    /// The HDF5 file to write: raw, and label and weight if there are human labels.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// The HDF5 file to write the cropped regions to.
    #[arg(long, value_name = "FILE")]
    pub regions_output: PathBuf,
    /// An image (D, H, W) to append as the last channel; all becomes uint16.
    #[arg(long, value_name = "FILE")]
    pub all_red: Option<PathBuf>,
    /// Depth, height and width of the result.
    #[arg(long, value_name = "Z,Y,X", value_delimiter = ',', default_value = "64,120,284")]
    pub crop: Vec<usize>,
    /// What lies in the middle of the crop: the first voxel of the region of the largest
    /// id, or the mean voxel of all regions.
    #[arg(long, value_enum, default_value = "largest")]
    pub centre: Centre,
    /// Turn the result by 180° in the plane of z and y.
    #[arg(long)]
    pub dorsal: bool,
    /// Channels to keep, from 0, for networks of fewer fluorophores (default: all).
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub channels: Option<Vec<usize>>,
    /// The names of the label's channels: an HDF5 file, or a text of one name a line.
    #[arg(long, value_name = "FILE", requires = "human")]
    pub names: Option<PathBuf>,
    /// Table of human labels: columns name, coordinates, region, confidence, comment.
    #[arg(long, value_name = "CSV", requires = "names")]
    pub human: Option<PathBuf>,
    /// How often each name was given over all animals (default: in --human).
    #[arg(long, value_name = "JSON", requires = "human")]
    pub counts: Option<PathBuf>,
    /// Weights of the confidences 1, 2, …
    #[arg(long, value_name = "W,W,…", value_delimiter = ',', requires = "human",
          value_parser = number, default_value = "10,50,600,900,1000")]
    pub weights: Vec<f64>,
    /// Share of a name's weight that other regions have in its channel.
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = number)]
    pub id_weight: f64,
    /// Weight of the background.
    #[arg(long, value_name = "WEIGHT", default_value_t = 1)]
    pub background_weight: i64,
    /// Human labels of less confidence are left out.
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = number)]
    pub min_confidence: f64,
    /// Do as AutoCellLabeler's create_h5_from_nrrd does, faults and all.
    #[arg(long)]
    pub original: bool,
    /// Data set with the image, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub image_dataset: String,
    /// Data set with the regions, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "roi")]
    pub regions_dataset: String,
    /// Data set with the names, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "neuron_ids")]
    pub names_dataset: String,
    #[command(flatten)]
    pub verbosity: Verbosity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Centre {
    Largest,
    All,
}

impl From<Centre> for CropCentre {
    fn from(centre: Centre) -> CropCentre {
        match centre {
            Centre::Largest => CropCentre::LargestId,
            Centre::All => CropCentre::Centroid,
        }
    }
}
