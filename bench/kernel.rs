//! Times of the transforms that resample or blur, each with probability 1.
//!
//! `cargo bench --bench kernel -- CASE ROUNDS` prints the milliseconds of CPU time of each
//! round of a case; if ROUNDS is `peak`, the extra memory in patches. Without arguments it
//! prints the names of the cases. `kernel.py` runs this program and the Python libraries in
//! turn.

use std::time::{Duration, Instant};

use ndarray::Array4;
use unet3d::augment::Transformer;
use unet3d::augment::stream::SampleKey;
use unet3d::config::Tree;
use unet3d::volume::{Sample, Statistics, Volume};

struct Case {
    name: &'static str,
    /// Channels of raw (0: no channel axis), depth, height, width.
    shape: [usize; 4],
    label: bool,
    weight: bool,
    raw_step: &'static str,
    label_step: &'static str,
}

const ITK: &str = "name: RandomITKDeformation, shear_exec_prob: 1, scale_exec_prob: 1, \
                   xy_rotate_exec_prob: 1, xz_rotate_exec_prob: 1, yz_rotate_exec_prob: 1, \
                   translate_exec_prob: 1, bspline_exec_prob: 1";

fn cases() -> Vec<Case> {
    let elastic = "name: ElasticDeformation, execution_probability: 1";
    let rotate = "name: RandomRotate, execution_probability: 1, angle_spectrum: 15";
    let case = |name, shape, label, weight, raw_step: String, label_step: String| Case {
        name,
        shape,
        label,
        weight,
        raw_step: raw_step.leak(),
        label_step: label_step.leak(),
    };
    let own = |step: &str, keys: &str| format!("{step}, {keys}");
    vec![
        case(
            "elastic3",
            [0, 64, 128, 128],
            true,
            false,
            own(elastic, "spline_order: 3"),
            own(elastic, "spline_order: 0"),
        ),
        case(
            "itk",
            [0, 51, 96, 210],
            true,
            true,
            ITK.into(),
            own(ITK, "interpolator: nn, cval: 0"),
        ),
        case("itk_4_channels", [4, 64, 120, 284], false, false, ITK.into(), String::new()),
        case(
            "gradual_blur",
            [4, 64, 120, 284],
            false,
            false,
            "name: GradualGaussianBlur, execution_probability: 1".into(),
            String::new(),
        ),
        case(
            "rotate_xy",
            [0, 64, 128, 128],
            true,
            false,
            own(rotate, "axes: [[2, 1]]"),
            own(rotate, "axes: [[2, 1]]"),
        ),
        case(
            "rotate_xy_cubic",
            [0, 64, 128, 128],
            true,
            false,
            own(rotate, "axes: [[2, 1]], order: 3"),
            own(rotate, "axes: [[2, 1]]"),
        ),
        case(
            "affine",
            [0, 64, 128, 128],
            true,
            false,
            "name: RandomAffineTransform, shear_exec_prob: 1, rotate_exec_prob: 1, \
             scale_exec_prob: 1, translate_exec_prob: 1"
                .into(),
            "name: RandomAffineTransform, shear_exec_prob: 1, rotate_exec_prob: 1, \
             scale_exec_prob: 1, translate_exec_prob: 1, order: 0, cval: 0"
                .into(),
        ),
        case(
            "bspline",
            [0, 51, 96, 210],
            true,
            false,
            "name: BSplineDeformation, execution_probability: 1, spacing: 40, sigma: 5".into(),
            "name: BSplineDeformation, execution_probability: 1, spacing: 40, sigma: 5, \
             interpolator: nn, cval: 0"
                .into(),
        ),
    ]
}

fn transformer(case: &Case) -> Transformer {
    let mut text = format!("transformer:\n  raw: [{{{}}}]\n", case.raw_step);
    for (data_set, present) in [("label", case.label), ("weight", case.weight)] {
        if present {
            text.push_str(&format!("  {data_set}: [{{{}}}]\n", case.label_step));
        }
    }
    let tree = Tree::parse(&text, "bench", &[]).expect("the text is YAML");
    Transformer::read(tree.root.get("transformer").expect("it has this key"))
        .expect("a valid transformer")
}

/// Structured values: what they are does not change the time.
fn sample(case: &Case) -> Sample {
    let [channels, depth, height, width] = case.shape;
    let raw = Array4::from_shape_fn((channels.max(1), depth, height, width), |(c, z, y, x)| {
        ((c + 3 * z + 5 * y + 7 * x) % 97) as f32 / 97.0 + (x * y) as f32 * 1e-5
    });
    let label = Array4::from_shape_fn((1, depth, height, width), |(_, z, y, x)| {
        (z / 9 + y / 13 + x / 11) as u16
    });
    Sample {
        raw: if channels > 0 { Volume::channelled(raw) } else { Volume::plain(raw) },
        label: case.label.then(|| Volume::plain(label.clone()).into()),
        weight: case.weight.then(|| Volume::plain(label.mapv(f32::from)).into()),
    }
}

/// Time this thread has been running, which other programs on the machine do not
/// lengthen as they do the time on the clock. The clock where there is no such
/// count.
fn cpu_time(start: Instant) -> Duration {
    let count = || std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    count()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Time of one pass over memory far larger than the caches: read and write.
fn memory_bandwidth() {
    let from = vec![1f32; 64 << 20];
    let mut to = vec![0f32; 64 << 20];
    let zero = Instant::now();
    for _ in 0..5 {
        let before = cpu_time(zero);
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        println!(
            "{:.2} GB/s",
            2.0 * 4.0 * (64 << 20) as f64 / (cpu_time(zero) - before).as_secs_f64() / 1e9
        );
    }
}

/// A line of `/proc/self/status`, in bytes; 0 where there is no such file.
fn status(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    number.unwrap_or_default() * 1024.0
}

/// The most memory one sample needs beside itself, in units of its raw patch as
/// float32; its own result, which takes the place of the sample, included.
fn peak(transformer: &Transformer, sample: Sample, statistics: &Statistics) {
    let patch = 4.0 * (sample.raw.channels() * sample.raw.size().iter().product::<usize>()) as f64;
    let key = SampleKey { seed: 7, epoch: 0, sample: 0 };
    let given = sample.clone();
    // Sets the high-water mark back to what is in use.
    let reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = status("VmRSS:");
    assert!(transformer.apply(given, key, statistics).is_ok());
    if reset {
        println!("{:.2}", (status("VmHWM:") - before) / patch);
    }
}

fn main() {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let name = arguments.first().map(String::as_str);
    if name == Some("memory") {
        return memory_bandwidth();
    }
    let Some(case) = cases().into_iter().find(|case| Some(case.name) == name) else {
        for case in cases() {
            println!("{}", case.name);
        }
        return;
    };
    let rounds: u64 = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let transformer = transformer(&case);
    let sample = sample(&case);
    let statistics = Statistics { min: -1.0, max: 1.0, mean: 0.0, std: 1.0 };
    if arguments.get(1).is_some_and(|word| word == "peak") {
        return peak(&transformer, sample, &statistics);
    }
    let zero = Instant::now();
    for round in 0..rounds {
        let sample = sample.clone();
        let key = SampleKey { seed: 7, epoch: 0, sample: round };
        let before = cpu_time(zero);
        let result =
            transformer.apply(sample, key, &statistics).expect("the sample is transformed");
        let time = cpu_time(zero) - before;
        std::hint::black_box(result);
        println!("{:.3}", time.as_secs_f64() * 1e3);
    }
}
