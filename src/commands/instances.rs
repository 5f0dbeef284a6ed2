//! `unet3d instances`: numbered regions of every prediction.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use log::{error, info, warn};

use crate::cli::{self, LabelFormat, Layout, Usage};
use crate::format;
use crate::instances::partners::{name_of, partners, predictions, shown};
use crate::instances::{
    AT_ONCE, Channel, Difference, Input, InstancesPlan, LabelFile, Planes, RegionTable, SeedImage,
    Segmentation, antsun, is_ours, probability_scale, segment, write_labels, write_preview,
    write_text,
};
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::volume::VolumeReader;

/// Makes a label image and a table for each prediction.
pub fn instances(options: &cli::Instances, reporter: &Reporter) -> Result<()> {
    let plan = options.plan()?;
    let threads = match options.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let mut inputs = predictions(&options.predictions)?;
    if let Some(shard) = options.shard {
        let mut index = 0..;
        inputs.retain(|_| index.next().is_some_and(|index| shard.takes(index)));
        info!("{shard}: {} prediction(s)", inputs.len());
    }
    let single = inputs.len() == 1;
    for (flag, place) in
        [("--raw", &options.raw), ("--mask", &options.mask), ("--seeds", &options.seeds)]
    {
        if let Some(place) = place.as_ref().filter(|place| !single && place.is_file()) {
            bail!(Usage(format!(
                "{flag} {} is one image for {} predictions: name a folder of images",
                shown(place),
                inputs.len()
            )));
        }
    }
    let mut jobs: Vec<Job> = inputs.into_iter().map(|input| Job::new(input, options)).collect();
    distinct(&jobs)?;
    if options.skip_existing {
        let before = jobs.len();
        jobs.retain(|job| !job.is_up_to_date());
        info!("{} of {before} prediction(s) have their result already", before - jobs.len());
    }

    let stop = on_signals()?;
    let bar = reporter.bar(jobs.len() as u64, "predictions");
    let mut failed: Vec<String> = Vec::new();
    for (done, job) in jobs.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            bail!(Stopped(format!(
                "stopped by a signal: {done} prediction(s) are done, {} are left; \
                 `--skip-existing` goes on",
                jobs.len() - done
            )));
        }
        bar.set_message(shown(&job.input));
        match job.run(options, &plan, threads) {
            Ok(count) => info!("{}: {count} region(s)", shown(&job.outputs()[0])),
            Err(fault) => {
                let text = format!("{fault:#}");
                let name = shown(&job.input);
                // Most errors name the file themselves.
                let text = if text.contains(&name) { text } else { format!("{name}: {text}") };
                if jobs.len() > 1 {
                    error!("{text}");
                }
                failed.push(text);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    match &failed[..] {
        [] => Ok(()),
        [only] if jobs.len() == 1 => bail!("{only}"),
        failed => Err(anyhow!(
            "{} of {} prediction(s) failed:\n  {}",
            failed.len(),
            jobs.len(),
            failed.join("\n  ")
        )),
    }
}

/// One prediction and the files that are made of it.
struct Job {
    input: PathBuf,
    name: String,
    layout: Layout,
    file: LabelFile,
    folder: PathBuf,
    preview: bool,
    /// The folder or file of the raw images, if there is one.
    raw: Option<PathBuf>,
}

impl Job {
    fn new(input: PathBuf, options: &cli::Instances) -> Job {
        let beside = input.parent().unwrap_or(Path::new(""));
        let folder = options.output.clone().unwrap_or_else(|| beside.to_path_buf());
        let extension = input.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let file = match (options.layout, options.format, extension.as_str()) {
            (Layout::Antsun, ..) | (_, Some(LabelFormat::Nrrd), _) => LabelFile::Nrrd,
            (_, Some(LabelFormat::Tiff), _) => LabelFile::Tiff,
            (_, Some(LabelFormat::H5), _) => LabelFile::Hdf5,
            (_, None, "nrrd" | "nhdr") => LabelFile::Nrrd,
            (_, None, "tif" | "tiff") => LabelFile::Tiff,
            _ => LabelFile::Hdf5,
        };
        Job {
            name: name_of(&input),
            layout: options.layout,
            file,
            folder,
            preview: options.preview,
            raw: options.raw.clone(),
            input,
        }
    }

    /// The files of the result, the label image first.
    fn outputs(&self) -> Vec<PathBuf> {
        let mut outputs = match self.layout {
            Layout::Plain => {
                let file =
                    |extension| self.folder.join(format!("{}_instances.{extension}", self.name));
                vec![file(self.file.extension()), file("csv")]
            }
            Layout::Antsun => {
                let file = |folder: &str, extension: &str| {
                    self.folder.join(folder).join(format!("{}.{extension}", self.name))
                };
                let mut files = vec![
                    file("img_roi_watershed", "nrrd"),
                    file("img_roi", "nrrd"),
                    file("centroids", "txt"),
                ];
                if self.raw.is_some() {
                    files.push(file("marker_signal", "txt"));
                }
                files
            }
        };
        if self.preview {
            outputs.push(self.folder.join(format!("{}_instances.png", self.name)));
        }
        outputs
    }

    /// Whether all results are there and newer than what they are made of.
    fn is_up_to_date(&self) -> bool {
        let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        let Some(given) = changed(&self.input) else { return false };
        self.outputs()
            .iter()
            .all(|output| changed(output).is_some_and(|made| made >= given) && is_ours(output))
    }

    /// Makes the results; returns how many regions there are.
    fn run(&self, options: &cli::Instances, plan: &InstancesPlan, threads: usize) -> Result<u32> {
        let outputs = self.outputs();
        for output in &outputs {
            ensure!(
                !output.exists() || is_ours(output),
                "{}: exists and was not written by this command; it is not replaced. Move it \
                 away, or choose another --output",
                shown(output)
            );
            if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::create_dir_all(folder)
                    .with_context(|| format!("making the folder {}", shown(folder)))?;
            }
        }
        let images = Images::open(&self.input, options, threads)?;
        let found = images.segment(plan, threads)?;
        self.warn(&found);

        let raw: Vec<(String, &dyn Planes)> =
            images.raw.iter().map(|(name, image)| (name.clone(), image as &dyn Planes)).collect();
        let table = RegionTable::new(&found, &images.probability, &raw)?;
        let settings = format!("{plan:?}");
        let label = |path: &Path, regions, count| {
            write_labels(path, self.file, regions, count, images.voxel_size, &settings, threads)
        };
        match self.layout {
            Layout::Plain => {
                write_text(&outputs[1], &table.csv(&found, images.voxel_size))?;
            }
            Layout::Antsun => {
                label(&outputs[1], &found.before, found.before_count)?;
                write_text(&outputs[2], &antsun::centroids(table.centroids()))?;
                if self.raw.is_some() {
                    ensure!(
                        images.raw.len() == 1,
                        "{} images belong to {}, but the signal is that of one: choose it by \
                         --raw-channel",
                        images.raw.len(),
                        shown(&self.input)
                    );
                    write_text(&outputs[3], &antsun::signal(table.signal(0)))?;
                }
            }
        }
        if self.preview
            && let Some(picture) = outputs.last()
        {
            write_preview(picture, &images.probability, &found.regions)?;
        }
        // Last: while it is not there, the result is not complete.
        label(&outputs[0], &found.regions, found.count)?;
        Ok(found.count)
    }

    /// Tells of values that are no probabilities, and of what was done with them.
    fn warn(&self, found: &Segmentation) {
        let name = shown(&self.input);
        let strange = &found.strange;
        if strange.nan > 0 {
            warn!("{name}: {} voxel(s) are NaN and count as below every threshold", strange.nan);
        }
        if strange.below_zero + strange.above_one > 0 {
            warn!(
                "{name}: {} voxel(s) are negative and {} above 1: are these probabilities?",
                strange.below_zero, strange.above_one
            );
        }
        if found.count > u32::from(u16::MAX) {
            info!("{name}: {} regions, more than uint16 holds: uint32 is written", found.count);
        }
    }
}

/// Two results must not have one name.
fn distinct(jobs: &[Job]) -> Result<()> {
    let mut places: HashMap<PathBuf, &Path> = HashMap::new();
    for job in jobs {
        let output = job.outputs().swap_remove(0);
        let output = std::path::absolute(&output).unwrap_or(output);
        if let Some(other) = places.insert(output.clone(), &job.input) {
            bail!(
                "{} and {} would both give {}: predict them into folders of their own, or choose \
                 another --output",
                shown(other),
                shown(&job.input),
                shown(&output)
            );
        }
    }
    Ok(())
}

/// The images of one prediction.
struct Images {
    probability: Channel,
    /// The other channel that seeds come from.
    other: Option<(Channel, OtherChannel)>,
    seeds: Option<Channel>,
    mask: Option<Channel>,
    /// Raw channels with the names of their columns.
    raw: Vec<(String, Channel)>,
    voxel_size: Option<[f64; 3]>,
}

enum OtherChannel {
    Seeds,
    Boundary,
}

impl Images {
    fn open(input: &Path, options: &cli::Instances, threads: usize) -> Result<Images> {
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
        let channel = options.channel.unwrap_or_else(|| match reader.channels() {
            1 => {
                if reader.has_channels() {
                    info!("{}: its one channel is the probability", shown(input));
                }
                0
            }
            2 => 1,
            several => {
                info!("{}: channel 1 of {several} is the probability", shown(input));
                1
            }
        });
        let open = |reader: &Arc<dyn VolumeReader>, channel, scale| {
            Channel::open(reader.clone(), channel, scale, AT_ONCE, threads)
        };
        let same_size = |other: &Arc<dyn VolumeReader>| {
            ensure!(
                other.size() == reader.size(),
                "{} is {:?} voxels large (z, y, x), {} {:?}: they have to be the same",
                reader.describe(),
                reader.size(),
                other.describe(),
                other.size()
            );
            Ok(())
        };
        let single = |place: &Option<PathBuf>, dataset: &str| -> Result<Option<Channel>> {
            let Some(place) = place else { return Ok(None) };
            let found = partners(place, input, None)?;
            let [file] = &found[..] else {
                bail!("several images belong to {}: {found:?}", shown(input))
            };
            let image = format::open(file, dataset)?;
            same_size(&image)?;
            open(&image, 0, 1.0).map(Some)
        };
        let mut raw = Vec::new();
        let mut raw_voxel_size = None;
        if let Some(place) = &options.raw {
            let files = partners(place, input, options.raw_channel)?;
            for file in &files {
                let image = format::open(file, &options.raw_dataset)?;
                same_size(&image)?;
                raw_voxel_size = raw_voxel_size.or(image.voxel_size());
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                for channel in 0..image.channels() {
                    let name = match (antsun::channel(&stem), image.channels()) {
                        (Some(number), 1) if files.len() > 1 => format!("ch{number}"),
                        (_, 1) => "raw".to_owned(),
                        _ => format!("raw_{channel}"),
                    };
                    raw.push((name, open(&image, channel, 1.0)?));
                }
            }
        }
        let other = match (options.seed_channel, options.boundary_channel) {
            (Some(channel), _) => Some((open(&reader, channel, scale)?, OtherChannel::Seeds)),
            (_, Some(channel)) => Some((open(&reader, channel, scale)?, OtherChannel::Boundary)),
            _ => None,
        };
        let given = options.voxel_size.as_ref().map(|size| [size[0], size[1], size[2]]);
        Ok(Images {
            probability: open(&reader, channel, scale)?,
            other,
            seeds: single(&options.seeds, &options.label_dataset)?,
            mask: single(&options.mask, &options.label_dataset)?,
            raw,
            // The marker image's is ANTSUN's; predictions seldom have one.
            voxel_size: given.or(raw_voxel_size).or(reader.voxel_size()),
        })
    }

    fn segment(&self, plan: &InstancesPlan, threads: usize) -> Result<Segmentation> {
        let probability: &dyn Planes = &self.probability;
        let difference =
            self.other.as_ref().map(|(other, _)| Difference { from: probability, what: other });
        let seeds = match (&self.seeds, &self.other, &difference) {
            (Some(labels), ..) => Some(SeedImage::Labels(labels)),
            (_, Some((seeds, OtherChannel::Seeds)), _) => Some(SeedImage::Probability(seeds)),
            (_, Some((_, OtherChannel::Boundary)), Some(difference)) => {
                Some(SeedImage::Probability(difference))
            }
            _ => None,
        };
        segment(
            plan,
            &Input {
                probability,
                mask: self.mask.as_ref().map(|mask| mask as &dyn Planes),
                raw: self.raw.first().map(|(_, image)| image as &dyn Planes),
                seeds,
                spacing: self.voxel_size.unwrap_or([1.0; 3]),
                threads,
            },
        )
    }
}
