//! Training on several ranks is that on one, for every loss and every metric. The ranks are
//! processes that run the test once more.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::LevelFilter;
use ndarray::Array4;
use tch::{Device, Kind, Tensor};
use unet3d::checkpoint::Checkpoint;
use unet3d::config::Dialect;
use unet3d::device::Precision;
use unet3d::distributed::Group;
use unet3d::loss::LOSSES;
use unet3d::metric::{self, METRICS};
use unet3d::runtime::report::Reporter;
use unet3d::samples::{Division, Loader, Origin, SampleSet};
use unet3d::target::{Labels, Weights};
use unet3d::train::{
    Criteria, Learner, RunRecord, StepSize, Trainer, TrainerSpec, TrainingData, TrainingRun,
};
use unet3d::volume::{Element, OneHot, Sample, Values, Volume, Voxels};

use crate::cases::{self, Case};
use crate::learners::learner_spec;
use crate::ranks::{again, answer, answers, as_rank, free_port, place};
use crate::support::tree;

/// The variable with the folder that runs write to.
const FOLDER: &str = "UNET3D_TEST_FOLDER";
/// The variable with the batches of a rank in a step, then their samples.
const STEP: &str = "UNET3D_TEST_STEP";
/// Samples of an epoch: with steps of 4 or 6, the last step has fewer.
const SAMPLES: usize = 7;

/// The labels and weights of a case over and over, with raw patches that all differ.
struct CaseSamples {
    size: [usize; 3],
    labels: Vec<Voxels>,
    weights: Option<Vec<Voxels>>,
}

impl CaseSamples {
    /// In compact form if asked; `None` if the labels have none.
    fn of(case: &Case, compact: bool) -> Option<Self> {
        let target = case.tensor("target");
        let count = target.size()[0];
        let size: Vec<_> = target.size().iter().rev().take(3).rev().map(|&n| n as usize).collect();
        let labels = (0..count).map(|n| voxels(&target.get(n), compact)).collect::<Option<_>>()?;
        let weights = case.maybe_tensor("weight");
        let weights =
            weights.map(|all| (0..count).filter_map(|n| voxels(&all.get(n), false)).collect());
        Some(CaseSamples { size: size.try_into().unwrap(), labels, weights })
    }
}

/// (D, H, W) or (C, D, H, W) of int64 or float64.
fn voxels(values: &Tensor, compact: bool) -> Option<Voxels> {
    let mut shape: Vec<_> = values.size().iter().map(|&n| n as usize).collect();
    let has_channels = shape.len() == 4;
    if !has_channels {
        shape.insert(0, 1);
    }
    let shape = [shape[0], shape[1], shape[2], shape[3]];
    let is_float = values.is_floating_point();
    if compact {
        let index = one_hot(values)?;
        let index: Vec<i64> = index.flatten(0, -1).try_into().unwrap();
        let index = index.into_iter().map(|class| u16::try_from(class).unwrap_or(OneHot::NONE));
        return Some(Voxels::OneHot(OneHot {
            indices: Array4::from_shape_vec([1, shape[1], shape[2], shape[3]], index.collect())
                .unwrap(),
            classes: shape[0],
            element: if is_float { Element::F64 } else { Element::I64 },
        }));
    }
    let flat = values.flatten(0, -1);
    let values = if is_float {
        let values: Vec<f64> = flat.to_kind(Kind::Double).try_into().unwrap();
        Values::F64(Array4::from_shape_vec(shape, values).unwrap())
    } else {
        let values: Vec<i64> = flat.to_kind(Kind::Int64).try_into().unwrap();
        Values::I64(Array4::from_shape_vec(shape, values).unwrap())
    };
    Some(Voxels::Dense(Volume { values, has_channels }))
}

/// The class at each voxel of labels (C, D, H, W), -1 where there is none, if at most one
/// channel is 1 and the others are 0.
fn one_hot(labels: &Tensor) -> Option<Tensor> {
    let binary = labels.eq(0).logical_or(&labels.eq(1)).all().int64_value(&[]) == 1;
    if labels.dim() != 4 || !binary {
        return None;
    }
    let counts = labels.sum_dim_intlist(&[0i64][..], false, Kind::Double);
    (counts.max().double_value(&[]) <= 1.0)
        .then(|| labels.argmax(0, false).masked_fill(&counts.eq(0), -1))
}

impl SampleSet for CaseSamples {
    fn len(&self) -> usize {
        SAMPLES
    }

    fn sample(&self, _: u64, index: usize) -> anyhow::Result<Sample> {
        let [d, h, w] = self.size;
        let noise = |(_, z, y, x): (usize, usize, usize, usize)| {
            ((index * 131 + z * 17 + y * 5 + x * 3) as f64 * 0.7).sin()
        };
        let raw = Values::F64(Array4::from_shape_fn([1, d, h, w], noise));
        let of = |all: &Vec<Voxels>| all[index % all.len()].clone();
        Ok(Sample {
            raw: Volume { values: raw, has_channels: true },
            label: Some(of(&self.labels)),
            weight: self.weights.as_ref().map(of),
        })
    }

    fn origin(&self, _: u64, index: usize) -> Origin {
        Origin { path: format!("{index}.h5").into(), window: None }
    }

    fn sample_bytes(&self) -> usize {
        1 << 12
    }
}

/// A metric that can score what the case's loss learns from.
fn metric_of(case: &Case) -> &'static str {
    let (labels, channels) = (case.tensor("target").size(), case.tensor("logits").size()[1]);
    match labels.len() {
        4 => "MeanIoU",
        _ if labels[1] == channels => "DiceCoefficient",
        _ => "AdaptedRandError",
    }
}

/// Trains on the samples of a case, and leaves a checkpoint in the folder `to`.
fn train(case: &Case, samples: CaseSamples, group: &Group, to: &Path, dialect: Dialect) {
    let channels = case.tensor("logits").size()[1];
    let text = format!(
        "
model: {{name: UNet3D, in_channels: 1, out_channels: {channels}, f_maps: [2, 4], num_groups: 2}}
trainer:
  checkpoint_dir: {}
  validate_after_iters: 3
  log_after_iters: 2
  {}
  {}
optimizer: {{learning_rate: 0.01, weight_decay: 0.0001}}
eval_metric: {{name: {}}}
",
        to.display(),
        if dialect == Dialect::Fork { "iters: 6" } else { "max_num_iterations: 6" },
        if dialect == Dialect::Fork { "epochs: 9" } else { "max_num_epochs: 9" },
        metric_of(case)
    );
    let (tree, loss) = (tree(&text), case.config("loss"));
    tree.set_dialect(dialect);
    loss.set_dialect(dialect);
    let node = |name: &str| tree.root.get(name).unwrap();
    let [accumulate, batch_size] = step();
    let size = StepSize { processes: group.size(), batch_size, accumulate };
    let spec = learner_spec(&tree, Precision::Fp64, size);
    let division = Division { rank: group.rank(), ranks: group.size(), batches: accumulate };
    let loader = Loader::new(Arc::new(samples), batch_size, 1, 1 << 30).divided(division);
    let run = TrainingRun {
        learner: Learner::new(spec, Device::Cpu).unwrap(),
        criteria: Criteria {
            loss: unet3d::loss::read(loss.root.get("loss").unwrap()).unwrap(),
            metric: metric::read(&tree.root).unwrap(),
        },
        data: TrainingData { train: loader.clone().shuffled(5), val: loader },
        spec: TrainerSpec::read(node("trainer")).unwrap(),
        configuration: String::new(),
        logs: "logs".into(),
        stop: Arc::new(AtomicBool::new(false)),
        group,
    };
    thread_local! {
        static REPORTER: Reporter = Reporter::start(LevelFilter::Warn);
    }
    REPORTER.with(|reporter| Trainer::new(run, reporter).fit()).unwrap_or_else(|error| {
        panic!("{}: {error:#}", case.name);
    });
}

/// Batches of a rank, and their samples.
fn step() -> [usize; 2] {
    let text = env::var(STEP).unwrap();
    let numbers: Vec<_> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// The runs of so many ranks: a case, its samples, the dialect of its loss, and a name. Two
/// ranks try all cases of the fork, others one of each loss and form.
fn runs(size: usize) -> Vec<(Case, CaseSamples, Dialect, String)> {
    let mut runs = Vec::new();
    let mut tried = HashSet::new();
    for dialect in [Dialect::Fork, Dialect::Upstream] {
        for compact in [false, true] {
            for case in cases::read("loss", "cases.h5") {
                let config = case.config("loss");
                config.set_dialect(dialect);
                let loss = unet3d::loss::read(config.root.get("loss").unwrap());
                let (Ok(loss), Some(samples)) = (loss, CaseSamples::of(&case, compact)) else {
                    continue;
                };
                let is_new = tried.insert((format!("{dialect:?}"), compact, loss.name()));
                if !is_new && (size > 2 || compact || dialect == Dialect::Upstream) {
                    continue;
                }
                let name = format!("{dialect:?}-{}-{compact}", case.name);
                runs.push((case, samples, dialect, name));
            }
        }
    }
    runs
}

/// In a rank or in a process alone that the test started, makes all runs.
fn make_runs(group: &Group) -> anyhow::Result<String> {
    tch::set_num_threads(1);
    let folder = PathBuf::from(env::var(FOLDER)?);
    for (case, samples, dialect, name) in runs(group.size()) {
        train(&case, samples, group, &folder.join(name), dialect);
    }
    Ok("done".into())
}

/// Starts `size` ranks, or a process alone, which make all runs in a folder.
fn start(size: usize, step: &str, folder: &Path) -> Vec<Child> {
    let port = free_port();
    let start = |rank: usize| {
        let mut command = again("ranks_criteria::every_loss_on_ranks_is_that_on_one");
        command.env(FOLDER, folder).env(STEP, step);
        if size > 1 {
            command.envs(place(rank, size, port));
        }
        command.spawn().unwrap()
    };
    (0..size).map(start).collect()
}

#[test]
fn every_loss_on_ranks_is_that_on_one() {
    as_rank(60, make_runs);
    if env::var_os(FOLDER).is_some() {
        make_runs(&Group::alone()).unwrap();
        println!("<answer>done</answer>");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let to = |name: &str| folder.path().join(name);
    // Ranks, batches of a rank and their samples, and the one rank to compare with.
    let all = [
        (1, "1 4", "one-4", None),
        (1, "1 6", "one-6", None),
        (2, "1 2", "two", Some("one-4")),
        (3, "2 1", "three", Some("one-6")),
        (4, "1 1", "four", Some("one-4")),
        (4, "1 1", "four-again", None),
    ];
    for (size, step, name, _) in all {
        for child in start(size, step, &to(name)) {
            assert_eq!(answer(&child.wait_with_output().unwrap()), "done", "{name}");
        }
    }
    let mut losses = Vec::new();
    let few: HashSet<_> = runs(4).into_iter().map(|(.., name)| name).collect();
    for (case, _, dialect, run) in runs(2) {
        let last = |name: &str| {
            Checkpoint::read(&to(name).join(&run).join("last_checkpoint.pytorch")).unwrap()
        };
        for (_, _, name, reference) in all {
            let Some(reference) = reference else { continue };
            if name != "two" && !few.contains(&run) {
                continue;
            }
            same(&last(name), &last(reference), &format!("{run}, {name}"));
        }
        if few.contains(&run) {
            let (first, second) = (last("four"), last("four-again"));
            assert!(first.model_state == second.model_state, "{run}: two runs differ");
        }
        let config = case.config("loss");
        config.set_dialect(dialect);
        let loss = unet3d::loss::read(config.root.get("loss").unwrap()).unwrap();
        losses.push((dialect, loss.name()));
    }
    for dialect in [Dialect::Fork, Dialect::Upstream] {
        for name in LOSSES.of(dialect).names() {
            assert!(losses.contains(&(dialect, name)), "no case tries {name} of {dialect}");
        }
    }
}

/// Checks that two runs ended at the same place, but for rounding.
fn same(found: &Checkpoint, wanted: &Checkpoint, what: &str) {
    for ((name, found), (_, wanted)) in found.model_state.iter().zip(&wanted.model_state) {
        for (a, b) in found.to_f64().into_iter().zip(wanted.to_f64()) {
            assert!((a - b).abs() < 1e-9, "{what}: {name} is {a}, not {b}");
        }
    }
    let (found, wanted) = (RunRecord::progress(found), RunRecord::progress(wanted));
    let (found, wanted) = (found.unwrap(), wanted.unwrap());
    assert_eq!((found.iteration, found.epoch, found.batches), (6, 2, 2), "{what}");
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9 || a == b;
    assert!(near(found.best, wanted.best), "{what}: {} {}", found.best, wanted.best);
    assert!(near(found.loss.sum, wanted.loss.sum), "{what}: {:?} {:?}", found.loss, wanted.loss);
    assert!(near(found.score.sum, wanted.score.sum), "{what}");
    assert_eq!(
        (found.loss.count, found.score.count),
        (wanted.loss.count, wanted.score.count),
        "{what}"
    );
}

/// The metric cases of several samples, each with the samples from `from` to `to` as
/// (probabilities, labels, weights).
fn scored(from: impl Fn(i64) -> [i64; 2]) -> Vec<(Case, Tensor, Labels, Option<Weights>)> {
    let cases = cases::read("metric", "cases.h5").into_iter();
    let several = cases.filter(|case| case.tensor("probabilities").size()[0] > 1);
    several
        .map(|case| {
            let [first, end] = from(case.tensor("probabilities").size()[0]);
            let cut = |tensor: Tensor| tensor.narrow(0, first, end - first);
            let weights = case.maybe_tensor("weight").map(|all| Weights::Dense(cut(all)));
            let labels = Labels::Dense(cut(case.tensor("target")));
            let probabilities = cut(case.tensor("probabilities"));
            (case, probabilities, labels, weights)
        })
        .collect()
}

#[test]
fn every_metric_on_ranks_is_that_on_one() {
    as_rank(60, |group| {
        let (rank, size) = (group.rank() as i64, group.size() as i64);
        let mut scores = Vec::new();
        let own = scored(|count| [count * rank / size, count * (rank + 1) / size]);
        for (case, probabilities, labels, weights) in own {
            let config = case.config("eval_metric");
            let metric = metric::read(&config.root)?;
            // A rank may have no sample.
            let mut sums = match probabilities.size()[0] {
                0 => vec![0.0; metric.length(probabilities.size()[1] as usize)],
                _ => metric.sums(&probabilities, &labels, weights.as_ref())?,
            };
            group.sum_numbers(&mut sums)?;
            scores.push(format!("{:?}", metric.value(&sums)?));
        }
        Ok(scores.join(" "))
    });
    let mut tried = Vec::new();
    let wanted: Vec<_> = scored(|count| [0, count])
        .into_iter()
        .map(|(case, probabilities, labels, weights)| {
            let config = case.config("eval_metric");
            let metric = metric::read(&config.root).unwrap();
            tried.push(metric.name());
            metric.score(&probabilities, &labels, weights.as_ref()).unwrap()
        })
        .collect();
    for name in METRICS.fork.names() {
        assert!(tried.contains(&name), "no case of several samples tries {name}");
    }
    for size in [2, 3, 4] {
        let all = answers("ranks_criteria::every_metric_on_ranks_is_that_on_one", size);
        assert!(all.iter().all(|other| *other == all[0]), "ranks differ");
        let found = all[0].split(' ').map(|score| {
            let number = score.strip_prefix("Some(").and_then(|text| text.strip_suffix(')'));
            number.map(|text| text.parse::<f64>().unwrap())
        });
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), wanted.len());
        for ((found, wanted), name) in found.iter().zip(&wanted).zip(&tried) {
            match (found, wanted) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-9 || a == b, "{name}: {a}, {b}"),
                _ => assert_eq!(found, wanted, "{name}"),
            }
        }
    }
}
