//! Flags of `unet3d instances`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use crate::instances::{
    Boundary, Flooding, Foreground, Height, InstancesPlan, LABEL_FORMATS, Level, Split,
};
use crate::regions::{Connectivity, QueueRule};
use crate::runtime::shard::Shard;

use super::{Usage, Verbosity, number, parse_shard};

#[derive(Args, Debug)]
pub struct Instances {
    /// Files with predictions, or folders of them.
    #[arg(required = true, value_name = "PREDICTIONS")]
    pub predictions: Vec<PathBuf>,
    /// Data set with the predictions, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "predictions")]
    pub dataset: String,
    /// Channel with the probability, from 0 (default: the second, or the only one).
    #[arg(long, value_name = "N")]
    pub channel: Option<usize>,
    /// What the probability is of: being inside an object, or on a border between two.
    #[arg(long, value_enum, default_value = "foreground")]
    pub method: Method,
    /// A voxel counts if its probability exceeds this.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.5, value_parser = number)]
    pub threshold: f64,
    /// Leave out regions of fewer voxels (default: 7; 100 for boundaries, which the
    /// neighbours then flood).
    #[arg(long, value_name = "VOXELS")]
    pub min_size: Option<u64>,
    /// Leave out regions of more voxels.
    #[arg(long, value_name = "VOXELS")]
    pub max_size: Option<u64>,
    /// Which voxels are neighbours: 6, 18 or 26 (default: 6).
    #[arg(long, value_name = "N", value_parser = connectivity)]
    pub connectivity: Option<Connectivity>,
    /// Count cavities as part of the region around them.
    #[arg(long)]
    pub fill_cavities: bool,
    /// Leave out regions that touch a face of the volume.
    #[arg(long)]
    pub drop_border: bool,
    /// Image of the same size: only voxels that are not 0 there count.
    #[arg(long, value_name = "FILE|DIR")]
    pub mask: Option<PathBuf>,

    /// How regions that hold several objects are found (default: thresholds).
    #[arg(long, value_enum)]
    pub split: Option<SplitKind>,
    /// Further thresholds: a region that falls apart at one of them is cut
    /// (default: 0.7,0.8,0.9).
    #[arg(long, value_name = "P,P,…", value_delimiter = ',', value_parser = number)]
    pub split_thresholds: Option<Vec<f64>>,
    /// Least voxels of a part at each further threshold (default: 5,4,4).
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub split_min_sizes: Option<Vec<u64>>,
    /// Mark the parts by all of their voxels, not by the voxel at their centroid.
    #[arg(long)]
    pub mark_parts: bool,
    /// Gaussian in voxels that smooths the distance to the background (or to the
    /// boundary) before its maxima are found (default: 1).
    #[arg(long, value_name = "SIGMA", value_parser = number)]
    pub sigma: Option<f64>,
    /// How far a maximum of the distance stands above the pass to a higher one, at
    /// least, in the unit of the voxel size (default: three quarters of a voxel).
    #[arg(long, value_name = "DISTANCE", value_parser = number)]
    pub h_maxima: Option<f64>,
    /// How far apart two maxima of the distance are, at least, in the unit of the voxel
    /// size.
    #[arg(long, value_name = "DISTANCE", value_parser = number)]
    pub min_distance: Option<f64>,
    /// Label image whose labels are the seeds.
    #[arg(long, value_name = "FILE|DIR")]
    pub seeds: Option<PathBuf>,
    /// Channel whose regions above the threshold are the seeds.
    #[arg(long, value_name = "N")]
    pub seed_channel: Option<usize>,
    /// Channel with the probability of a border: regions of the probability minus this
    /// one are the seeds.
    #[arg(long, value_name = "N")]
    pub boundary_channel: Option<usize>,
    /// What the flood from the markers follows (default: probability; distance for
    /// --split distance).
    #[arg(long, value_enum)]
    pub flood: Option<HeightKind>,
    /// Keep the flood within the region (default, but for --split thresholds).
    #[arg(long, overrides_with = "no_confine")]
    pub confine: bool,
    /// Let the flood run through voxels outside of the region.
    #[arg(long, overrides_with = "confine")]
    pub no_confine: bool,
    /// The value with which a voxel waits for its turn: that of the voxel before it, or
    /// its own (default: own, but previous for --split thresholds).
    #[arg(long, value_enum)]
    pub queue: Option<Queue>,
    /// Which voxels a flood reaches next: 6, 18 or 26 (default: 26; 6 for boundaries).
    #[arg(long, value_name = "N", value_parser = connectivity)]
    pub flood_connectivity: Option<Connectivity>,

    /// Boundaries: gaussian in voxels that smooths the probability (default: 2).
    #[arg(long, value_name = "SIGMA", value_parser = number)]
    pub sigma_weights: Option<f64>,
    /// Boundaries: share of the probability in the height that is flooded; the rest is
    /// the inverted distance to the boundary (default: 1).
    #[arg(long, value_name = "SHARE", value_parser = number)]
    pub alpha: Option<f64>,
    /// Boundaries: every slice by itself.
    #[arg(long)]
    pub slices: bool,

    /// Images of the same size; the table gets their mean in every region.
    #[arg(long, value_name = "FILE|DIR")]
    pub raw: Option<PathBuf>,
    /// Data set with the raw image, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub raw_dataset: String,
    /// Of images named <prefix>_t<time>_ch<channel>, the channel to take.
    #[arg(long, value_name = "N")]
    pub raw_channel: Option<u64>,
    /// Data set of masks and seeds, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub label_dataset: String,
    /// Size of a voxel along z, y and x (default: what the files tell, else 1).
    #[arg(long, value_name = "Z,Y,X", value_delimiter = ',', value_parser = number)]
    pub voxel_size: Option<Vec<f64>>,

    /// Which files are written: a label image and a table beside each input, or the four
    /// folders that ANTSUN reads.
    #[arg(long, value_enum, default_value = "plain")]
    pub layout: Layout,
    /// File format of the label image (default: that of the input if it can be written,
    /// else HDF5).
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(LABEL_FORMATS))]
    pub format: Option<String>,
    /// Folder for the results (default: beside each input).
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Do as SegmentationTools.jl does, faults and all.
    #[arg(long)]
    pub original: bool,
    /// Leave out inputs whose results are whole and were made of the same files with the
    /// same settings.
    #[arg(long)]
    pub skip_existing: bool,
    /// Take a share of the files: I/N (from 1), or slurm in a job array.
    #[arg(long, value_name = "I/N|slurm", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// Write a picture of each result too.
    #[arg(long)]
    pub preview: bool,
    /// Memory in MiB for an image; a larger one is read slab by slab, with the same
    /// result.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub memory: usize,
    /// Threads (default: all cores).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub verbosity: Verbosity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    Foreground,
    Boundary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitKind {
    None,
    Thresholds,
    Distance,
    Seeds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HeightKind {
    Probability,
    Distance,
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Queue {
    Previous,
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    Plain,
    Antsun,
}

impl Instances {
    /// The plan that the flags describe.
    ///
    /// # Errors
    /// Flags that exclude each other, or that have no effect together.
    pub fn plan(&self) -> Result<InstancesPlan, Usage> {
        let refuse = |given: &[(&str, bool)], why: &str| match given.iter().find(|flag| flag.1) {
            Some((flag, _)) => Err(Usage(format!("{flag} {why}"))),
            None => Ok(()),
        };
        if self.voxel_size.as_ref().is_some_and(|size| size.len() != 3 || size.contains(&0.0)) {
            return Err(Usage("--voxel-size is three numbers above 0: z,y,x".into()));
        }
        refuse(
            &[("--format", self.format.is_some() && self.layout == Layout::Antsun)],
            "has no meaning with --layout antsun, which is NRRD",
        )?;
        refuse(
            &[("--layout antsun", self.layout == Layout::Antsun && self.output.is_none())],
            "needs --output, the folder for img_roi and the others",
        )?;
        let raw_flood = self.flood == Some(HeightKind::Raw);
        refuse(&[("--flood raw", raw_flood && self.raw.is_none())], "needs --raw")?;
        match self.method {
            Method::Foreground => self.foreground().map(InstancesPlan::Foreground),
            Method::Boundary => self.boundary().map(InstancesPlan::Boundary),
        }
    }

    fn boundary(&self) -> Result<Boundary, Usage> {
        let only = "is for --method foreground, not for boundaries";
        let given = [
            ("--split", self.split.is_some_and(|split| split != SplitKind::None)),
            ("--split-thresholds", self.split_thresholds.is_some()),
            ("--split-min-sizes", self.split_min_sizes.is_some()),
            ("--mark-parts", self.mark_parts),
            ("--h-maxima", self.h_maxima.is_some()),
            ("--min-distance", self.min_distance.is_some()),
            ("--seeds", self.seeds.is_some()),
            ("--seed-channel", self.seed_channel.is_some()),
            ("--boundary-channel", self.boundary_channel.is_some()),
            ("--flood", self.flood.is_some()),
            ("--confine", self.confine),
            ("--no-confine", self.no_confine),
            ("--connectivity", self.connectivity.is_some()),
            ("--max-size", self.max_size.is_some()),
            ("--fill-cavities", self.fill_cavities),
            ("--drop-border", self.drop_border),
            ("--mask", self.mask.is_some()),
            ("--original", self.original),
        ];
        if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Usage(format!("{flag} {only}")));
        }
        let default = Boundary::default();
        let alpha = self.alpha.unwrap_or(default.alpha);
        if alpha > 1.0 {
            return Err(Usage(format!("--alpha {alpha}: a share is between 0 and 1")));
        }
        Ok(Boundary {
            threshold: self.threshold,
            sigma_seeds: self.sigma.unwrap_or(default.sigma_seeds),
            sigma_weights: self.sigma_weights.unwrap_or(default.sigma_weights),
            alpha,
            min_size: self.min_size.unwrap_or(default.min_size),
            slices: self.slices,
            rule: self.queue.map_or(default.rule, Queue::rule),
            connectivity: self.flood_connectivity.unwrap_or(default.connectivity),
        })
    }

    fn foreground(&self) -> Result<Foreground, Usage> {
        let split = self.split.unwrap_or(SplitKind::Thresholds);
        let pick = |only: &str, given: &[(&str, bool)]| match given.iter().find(|flag| flag.1) {
            Some((flag, _)) => Err(Usage(format!("{flag} is for {only}"))),
            None => Ok(()),
        };
        pick(
            "--method boundary",
            &[
                ("--sigma-weights", self.sigma_weights.is_some()),
                ("--alpha", self.alpha.is_some()),
                ("--slices", self.slices),
            ],
        )?;
        if split != SplitKind::Thresholds {
            pick(
                "--split thresholds",
                &[
                    ("--split-thresholds", self.split_thresholds.is_some()),
                    ("--split-min-sizes", self.split_min_sizes.is_some()),
                    ("--mark-parts", self.mark_parts),
                ],
            )?;
        }
        if split != SplitKind::Distance {
            pick(
                "--split distance",
                &[
                    ("--sigma", self.sigma.is_some()),
                    ("--h-maxima", self.h_maxima.is_some()),
                    ("--min-distance", self.min_distance.is_some()),
                ],
            )?;
        }
        let seeds = [
            ("--seeds", self.seeds.is_some()),
            ("--seed-channel", self.seed_channel.is_some()),
            ("--boundary-channel", self.boundary_channel.is_some()),
        ];
        if split != SplitKind::Seeds {
            pick("--split seeds", &seeds)?;
        } else if seeds.iter().filter(|(_, given)| *given).count() != 1 {
            return Err(Usage(
                "--split seeds needs one of --seeds, --seed-channel and --boundary-channel".into(),
            ));
        }
        if split == SplitKind::None {
            pick(
                "a split other than none",
                &[
                    ("--flood", self.flood.is_some()),
                    ("--confine", self.confine),
                    ("--no-confine", self.no_confine),
                    ("--queue", self.queue.is_some()),
                    ("--flood-connectivity", self.flood_connectivity.is_some()),
                ],
            )?;
        }
        if self.original {
            let changed = [
                ("--split", !matches!(split, SplitKind::None | SplitKind::Thresholds)),
                ("--connectivity", self.connectivity.is_some_and(|c| c != Connectivity::Faces6)),
                ("--max-size", self.max_size.is_some()),
                ("--fill-cavities", self.fill_cavities),
                ("--drop-border", self.drop_border),
                ("--mask", self.mask.is_some()),
                ("--mark-parts", self.mark_parts),
                ("--flood", self.flood.is_some_and(|flood| flood != HeightKind::Probability)),
                ("--confine", self.confine),
                ("--queue", self.queue.is_some_and(|queue| queue != Queue::Previous)),
                (
                    "--flood-connectivity",
                    self.flood_connectivity.is_some_and(|c| c != Connectivity::Corners26),
                ),
            ];
            if let Some((flag, _)) = changed.iter().find(|(_, given)| *given) {
                return Err(Usage(format!("{flag}: --original knows no such choice")));
            }
        }
        let default = Foreground::default();
        let min_size = self.min_size.unwrap_or(default.min_size);
        if let Some(max_size) = self.max_size.filter(|most| *most < min_size) {
            return Err(Usage(format!("--max-size {max_size} is below the --min-size {min_size}")));
        }
        let split = match split {
            SplitKind::None => Split::None,
            SplitKind::Thresholds => {
                Split::Thresholds { levels: self.levels()?, whole_parts: self.mark_parts }
            }
            SplitKind::Distance => Split::Distance {
                sigma: self.sigma.unwrap_or(1.0),
                height: match (self.h_maxima, self.min_distance) {
                    (None, Some(_)) => Some(0.0),
                    (height, _) => height,
                },
                apart: self.min_distance.unwrap_or(0.0),
            },
            SplitKind::Seeds => Split::Seeds,
        };
        let thresholds = matches!(split, Split::Thresholds { .. });
        let usual = if thresholds { QueueRule::Previous } else { QueueRule::Own };
        let height = match (self.flood, &split) {
            (Some(HeightKind::Probability), _) => Height::Probability,
            (Some(HeightKind::Distance), _) | (None, Split::Distance { .. }) => Height::Distance,
            (Some(HeightKind::Raw), _) => Height::Raw,
            (None, _) => Height::Probability,
        };
        Ok(Foreground {
            threshold: self.threshold,
            connectivity: self.connectivity.unwrap_or(default.connectivity),
            min_size,
            max_size: self.max_size,
            fill: self.fill_cavities,
            drop_border: self.drop_border,
            original: self.original,
            split,
            flooding: Flooding {
                height,
                confined: self.confine || !(thresholds || self.no_confine),
                rule: self.queue.map_or(usual, Queue::rule),
                connectivity: self.flood_connectivity.unwrap_or(default.flooding.connectivity),
            },
        })
    }

    fn levels(&self) -> Result<Vec<Level>, Usage> {
        let thresholds = self.split_thresholds.clone().unwrap_or_else(|| vec![0.7, 0.8, 0.9]);
        let sizes = self.split_min_sizes.clone().unwrap_or_else(|| vec![5, 4, 4]);
        if thresholds.len() != sizes.len() {
            return Err(Usage(format!(
                "{} --split-thresholds, but {} --split-min-sizes: each threshold needs one",
                thresholds.len(),
                sizes.len()
            )));
        }
        let pairs = thresholds.into_iter().zip(sizes);
        Ok(pairs.map(|(threshold, min_size)| Level { threshold, min_size }).collect())
    }
}

impl Queue {
    fn rule(self) -> QueueRule {
        match self {
            Queue::Previous => QueueRule::Previous,
            Queue::Own => QueueRule::Own,
        }
    }
}

fn connectivity(text: &str) -> Result<Connectivity, String> {
    let number = text.parse().ok();
    number.and_then(Connectivity::of).ok_or_else(|| "6, 18 or 26 neighbours".into())
}
