//! The images that regions are made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use log::info;

use crate::cli;
use crate::format;
use crate::instances::partners::{partners, shown};
use crate::instances::{
    Channel, Difference, Held, Input, InstancesPlan, Planes, SeedImage, Segmentation, antsun,
    probability_scale, segment,
};
use crate::volume::VolumeReader;

/// The images of one prediction.
pub struct Images {
    pub probability: Box<dyn Planes>,
    /// The other channel that seeds come from.
    other: Option<(Box<dyn Planes>, OtherChannel)>,
    seeds: Option<Channel>,
    mask: Option<Channel>,
    /// Raw channels with the names of their columns.
    pub raw: Vec<(String, Channel)>,
    pub voxel_size: Option<[f64; 3]>,
}

/// What the work on one prediction may take.
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    pub threads: usize,
    /// Bytes for an image; a larger one is read slab by slab.
    pub memory: usize,
}

/// What a further channel of a prediction tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherChannel {
    Seeds,
    Boundary,
}

/// The channel with the probability in a prediction of so many channels.
pub fn probability_channel(options: &cli::Instances, channels: usize) -> usize {
    options.channel.unwrap_or(usize::from(channels > 1))
}

/// The channel of which seeds are made, and how.
fn other_channel(options: &cli::Instances) -> Option<(usize, OtherChannel)> {
    let seeds = options.seed_channel.map(|channel| (channel, OtherChannel::Seeds));
    seeds.or(options.boundary_channel.map(|channel| (channel, OtherChannel::Boundary)))
}

/// The channels of a prediction that its regions are made of.
pub fn wanted_channels(options: &cli::Instances, channels: usize) -> Vec<usize> {
    let other = other_channel(options).map(|(channel, _)| channel);
    [probability_channel(options, channels)].into_iter().chain(other).collect()
}

/// The files that belong to a prediction: raw images, mask and seeds.
///
/// # Errors
/// Images that are asked for and not there.
pub fn further_files(options: &cli::Instances, input: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if let Some(place) = &options.raw {
        files.extend(partners(place, input, options.raw_channel)?);
    }
    for place in [&options.mask, &options.seeds].into_iter().flatten() {
        files.extend(partners(place, input, None)?);
    }
    Ok(files)
}

impl Images {
    /// Opens a prediction in a file, and what belongs to it.
    pub fn open(input: &Path, options: &cli::Instances, resources: Resources) -> Result<Images> {
        let reader = format::open(input, &options.dataset)?;
        let scale = probability_scale(&*reader)?;
        if scale != 1.0 {
            info!(
                "{}: stored as {}, of which {} stands for probability 1",
                shown(input),
                reader.element().name(),
                (1.0 / scale).round()
            );
        }
        let channel = probability_channel(options, reader.channels());
        match reader.channels() {
            1 if reader.has_channels() && options.channel.is_none() => {
                info!("{}: its one channel is the probability", shown(input));
            }
            several if several > 2 && options.channel.is_none() => {
                info!("{}: channel 1 of {several} is the probability", shown(input));
            }
            _ => {}
        }
        let open = |channel| -> Result<Box<dyn Planes>> {
            let Resources { threads, memory } = resources;
            Ok(Box::new(Channel::open(reader.clone(), channel, scale, memory, threads)?))
        };
        let other = match other_channel(options) {
            Some((channel, kind)) => Some((open(channel)?, kind)),
            None => None,
        };
        let own_size = reader.voxel_size();
        Images::with(open(channel)?, other, own_size, input, options, resources)
    }

    /// The channels of a prediction that are in memory, as [`wanted_channels`] lists
    /// them, and what belongs to it.
    pub fn of_memory(
        mut channels: Vec<Held>,
        voxel_size: Option<[f64; 3]>,
        input: &Path,
        options: &cli::Instances,
        resources: Resources,
    ) -> Result<Images> {
        let boxed = |held: Held| -> Box<dyn Planes> { Box::new(held) };
        let kind = other_channel(options).map(|(_, kind)| kind);
        let other = kind.and_then(|kind| Some((boxed(channels.pop()?), kind)));
        let Some(probability) = channels.pop() else { bail!("{}: no channel", shown(input)) };
        Images::with(boxed(probability), other, voxel_size, input, options, resources)
    }

    fn with(
        probability: Box<dyn Planes>,
        other: Option<(Box<dyn Planes>, OtherChannel)>,
        own_size: Option<[f64; 3]>,
        input: &Path,
        options: &cli::Instances,
        resources: Resources,
    ) -> Result<Images> {
        let size = probability.size();
        let open = |image: &Arc<dyn VolumeReader>, channel| {
            ensure!(
                image.size() == size,
                "{} is {size:?} voxels large (z, y, x), {} {:?}: they have to be the same",
                shown(input),
                image.describe(),
                image.size()
            );
            Channel::open(image.clone(), channel, 1.0, resources.memory, resources.threads)
        };
        let single = |place: &Option<PathBuf>, dataset: &str| -> Result<Option<Channel>> {
            let Some(place) = place else { return Ok(None) };
            let found = partners(place, input, None)?;
            let [file] = &found[..] else {
                bail!("several images belong to {}: {found:?}", shown(input))
            };
            open(&format::open(file, dataset)?, 0).map(Some)
        };
        let mut raw = Vec::new();
        let mut raw_voxel_size = None;
        if let Some(place) = &options.raw {
            let files = partners(place, input, options.raw_channel)?;
            for file in &files {
                let image = format::open(file, &options.raw_dataset)?;
                raw_voxel_size = raw_voxel_size.or(image.voxel_size());
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                for channel in 0..image.channels() {
                    let name = match (antsun::channel(&stem), image.channels()) {
                        (Some(number), 1) if files.len() > 1 => format!("ch{number}"),
                        (_, 1) => "raw".to_owned(),
                        _ => format!("raw_{channel}"),
                    };
                    raw.push((name, open(&image, channel)?));
                }
            }
        }
        let given = options.voxel_size.as_ref().map(|size| [size[0], size[1], size[2]]);
        Ok(Images {
            probability,
            other,
            seeds: single(&options.seeds, &options.label_dataset)?,
            mask: single(&options.mask, &options.label_dataset)?,
            raw,
            // The marker image's is ANTSUN's; predictions seldom have one.
            voxel_size: given.or(raw_voxel_size).or(own_size),
        })
    }

    /// Finds the regions. What does not fit into memory waits in files without a name in the
    /// folder `scratch`.
    pub fn segment(
        &self,
        plan: &InstancesPlan,
        resources: Resources,
        scratch: &Path,
    ) -> Result<Segmentation> {
        let probability: &dyn Planes = &*self.probability;
        let difference =
            self.other.as_ref().map(|(other, _)| Difference { from: probability, what: &**other });
        let seeds = match (&self.seeds, &self.other, &difference) {
            (Some(labels), ..) => Some(SeedImage::Labels(labels)),
            (_, Some((seeds, OtherChannel::Seeds)), _) => Some(SeedImage::Probability(&**seeds)),
            (_, Some((_, OtherChannel::Boundary)), Some(difference)) => {
                Some(SeedImage::Probability(difference))
            }
            _ => None,
        };
        let input = Input {
            probability,
            mask: self.mask.as_ref().map(|mask| mask as &dyn Planes),
            raw: self.raw.first().map(|(_, image)| image as &dyn Planes),
            seeds,
            spacing: self.voxel_size.unwrap_or([1.0; 3]),
            threads: resources.threads,
            memory: resources.memory,
            scratch,
        };
        segment(plan, &input)
    }
}
