//! Processor seconds and memory per sample of whole lists of transforms, one core.
//!
//!     cargo bench --bench augment -- NAME ITERATIONS FIRST [TRANSFORM]
//!
//! prints `NAME SECONDS MEMORY`, separated by tabs, for the named case: the mean over
//! samples FIRST, FIRST + 1, …, and the most memory that a sample took beyond its input, in
//! units of the float32 patch (with `MALLOC_MMAP_THRESHOLD_=65536`; otherwise memory that the
//! allocator keeps is included). A fourth argument leaves out a transform, which shows its
//! cost; the others draw the same random numbers. Without arguments all cases run a few
//! times. `augment.py` runs this program and the Python libraries in turn; `kernel.rs` times
//! single deformations.

use std::path::Path;

use ndarray::Array4;
use unet3d::augment::Transformer;
use unet3d::augment::stream::SampleKey;
use unet3d::config::Tree;
use unet3d::volume::{Sample, Statistics, Volume};

/// A list of transforms and the size of the patches it is applied to.
struct Case {
    name: &'static str,
    /// A configuration file, of which `loaders.train.transformer` is used, or the lists as YAML.
    transformer: &'static str,
    /// Channels (0: a volume without them), depth, height, width.
    raw: [usize; 4],
    /// Neither, label, or label and weight, of the size of the raw data.
    targets: usize,
}

const SEGMENTATION: [usize; 4] = [0, 51, 96, 210];
const BOUNDARY: [usize; 4] = [0, 64, 128, 128];
const LABELER: [usize; 4] = [4, 64, 120, 284];

#[rustfmt::skip]
static CASES: &[Case] = &[
    Case { name: "SegmentationNet", transformer: "SegmentationNet/instance_segmentation_train.yaml", raw: SEGMENTATION, targets: 2 },
    Case { name: "train_config_boundary", transformer: "resources/train_config_boundary.yaml", raw: BOUNDARY, targets: 1 },
    Case { name: "train_config_ce", transformer: "resources/train_config_ce.yaml", raw: [0, 32, 64, 64], targets: 1 },
    Case { name: "AutoCellLabeler raw", transformer: "AutoCellLabeler_parameters/train_paper_all.yaml", raw: LABELER, targets: 0 },
    Case { name: "Normalize", transformer: "{raw: [{name: Normalize}]}", raw: SEGMENTATION, targets: 0 },
    Case { name: "RandomFlip", transformer: "{raw: [{name: RandomFlip, axis_prob: 0}]}", raw: SEGMENTATION, targets: 0 },
    Case { name: "RandomRotate90", transformer: "{raw: [{name: RandomRotate90, axes: null}]}", raw: SEGMENTATION, targets: 0 },
    Case { name: "RandomContrast", transformer: "{raw: [{name: RandomContrast, use_data_mean: true, execution_probability: 1}]}", raw: SEGMENTATION, targets: 0 },
    Case { name: "AdditiveGaussianNoise", transformer: "{raw: [{name: AdditiveGaussianNoise, scale: [0, 0.1], execution_probability: 1}]}", raw: SEGMENTATION, targets: 0 },
    Case { name: "AdditivePoissonNoise", transformer: "{raw: [{name: AdditivePoissonNoise, lam: [0, 0.01], execution_probability: 1}]}", raw: SEGMENTATION, targets: 0 },
    Case { name: "AdditivePoissonNoise, lam [0, 1]", transformer: "{raw: [{name: AdditivePoissonNoise, execution_probability: 1}]}", raw: SEGMENTATION, targets: 0 },
    Case { name: "ToTensor long", transformer: "{raw: [], label: [{name: ToTensor, expand_dims: false, dtype: long}]}", raw: SEGMENTATION, targets: 1 },
    Case { name: "StandardLabelToBoundary", transformer: "{raw: [], label: [{name: StandardLabelToBoundary}]}", raw: BOUNDARY, targets: 1 },
    Case { name: "StandardLabelToBoundary, blur", transformer: "{raw: [], label: [{name: StandardLabelToBoundary, append_label: true, blur: true}]}", raw: BOUNDARY, targets: 1 },
    Case { name: "StandardLabelToBoundary, outer", transformer: "{raw: [], label: [{name: StandardLabelToBoundary, mode: outer}]}", raw: BOUNDARY, targets: 1 },
    Case { name: "LabelToAffinities", transformer: "{raw: [], label: [{name: LabelToAffinities, offsets: [1, 3]}]}", raw: BOUNDARY, targets: 1 },
    Case { name: "Relabel", transformer: "{raw: [], label: [{name: Relabel}]}", raw: BOUNDARY, targets: 1 },
];

const STATISTICS: Statistics = Statistics { min: 0.0, max: 4095.0, mean: 400.0, std: 300.0 };

/// The lists, with every transform called `without` doing nothing.
fn transformer(text: &str, without: Option<&str>) -> Transformer {
    if text.starts_with('{') {
        let tree = Tree::parse(text, "bench", &[]).expect("YAML");
        return Transformer::read(&tree.root).expect("a transformer");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(text);
    let section = "loaders.train.transformer";
    let tree = Tree::read(&path, &[]).expect("YAML");
    let mut overrides = Vec::new();
    for list in ["raw", "label", "weight"] {
        let Some(list_node) = tree.root.at(&format!("{section}.{list}")) else { continue };
        for (i, item) in list_node.items().expect("a list").iter().enumerate() {
            if without == item.get("name").and_then(|name| name.text().ok()) {
                overrides.push(format!("{section}.{list}.{i}.name=Identity"));
            }
        }
    }
    let tree = Tree::read(&path, &overrides).expect("YAML");
    Transformer::read(tree.root.at(section).expect("the section")).expect("a transformer")
}

/// Smooth blobs with some texture, as float32 raw data and as uint16 labels.
fn sample(case: &Case) -> Sample {
    let [channels, d, h, w] = case.raw;
    let wave = |i: usize, period: f32| (i as f32 * std::f32::consts::TAU / period).sin();
    let shape = (channels.max(1), d, h, w);
    let raw = Array4::from_shape_fn(shape, |(c, z, y, x)| {
        let texture = ((z * 7919 + y * 104_729 + x * 1_299_709) % 97) as f32;
        let blobs = wave(z + c, 17.0) * wave(y, 23.0) * wave(x, 29.0);
        (400.0 + 300.0 * blobs + texture).max(0.0)
    });
    let raw = Volume { values: raw.into(), has_channels: channels > 0 };
    let target = || {
        let cells = |(_, z, y, x)| {
            let blobs = wave(z, 17.0) * wave(y, 23.0) * wave(x, 29.0);
            if blobs > 0.2 { (1 + z / 9 + 8 * (y / 12) + 128 * (x / 15)) as u16 } else { 0 }
        };
        Volume::plain(Array4::from_shape_fn((1, d, h, w), cells)).into()
    };
    Sample { raw, label: (case.targets > 0).then(target), weight: (case.targets > 1).then(target) }
}

/// A line of /proc/self/status in bytes.
fn memory(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    let kilobytes = found.and_then(|rest| rest.split_whitespace().nth(1)?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// What this thread has computed for so far: what other programs take of a shared
/// machine does not count.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = stat.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    nanoseconds.expect("nanoseconds on a core") * 1e-9
}

fn run(case: &Case, iterations: u64, first: u64, without: Option<&str>) {
    let transformer = transformer(case.transformer, without);
    let input = sample(case);
    let patch = input.raw.channels() * input.raw.size().iter().product::<usize>() * 4;
    let mut seconds = 0.0;
    let mut extra = 0;
    for i in first..first + iterations {
        let key = SampleKey { seed: 0, epoch: 0, sample: i };
        let copy = input.clone();
        let before = memory("VmRSS");
        // Starts the high-water mark anew.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let start = cpu_seconds();
        let output = transformer.apply(copy, key, &STATISTICS).expect("a sample");
        seconds += cpu_seconds() - start;
        std::hint::black_box(&output);
        extra = extra.max(memory("VmHWM").saturating_sub(before));
    }
    println!("{}\t{}\t{:.2}", case.name, seconds / iterations as f64, extra as f64 / patch as f64);
}

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |i: usize, default| {
        words.get(i).map_or(default, |word| word.parse().expect("a number of samples"))
    };
    match words.first() {
        None => CASES.iter().for_each(|case| run(case, 5, 0, None)),
        Some(name) => {
            let case = CASES.iter().find(|case| case.name == name).expect("a case of this name");
            run(case, number(1, 5), number(2, 0), words.get(3).map(String::as_str));
        }
    }
}
