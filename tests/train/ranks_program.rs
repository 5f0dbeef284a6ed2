//! `unet3d train` on several ranks: how they are started, what they leave, and how they end.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use unet3d::checkpoint::{Checkpoint, TensorData};

use crate::division::{config, lab, last, run, same};
use crate::ranks::{free_port, place};
use crate::support::lab::Lab;
use crate::support::program::{Run, program, script, with_flags};

const CLASSES: (&str, &str) = ("{name: PixelWiseCrossEntropyLoss}", "{name: PixelWiseMeanIoU}");

/// A training run of the program as a child, with one thread.
fn start(config: &Path, flags: &[&str], environment: &[(&str, String)]) -> Child {
    let mut command = program();
    command.args(["train", "--threads=1", "--config"]).arg(config).args(flags);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A run that would go on for a long time.
const LONG: [&str; 2] = ["--set=trainer.iters=100000", "--set=lr_scheduler.patience=100000"];

/// Waits for the end of a run; kills one that hangs.
fn end(mut child: Child) -> Run {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(240) {
            child.kill().unwrap();
            panic!("the run hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Run::from(child.wait_with_output().unwrap())
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(240), "{what} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// The processes that a process has started, in the order of their numbers.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    let mut all: Vec<_> = lists
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect();
    all.sort_unstable();
    all
}

fn lives(pid: u32) -> bool {
    // A process that has ended may wait for whoever has taken it over.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// What the program says of a run but for times and rates, of lines with these words.
fn lines(run: &Run, words: &str) -> Vec<String> {
    let matching = run.out.lines().filter(|line| line.contains(words));
    let message = |line: &str| {
        let text = line.split_once("INFO").unwrap().1;
        text.split(", ")
            .filter(|part| !part.contains("iterations/s") && !part.contains("left"))
            .collect()
    };
    matching.map(message).collect()
}

#[test]
fn processes_train_as_one_with_a_larger_batch() {
    let lab = lab();
    let config = config(&lab, CLASSES.0, CLASSES.1, false);
    // 8 patches in steps of 3: two processes of the last step have one each.
    let whole = lab.path("whole");
    let one = run(&config, &whole, &[], &[("loaders.batch_size", 3)]).succeeded();
    let place = lab.path("run");
    let three = run(&config, &place, &["--processes=3"], &[("loaders.batch_size", 1)]).succeeded();
    same(&last(&place), &last(&whole), "three processes");
    for words in ["iteration 4/10", "iteration 8/10", "validation loss"] {
        assert_eq!(lines(&three, words), lines(&one, words));
        assert!(!lines(&one, words).is_empty());
    }
    assert!(three.out.contains("a step has 3 samples: 3 process(es)"), "{}", three.out);
    assert_eq!(scalars(&place), scalars(&whole));

    // Prediction in such a job takes no notice of it.
    fs::create_dir(lab.path("test")).unwrap();
    lab.balls("test/t.h5", [8, 16, 16], 3);
    let mut predict = program();
    predict.args(["predict", "--threads=1", "--config"]).arg(lab.prediction());
    let predicted: Run = predict.envs(self::place(0, 2, 1)).output().unwrap().into();
    predicted.succeeded();

    // The run goes on with other processes, batches and accumulation, but not with another step.
    let more = ("trainer.iters", 14);
    let resume = ["--resume", "auto"];
    run(&config, &whole, &resume, &[("loaders.batch_size", 3), more]).succeeded();
    let accumulate = [("loaders.batch_size", 1), ("trainer.accumulate", 3), more];
    let gone_on = run(&config, &place, &resume, &accumulate).succeeded();
    assert!(gone_on.out.contains("to the last bit"), "{}", gone_on.out);
    same(&last(&place), &last(&whole), "resumed");
    let flags = ["--resume", "auto", "--processes", "2"];
    let words = ["`--processes`", "batch_size", "accumulate", "had 3 samples", "have 2"];
    let refused = run(&config, &place, &flags, &[("loaders.batch_size", 1), more]);
    let refused = refused.failed_with(2, &words);
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
}

/// The numbers in TensorBoard's files of a run, which are float32.
fn scalars(place: &Path) -> Vec<String> {
    let text = script("read_events.py", [format!("run={}", place.join("logs").display())]);
    let lines = text.lines().filter(|line| line.split(' ').count() == 4);
    let numbers = lines.filter(|line| !line.contains("histograms") && !line.contains("images"));
    let rounded = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        format!("{name} {:.6}", value.parse::<f64>().unwrap())
    };
    numbers.map(rounded).collect()
}

#[test]
fn ranks_find_their_places_in_the_environment() {
    let lab = lab();
    let config = config(&lab, "{name: DiceLoss}", "{name: DiceCoefficient}", true);
    let set = |place: &str, more: &str| {
        let directory = format!("--set=trainer.checkpoint_dir={}", lab.path(place).display());
        [directory, format!("--set={more}"), "--set=loaders.batch_size=1".to_string()]
    };
    let whole = lab.path("whole");
    run(&config, &whole, &[], &[("loaders.batch_size", 4)]).succeeded();

    let port = free_port();
    let flags = set("torchrun", "trainer.accumulate=2");
    let mut flags: Vec<_> = flags.iter().map(String::as_str).collect();
    flags.push("-v");
    let ranks: Vec<_> = (0..2).map(|rank| start(&config, &flags, &place(rank, 2, port))).collect();
    let runs: Vec<_> = ranks.into_iter().map(|rank| end(rank).succeeded()).collect();
    same(&last(&lab.path("torchrun")), &last(&whole), "torchrun");
    for words in ["summing ", "came last in "] {
        assert!(runs[0].out.contains(words), "{}", runs[0].out);
    }
    assert_eq!(runs[1].out, "", "rank 0 alone writes lines of log");

    let flags = set("slurm", "trainer.accumulate=1");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let slurm = |rank: usize| {
        [
            ("SLURM_JOB_ID", std::process::id().to_string()),
            ("SLURM_STEP_ID", "0".to_string()),
            ("SLURM_PROCID", rank.to_string()),
            ("SLURM_LOCALID", rank.to_string()),
            ("SLURM_STEP_NUM_TASKS", "4".to_string()),
            ("SLURM_STEP_NODELIST", "localhost".to_string()),
        ]
    };
    let ranks: Vec<_> = (0..4).map(|rank| start(&config, &flags, &slurm(rank))).collect();
    ranks.into_iter().for_each(|rank| drop(end(rank).succeeded()));
    same(&last(&lab.path("slurm")), &last(&whole), "Slurm");
}

#[test]
fn a_signal_ends_all_ranks_after_the_same_iteration() {
    let lab = lab();
    let config = config(&lab, CLASSES.0, CLASSES.1, false);
    let checkpoint = lab.path("run/last_checkpoint.pytorch");
    let mut flags = LONG.to_vec();
    flags.extend(["--set=loaders.batch_size=1"]);
    let goes_on = |what: &str| {
        let stopped = Checkpoint::read(&checkpoint).unwrap().num_iterations;
        let keys = [("loaders.batch_size", 2), ("trainer.iters", stopped as usize + 3)];
        let resume = ["--resume", "auto"];
        run(&config, &lab.path("run"), &resume, &keys).succeeded();
        run(&config, &lab.path("whole"), &resume, &keys).succeeded();
        same(&last(&lab.path("run")), &last(&lab.path("whole")), what);
        fs::remove_dir_all(lab.path("run")).unwrap();
        fs::remove_dir_all(lab.path("whole")).unwrap();
    };

    let mut processes = flags.clone();
    processes.push("--processes=2");
    let starter = start(&config, &processes, &[]);
    wait_for("a checkpoint", || checkpoint.exists());
    signal(starter.id(), "-TERM");
    let stopped = end(starter);
    assert_eq!(stopped.code, Some(3), "{}\n{}", stopped.out, stopped.err);
    assert_eq!(stopped.out.matches("stopped by a signal").count(), 1, "{}", stopped.out);
    goes_on("stopped by its starter");

    // The signal reaches one rank alone.
    let port = free_port();
    let ranks = [0, 1].map(|rank| start(&config, &flags, &place(rank, 2, port)));
    wait_for("a checkpoint", || checkpoint.exists());
    signal(ranks[1].id(), "-USR1");
    for rank in ranks {
        let stopped = end(rank);
        assert_eq!(stopped.code, Some(3), "{}\n{}", stopped.out, stopped.err);
    }
    goes_on("stopped by one rank");
}

#[test]
fn a_killed_rank_is_one_error_and_nothing_stays() {
    let lab = lab();
    let config = config(&lab, CLASSES.0, CLASSES.1, false);
    let checkpoint = lab.path("run/last_checkpoint.pytorch");
    let mut flags = LONG.to_vec();
    flags.extend(["--processes=3", "--overwrite"]);
    for killed in ["a rank", "rank 0", "the starter"] {
        let _ = fs::remove_file(&checkpoint);
        let starter = start(&config, &flags, &[]);
        wait_for("a checkpoint", || checkpoint.exists());
        let (own, ranks) = (starter.id(), children(starter.id()));
        assert_eq!(ranks.len(), 3);
        match killed {
            "a rank" => signal(ranks[1], "-KILL"),
            "rank 0" => signal(ranks[0], "-KILL"),
            _ => signal(own, "-KILL"),
        }
        let ended = end(starter);
        if killed == "the starter" {
            wait_for("the end of the ranks", || !ranks.iter().any(|&rank| lives(rank)));
        } else {
            let number = if killed == "rank 0" { 0 } else { 1 };
            let words = format!("rank {number} was ended by signal 9");
            let ended = ended.failed_with(1, &[&words, "The last checkpoint stays"]);
            assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        }
        assert!(!ranks.iter().any(|&rank| lives(rank)), "{killed}: a rank stays");
        Checkpoint::read(&checkpoint).unwrap();
    }
}

/// The lines of all runs that tell an error, and the exit codes.
fn errors(runs: &[Run]) -> (Vec<&str>, Vec<Option<i32>>) {
    let lines = runs.iter().flat_map(|run| run.err.lines());
    (lines.collect(), runs.iter().map(|run| run.code).collect())
}

#[test]
fn ranks_that_cannot_train_together_end_with_one_error() {
    let lab = lab();
    let config = config(&lab, CLASSES.0, CLASSES.1, false);
    let together = |flags: [&[&str]; 2], port: u16| {
        let ranks = [0, 1].map(|rank| start(&config, flags[rank], &place(rank, 2, port)));
        ranks.map(end)
    };

    let runs = together([&[], &["--set=loss.ignore_index=3"]], free_port());
    let (lines, codes) = errors(&runs);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let words = "rank 1 has another configuration than rank 0: `loss.ignore_index` is 3 there and \
                 null on rank 0";
    assert!(lines[0].contains(words), "{}", lines[0]);
    assert!(codes.contains(&Some(2)), "{codes:?}");

    // The same names, but other files.
    let other = self::lab();
    other.balls("train.h5", [8, 32, 32], 1);
    let text = fs::read_to_string(&config).unwrap();
    let relative = text.replace(&format!("{}/", lab.path("").display()).replace("//", "/"), "");
    let port = free_port();
    let ranks = [&lab, &other].map(|lab: &Lab| lab.config("relative.yaml", &relative));
    let ranks: Vec<_> = [(0, &lab), (1, &other)]
        .map(|(rank, lab)| {
            let mut command = program();
            command.args(["train", "--threads=1", "--config"]).arg(&ranks[rank]);
            command.current_dir(lab.path("")).envs(place(rank, 2, port));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .into();
    let runs: Vec<_> = ranks.into_iter().map(end).collect();
    let (lines, _) = errors(&runs);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("rank 1 finds other data than rank 0"), "{}", lines[0]);

    // Rank 1 never comes.
    let rank = start(&config, &["--rank-timeout=1"], &place(0, 2, free_port()));
    end(rank).failed_with(1, &["rank 1 did not come within 1 s (--rank-timeout)"]);

    // The flag and the environment contradict each other.
    let rank = start(&config, &["--processes=3"], &place(0, 2, free_port()));
    end(rank).failed_with(2, &["--processes 3 contradicts the environment"]);

    // What is wrong with the configuration is said once, before any process is started.
    let flags = ["--processes=2", "--set=loaders.batch_size=none"];
    let run = with_flags("train", &config, &flags, &[]);
    assert_eq!(run.failed_with(2, &["batch_size"]).err.lines().count(), 1);

    // Samples that cannot be made are told by the rank that cannot make them.
    let overrides = ["trainer.iters=100000", "lr_scheduler.patience=100000"];
    let overrides = overrides.map(|option| format!("--set={option}"));
    let mut flags: Vec<_> = overrides.iter().map(String::as_str).collect();
    flags.extend(["--processes=2", "--set=loaders.dataset=LazyHDF5Dataset"]);
    let starter = start(&config, &flags, &[]);
    let checkpoint = lab.path("run/last_checkpoint.pytorch");
    wait_for("a checkpoint", || checkpoint.exists());
    fs::remove_file(lab.path("train.h5")).unwrap();
    let ended = end(starter).failed_with(1, &["rank ", "train.h5", "was removed", "iteration "]);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    assert!(Checkpoint::read(&checkpoint).unwrap().num_iterations > 0);
}

#[test]
fn batch_norm_counts_every_batch_once_on_ranks_too() {
    let lab = lab();
    let config = config(&lab, "{name: DiceLoss}", "{name: DiceCoefficient}", true);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("f_maps: [4, 8]", "f_maps: [4, 8], layer_order: bcr")).unwrap();
    let keys = [("loaders.batch_size", 1), ("trainer.accumulate", 2)];
    let (first, second) = (lab.path("first"), lab.path("second"));
    for place in [&first, &second] {
        run(&config, place, &["--processes=2"], &keys).succeeded();
    }
    let (first, second) = (last(&first), last(&second));
    assert!(first.model_state == second.model_state, "two runs differ");
    let counts = first.model_state.iter().filter(|(name, _)| name.ends_with("num_batches_tracked"));
    let counts: Vec<_> = counts.map(|(_, count): &(_, TensorData)| count.to_f64()).collect();
    // Two batches of rank 0 in each of 10 iterations.
    assert!(counts.len() > 4 && counts.iter().all(|count| *count == [20.0]), "{counts:?}");
}

/// What pytorch-3dunet's DataParallel means: the loss of all outputs together.
#[test]
fn a_step_of_two_ranks_is_that_of_data_parallel_in_torch() {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    let before = lab.path("before.pytorch");
    script("data_parallel.py", ["make".as_ref(), before.as_os_str()]);
    let config = lab.config("train.yaml", PLAIN);
    let flags = ["--processes=2"];
    with_flags("train", &config, &flags, &[]).succeeded();
    let after = lab.path("run/last_checkpoint.pytorch");
    let data = lab.path("train.h5");
    let paths = [before.as_os_str(), after.as_os_str(), data.as_os_str()];
    let printed = script("data_parallel.py", ["check".as_ref()].into_iter().chain(paths));
    let off: f64 = printed.trim().parse().unwrap();
    assert!(off < 1e-12, "weights off by {off:e}");
}

const PLAIN: &str = "
manual_seed: 3
precision: fp64
model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], num_groups: 2, final_sigmoid: false}
trainer: {checkpoint_dir: '@/run', pre_trained: '@/before.pytorch', iters: 1}
optimizer: {algorithm: SGD, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01}
loss: {name: CrossEntropyLoss, ignore_index: 0}
eval_metric: {name: MeanIoU}
loaders:
  batch_size: 4
  train:
    file_paths: ['@/train.h5']
    slice_builder: &slices {name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [8, 16, 16], skip_shape_check: true}
    transformer: &plain
      raw: [{name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: false, dtype: long}]
  val: {file_paths: ['@/val.h5'], slice_builder: *slices, transformer: *plain}
";
