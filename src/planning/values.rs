//! What of the values of training data can hardly be meant.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::augment::normalization;
use crate::config::{Section, YamlValue};
use crate::format;
use crate::loss::LOSSES;
use crate::samples::{Loaders, Phase, SampleFiles, SampleSet};
use crate::target::LabelForm;
use crate::train::{Criteria, TrainingData};
use crate::volume::{Volume, Voxels};

use super::look::{Look, look_at, look_at_volume};

/// Files of a phase that are looked at, at most.
const FILES: usize = 32;

/// Voxels of raw data that are all looked at; of more, windows are.
const RAW_VOXELS: usize = 8 << 20;

/// The same of labels.
const LABEL_VOXELS: usize = 64 << 20;

/// Samples of a phase that are made.
const SAMPLES: usize = 4;

/// Channels of labels that are looked at one by one; more are one-hot.
const CHANNELS: usize = 8;

/// Mean and deviation that values which are not normalized exceed.
const LARGE: f64 = 5.0;

/// What was seen, and what of it can hardly be meant.
#[derive(Debug, Default)]
pub struct Findings {
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

/// A file of training or validation, looked at.
struct SeenFile {
    phase: &'static str,
    path: PathBuf,
    label_path: PathBuf,
    raw: Look,
    /// `None` for labels of many channels.
    label: Option<Look>,
    label_has_channels: bool,
}

/// Looks at the values of both phases, in the files and after the transforms, and adds what
/// it finds to `findings`, also before an error.
///
/// # Errors
/// Files that cannot be read, samples that cannot be made, and labels that the network has
/// no class for.
pub fn look_at_training(
    top: &Section<'_>,
    out_channels: usize,
    criteria: &Criteria,
    data: &TrainingData,
    findings: &mut Findings,
) -> Result<()> {
    let loaders = Loaders::read(top.required("loaders")?)?;
    let phases = [loaders.training_phase("train")?, loaders.training_phase("val")?];
    let mut files = Vec::new();
    if loaders.dataset.has_slice_builder {
        for phase in &phases {
            see_files(&loaders, phase, &mut files, findings)?;
        }
    }
    for file in &files {
        findings.warnings.extend(swapped(file));
    }
    findings.warnings.extend(copies(&files));
    let wanted = Wanted { out_channels, criteria, top };
    for phase in &phases {
        let of_phase: Vec<_> = files.iter().filter(|file| file.phase == phase.name).collect();
        wanted.check_files(phase, &of_phase)?;
    }
    findings.warnings.extend(wanted.superfluous(&phases, &files));
    for (phase, loader) in phases.iter().zip([&data.train, &data.val]) {
        wanted.see_samples(phase, &**loader.data(), findings)?;
    }
    Ok(())
}

fn see_files(
    loaders: &Loaders,
    phase: &Phase,
    seen: &mut Vec<SeenFile>,
    findings: &mut Findings,
) -> Result<()> {
    let files = phase.files()?;
    let step = files.len().div_ceil(FILES).max(1);
    for SampleFiles { raw, label, .. } in files.iter().step_by(step) {
        let label_path = label.as_ref().unwrap_or(raw);
        let reader = format::open(raw, &loaders.raw)?;
        let labels = format::open(label_path, &loaders.label)?;
        let raw_look = look_at(&*reader, RAW_VOXELS)?;
        let few = labels.channels() <= CHANNELS;
        let label = few.then(|| look_at(&*labels, LABEL_VOXELS)).transpose()?;
        let shares = match &label {
            Some(look) => format!("{}{}", look.shares(), look.scope()),
            None => format!("{} channels", labels.channels()),
        };
        findings.notes.push(format!(
            "{} {}: raw {} {:?}, {}{}; label {}: {shares}",
            phase.name,
            raw.display(),
            reader.stored().name(),
            reader.shape(),
            raw_look.range(),
            raw_look.scope(),
            labels.stored().name(),
        ));
        seen.push(SeenFile {
            phase: phase.name,
            path: raw.clone(),
            label_path: label_path.clone(),
            raw: raw_look,
            label,
            label_has_channels: labels.has_channels(),
        });
    }
    let left = files.len() - files.len().div_ceil(step);
    if left > 0 {
        findings.notes.push(format!("{}: {left} more files, not looked at", phase.name));
    }
    Ok(())
}

/// Labels have few values in large areas, raw data do not.
fn swapped(file: &SeenFile) -> Option<String> {
    let label = file.label.as_ref()?;
    let different = |look: &Look| look.counts.as_ref().map_or(usize::MAX, |counts| counts.len());
    let (raw, is_label_like) = (&file.raw, |look: &Look| look.equal_neighbours > 0.75);
    let is_raw_like = label.equal_neighbours < 0.5 && different(label) > 16;
    (is_label_like(raw) && is_raw_like && different(raw) < different(label)).then(|| {
        format!(
            "{}: raw data and labels look swapped: the raw data have {} value(s), equal in {:.0} % \
             of neighbouring voxels, the labels {}: exchange `loaders.raw_internal_path` and \
             `label_internal_path`, or `file_paths` and `label_paths`",
            file.path.display(),
            different(raw),
            100.0 * raw.equal_neighbours,
            if label.counts.is_some() { different(label).to_string() } else { "very many".into() },
        )
    })
}

/// Volumes that are both trained on and validated on, under two names.
fn copies(files: &[SeenFile]) -> Vec<String> {
    let of = |phase: &'static str| files.iter().filter(move |file| file.phase == phase);
    let trained: HashMap<u64, &Path> = of("train")
        // Constant volumes are equal without being copies.
        .filter(|file| file.raw.statistics.min < file.raw.statistics.max)
        .map(|file| (file.raw.digest, file.path.as_path()))
        .collect();
    let copied = of("val").filter_map(|file| Some((file, trained.get(&file.raw.digest)?)));
    copied
        .map(|(file, other)| {
            format!(
                "{}: is the same image as {}, which is trained on{}: a score on data that was \
                 trained on says nothing; take it out of one of the two",
                file.path.display(),
                other.display(),
                if file.raw.whole { "" } else { ", as far as was looked at" },
            )
        })
        .collect()
}

/// What network and loss want of labels.
struct Wanted<'a> {
    out_channels: usize,
    criteria: &'a Criteria,
    top: &'a Section<'a>,
}

impl Wanted<'_> {
    fn form(&self) -> Option<LabelForm> {
        let losses = LOSSES.of(self.top.node.dialect());
        losses.find(self.criteria.loss.name()).map(|entry| entry.labels)
    }

    /// Whether the loss leaves the last channel of the labels out.
    fn skips_last(&self) -> bool {
        let key = self.top.node.at("loss.skip_last_target");
        key.is_some_and(|key| key.value == YamlValue::Flag(true))
    }

    fn takes_classes(&self) -> bool {
        matches!(
            self.form(),
            Some(
                LabelForm::Classes | LabelForm::ClassesOrProbabilities | LabelForm::ClassesOrOneHot
            )
        )
    }

    /// Whether labels reach the loss with the values that they have in the file.
    fn as_in_file(&self, phase: &Phase) -> bool {
        phase.transforms.get("label").is_some_and(|list| normalization(list).is_empty())
    }

    /// The labels that a file has without the one that is ignored; `None` if they are no
    /// class indices.
    fn labels<'l>(&self, file: &'l SeenFile) -> Option<impl Iterator<Item = i64> + use<'l>> {
        let counts = file.label.as_ref()?.counts.as_ref().filter(|_| !file.label_has_channels)?;
        let ignored = self.criteria.loss.ignored();
        Some(counts.keys().copied().filter(move |label| Some(*label) != ignored))
    }

    /// Labels that the network has no class for.
    fn check_files(&self, phase: &Phase, files: &[&SeenFile]) -> Result<()> {
        if !self.takes_classes() || !self.as_in_file(phase) {
            return Ok(());
        }
        let classes = self.out_channels as i64;
        for file in files {
            let Some(labels) = self.labels(file) else { continue };
            let labels: Vec<i64> = labels.collect();
            let Some(outside) = labels.iter().rev().find(|label| !(0..classes).contains(*label))
            else {
                continue;
            };
            let (count, name) = (labels.len(), self.criteria.loss.name());
            let path = file.label_path.display();
            if *outside < 0 {
                bail!(
                    "{path}: has the label {outside}, and {name} takes classes from 0 upwards: if \
                     its voxels are not to count, set `loss.ignore_index: {outside}`"
                );
            }
            bail!(
                "{path}: labels go up to {outside} ({count} different ones), and the network has \
                 {classes} class(es): if they are classes, set `model.out_channels: {}`{}",
                outside + 1,
                if count as i64 > classes + 2 {
                    "; if they number objects, make classes of them with `unet3d \
                     make-training-data --instances` or the label transform \
                     StandardLabelToBoundary"
                } else {
                    ""
                }
            );
        }
        Ok(())
    }

    /// Classes of the network that no label stands for. Told only if all labels were
    /// looked at, and of the last classes alone: one in between may be rare.
    fn superfluous(&self, phases: &[Phase], files: &[SeenFile]) -> Option<String> {
        let all = phases.iter().all(|phase| self.as_in_file(phase))
            && files.iter().all(|file| file.label.as_ref().is_some_and(|label| label.whole));
        if !all || !self.takes_classes() || files.is_empty() {
            return None;
        }
        let mut last = 0;
        for file in files {
            last = self.labels(file)?.max().unwrap_or(0).max(last);
        }
        let model = self.top.child("model")?;
        (last >= 0 && last + 1 < self.out_channels as i64).then(|| {
            let message = format!(
                "is {}, and no label is above {last}: the classes from {} on are never learned; \
                 set it to {}",
                self.out_channels,
                last + 1,
                last + 1
            );
            model.error_at("out_channels", message).to_string()
        })
    }

    /// Makes some samples and looks at what reaches the network and the loss.
    fn see_samples(
        &self,
        phase: &Phase,
        data: &dyn SampleSet,
        findings: &mut Findings,
    ) -> Result<()> {
        let step = data.len().div_ceil(SAMPLES).max(1);
        let (mut raw, mut labels): (Vec<Look>, Vec<Look>) = (Vec::new(), Vec::new());
        for index in (0..data.len()).step_by(step) {
            let origin = data.origin(0, index);
            let sample = data.sample(0, index).with_context(|| origin.to_string())?;
            raw.push(look_at_volume(&sample.raw));
            if let Some(Voxels::Dense(label)) = &sample.label
                && label.channels() <= CHANNELS
            {
                labels.push(look_at_volume(label));
            }
        }
        let (Some(raw), label) = (joined(&raw), joined(&labels)) else { return Ok(()) };
        let [min, max, mean, std] = raw;
        let short = super::look::short_number;
        let shown = match label {
            Some([min, max, ..]) => format!(", labels {} to {}", short(min), short(max)),
            None => String::new(),
        };
        findings.notes.push(format!(
            "{} patches after the transforms: raw {} to {}, mean {} ± {}{shown}",
            phase.name,
            short(min),
            short(max),
            short(mean),
            short(std)
        ));
        let list = phase.transforms.get("raw");
        let is_normalized = list.is_some_and(|list| !normalization(list).is_empty());
        let limit = if is_normalized { 100.0 * LARGE } else { LARGE };
        if mean.abs() > limit || std > limit {
            findings.warnings.push(
                phase
                    .transforms
                    .error_at(
                        "raw",
                        format!(
                            "the network gets values of mean {} ± {}, and learns well from values \
                             around 0 ± 1: begin the list, in all phases, with `{{name: \
                             Standardize}}`",
                            short(mean),
                            short(std)
                        ),
                    )
                    .to_string(),
            );
        }
        let loss = self.criteria.loss.name();
        if let Some([min, max, ..]) = label
            && ["Dice", "BCE"].iter().any(|word| loss.contains(word))
            && matches!(self.form(), Some(LabelForm::LikeLogits { .. }))
            && (min < 0.0 || max > 1.0)
            && self.criteria.loss.ignored().is_none()
            // The last channel of the labels is for the metric alone.
            && !self.skips_last()
        {
            findings.warnings.push(
                phase
                    .transforms
                    .error_at(
                        "label",
                        format!(
                            "labels reach {loss} with values from {} to {}, and it takes 0 and 1, \
                             a channel for each class: if they number objects, make classes of them \
                             with the label transform StandardLabelToBoundary, or with `unet3d \
                             make-training-data --instances`; if they are classes, use a loss of \
                             class indices such as CrossEntropyLoss",
                            short(min),
                            short(max)
                        ),
                    )
                    .to_string(),
            );
        }
        Ok(())
    }
}

/// Minimum, maximum, mean and standard deviation of volumes of one size together.
fn joined(looks: &[Look]) -> Option<[f64; 4]> {
    let count = looks.len() as f64;
    let all = || looks.iter().map(|look| look.statistics);
    let mean = all().map(|of| of.mean).sum::<f64>() / count;
    let squares = all().map(|of| of.std * of.std + (of.mean - mean).powi(2)).sum::<f64>();
    let min = all().map(|of| of.min).reduce(f64::min)?;
    let max = all().map(|of| of.max).reduce(f64::max)?;
    Some([min, max, mean, (squares / count).sqrt()])
}

/// Looks at one volume that is predicted, in the file and as the network gets it.
/// `transformed` are the values of some of it after the transforms.
pub fn describe_input(look: &Look, transformed: &Volume) -> (String, Option<String>) {
    let after = look_at_volume(transformed);
    let note = format!("{}{}; after the transforms {}", look.range(), look.scope(), after.range());
    let of = after.statistics;
    let short = super::look::short_number;
    let warning = (of.mean.abs() > LARGE.max(20.0) || of.std > LARGE.max(20.0)).then(|| {
        format!(
            "the network gets values of mean {} ± {}: was it trained without a normalization such \
             as Standardize?",
            short(of.mean),
            short(of.std)
        )
    });
    (note, warning)
}
