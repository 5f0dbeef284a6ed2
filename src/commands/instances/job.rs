//! The work on one prediction.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use log::{info, warn};

use crate::cli::{self, Layout};
use crate::files::PartialFile;
use crate::format::{self, Inputs, check_distinct};
use crate::instances::partners::{name_of, shown};
use crate::instances::{
    Finished, InstancesPlan, LabelFile, Planes, Recipe, RegionTable, ResultFiles, Segmentation,
    antsun, label_image, lines, preview,
};

use super::images::{Images, Resources, further_files};

/// One prediction and the files that are made of it.
pub struct Job {
    pub input: PathBuf,
    name: String,
    layout: Layout,
    file: LabelFile,
    folder: PathBuf,
    preview: bool,
    /// The folder or file of the raw images, if there is one.
    raw: Option<PathBuf>,
}

impl Job {
    /// The job of a prediction.
    pub fn new(input: PathBuf, options: &cli::Instances) -> Job {
        let (beside, _) = format::output_place(&input);
        let folder = options.output.clone().unwrap_or(beside);
        let file = match options.layout {
            Layout::Antsun => LabelFile::Antsun,
            Layout::Plain => LabelFile::named(options.format.as_deref().unwrap_or("input"), &input),
        };
        let name = name_of(&input);
        let name = match options.layout {
            // ANTSUN's files are named by their time point alone.
            Layout::Antsun => antsun::time_point(&name).map_or(name, |time| time.to_string()),
            Layout::Plain => name,
        };
        Job {
            name,
            layout: options.layout,
            file,
            folder,
            preview: options.preview,
            raw: options.raw.clone(),
            input,
        }
    }

    /// The files of the result.
    fn result(&self) -> ResultFiles {
        ResultFiles { paths: self.outputs(), antsun: self.layout == Layout::Antsun }
    }

    /// Their paths, that of the label image first.
    pub fn outputs(&self) -> Vec<PathBuf> {
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

    /// What the results are made of and how.
    ///
    /// # Errors
    /// Files that are not there.
    fn recipe(&self, options: &cli::Instances) -> Result<Recipe> {
        let mut files = vec![self.input.clone()];
        files.extend(further_files(options, &self.input)?);
        Recipe::new(&settings(options), &files)
    }

    /// Whether all results are there and were made by this version of the same files,
    /// with the same settings.
    pub fn is_up_to_date(&self, options: &cli::Instances) -> bool {
        self.recipe(options).is_ok_and(|recipe| recipe.is_that_of(&self.result()))
    }

    /// Checks that nothing of the user's would be replaced, and makes the folders.
    pub fn prepare(&self) -> Result<()> {
        self.result().check_replaceable()?;
        for output in self.outputs() {
            if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::create_dir_all(folder)
                    .with_context(|| format!("making the folder {}", shown(folder)))?;
            }
        }
        Ok(())
    }

    /// Makes the results of a prediction in a file; returns how many regions there are.
    pub fn run(
        &self,
        options: &cli::Instances,
        plan: &InstancesPlan,
        resources: Resources,
    ) -> Result<u32> {
        self.prepare()?;
        let images = Images::open(&self.input, options, resources)?;
        self.write(&images, options, plan, resources)
    }

    /// Makes the results of opened images.
    pub fn write(
        &self,
        images: &Images,
        options: &cli::Instances,
        plan: &InstancesPlan,
        resources: Resources,
    ) -> Result<u32> {
        let result = self.result();
        let outputs = &result.paths;
        // Of the files as they are before the work begins.
        let recipe = self.recipe(options)?;
        result.begin()?;
        let scratch = outputs[0].parent().filter(|folder| !folder.as_os_str().is_empty());
        let found = images.segment(plan, resources, scratch.unwrap_or(Path::new(".")))?;
        self.warn(&found);

        let raw: Vec<(String, &dyn Planes)> =
            images.raw.iter().map(|(name, image)| (name.clone(), image as &dyn Planes)).collect();
        let table = RegionTable::new(&found, &*images.probability, &raw)?;
        let settings = settings(options);
        let label = |path: &Path, regions, count| {
            let (size, threads) = (images.voxel_size, resources.threads);
            let image = label_image(path, self.file, regions, count, size, &settings, threads)?;
            result.keep(path, image)
        };
        let text = |path: &Path, text: &str| {
            let partial = PartialFile::of_text(path, text)
                .with_context(|| format!("{}: writing failed", shown(path)))?;
            result.keep(path, Finished::Other(partial))
        };
        match self.layout {
            Layout::Plain => {
                let size = images.voxel_size;
                let made = lines(&outputs[1], |out| table.write_csv(&found, size, out))?;
                result.keep(&outputs[1], Finished::Other(made))?;
            }
            Layout::Antsun => {
                label(&outputs[1], &found.before, found.before_count)?;
                text(&outputs[2], &antsun::centroids(table.centroids()))?;
                if self.raw.is_some() {
                    ensure!(
                        images.raw.len() == 1,
                        "{} images belong to {}, but the signal is that of one: choose it by \
                         --raw-channel",
                        images.raw.len(),
                        shown(&self.input)
                    );
                    text(&outputs[3], &antsun::signal(table.signal(0)))?;
                }
            }
        }
        if self.preview
            && let Some(picture) = outputs.last()
        {
            let made = preview(picture, &*images.probability, &found.regions)?;
            result.keep(picture, Finished::Other(made))?;
        }
        // Last: while it is not there, the result is not complete.
        label(&outputs[0], &found.regions, found.count)?;
        recipe.note(&result)?;
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

/// Checks that no two results have one name, whatever links and spellings lead to it, and
/// none that of a file that is read.
///
/// # Errors
/// Files that would take each other's place.
pub fn check_jobs(jobs: &[Job], options: &cli::Instances) -> Result<()> {
    let outputs = jobs
        .iter()
        .flat_map(|job| job.outputs().into_iter().map(|output| (output, job.input.as_path())));
    check_distinct(outputs, |one, other, place| {
        format!(
            "{} and {} would both give {}: predict them into folders of their own, or choose \
             another --output",
            shown(one),
            shown(other),
            shown(place)
        )
    })?;
    // Images that are not there are told when it is their turn.
    let further: Vec<PathBuf> = jobs
        .iter()
        .flat_map(|job| further_files(options, &job.input).unwrap_or_default())
        .collect();
    let inputs = jobs.iter().map(|job| &job.input).chain(&further);
    let inputs = Inputs::new(inputs.map(PathBuf::as_path));
    jobs.iter().flat_map(Job::outputs).try_for_each(|output| inputs.check(&output))
}

/// All that decides the results of a prediction but the files, as text.
fn settings(options: &cli::Instances) -> String {
    format!(
        "{:?}, dataset {}, channel {:?}, seeds {:?}, boundary {:?}, raw {} {:?}, labels {}, voxel \
         size {:?}, {:?} {:?}, preview {}",
        options.plan().ok(),
        options.dataset,
        options.channel,
        options.seed_channel,
        options.boundary_channel,
        options.raw_dataset,
        options.raw_channel,
        options.label_dataset,
        options.voxel_size,
        options.layout,
        options.format,
        options.preview,
    )
}
