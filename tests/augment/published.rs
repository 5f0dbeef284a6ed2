//! The published configurations: each list is read without complaint, and in every
//! combination of its geometric transforms raw, label and weight stay aligned.

use std::path::{Path, PathBuf};

use ndarray::Array4;
use unet3d::augment::stream::SampleKey;
use unet3d::augment::{IndexMap, SampleShape, TRANSFORMS, TransformClass, Transformer};
use unet3d::config::{Node, Tree};
use unet3d::volume::{Element, Sample, Statistics, Values, Volume, VolumeShape, Voxels};

const STATISTICS: Statistics = Statistics { min: 0.0, max: 100.0, mean: 20.0, std: 40.0 };

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["AutoCellLabeler_parameters", "SegmentationNet", "resources"] {
        for file in std::fs::read_dir(root.join(directory)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn transformer(tree: &Tree, phase: &str) -> Option<Node> {
    tree.root.at(&format!("loaders.{phase}.transformer")).cloned()
}

/// The (list, position, name) of every transform of a section.
fn steps(section: &Node) -> Vec<(&'static str, usize, String)> {
    let mut steps = Vec::new();
    for list in ["raw", "label", "weight"] {
        for (i, item) in
            section.get(list).map_or(&[][..], |l| l.items().unwrap()).iter().enumerate()
        {
            steps.push((list, i, item.get("name").unwrap().text().unwrap().to_string()));
        }
    }
    steps
}

/// A figure without symmetry: a ball with a rod to one side and a plate to another.
fn figure([d, h, w]: [usize; 3]) -> Array4<u8> {
    Array4::from_shape_fn((1, d, h, w), |(_, z, y, x)| {
        let place = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
        let (z, y, x) = (place(z, d), place(y, h), place(x, w));
        let ball = (z - 0.42).powi(2) + (y - 0.4).powi(2) + (x - 0.42).powi(2) < 0.05;
        let rod = (0.3..0.5).contains(&z) && (0.3..0.5).contains(&y) && (0.4..0.9).contains(&x);
        let plate = (0.4..0.85).contains(&z) && (0.2..0.65).contains(&y) && (0.2..0.4).contains(&x);
        u8::from(ball || rod || plate)
    })
}

fn sample(size: [usize; 3], channels: Option<usize>, weight: bool) -> Sample {
    let figure = figure(size);
    let label = Volume::plain(figure.clone());
    let bright = figure.mapv(|x| 100.0 * f32::from(x));
    let raw = match channels {
        None => Volume::plain(bright),
        Some(count) => {
            let channels = vec![bright.view(); count];
            Volume::channelled(ndarray::concatenate(ndarray::Axis(0), &channels).unwrap())
        }
    };
    Sample { raw, weight: weight.then(|| label.clone().into()), label: Some(label.into()) }
}

/// Dice of the bright voxels of a channel of `raw` and the marked ones of `label`.
fn dice(raw: &Volume, channel: usize, label: &Volume) -> f64 {
    let raw = raw.clone().into_f32();
    let label = label.clone().into_f32();
    let raw = raw.index_axis(ndarray::Axis(0), channel);
    let label = label.index_axis(ndarray::Axis(0), 0);
    assert_eq!(raw.dim(), label.dim());
    let (mut both, mut sum) = (0, 0);
    for (r, l) in raw.iter().zip(label) {
        let (r, l) = (*r > 50.0, *l > 0.5);
        both += usize::from(r && l);
        sum += usize::from(r) + usize::from(l);
    }
    // Everything has moved out of the volume: nothing to compare.
    if sum < 50 { 1.0 } else { 2.0 * both as f64 / sum as f64 }
}

#[test]
fn the_figure_tells_all_orientations_apart() {
    let size = [40; 3];
    let raw = sample(size, None, false).raw;
    let label = Volume::plain(figure(size));
    assert_eq!(dice(&raw, 0, &label), 1.0);
    let planes = [[0, 1], [1, 2], [0, 2]];
    for plane in planes {
        for map in [IndexMap::IDENTITY.turned(plane), IndexMap::IDENTITY.flipped(plane[0])] {
            let moved = map.apply(label.clone());
            assert!(dice(&raw, 0, &moved) < 0.85, "{map:?}: {}", dice(&raw, 0, &moved));
        }
    }
}

#[test]
fn published_lists_are_read_without_complaint() {
    let files = files();
    assert_eq!(files.len(), 28, "as many as were published");
    let mut sections = 0;
    for file in files {
        let tree = Tree::read(&file, &[]).unwrap();
        for phase in ["train", "val", "test"] {
            let Some(section) = transformer(&tree, phase) else { continue };
            Transformer::read(&section).unwrap_or_else(|error| panic!("{error}"));
            sections += 1;
        }
        // SegmentationNet's lists carry keys of other transforms.
        for warning in tree.warnings() {
            let known = ["rotate_exec_prob", "sigma_rotate", "spacing", "sigma", "interpolator"];
            let harmless = warning.contains("unknown key")
                && known.iter().any(|key| warning.contains(&format!(".{key}`")));
            assert!(harmless, "{warning}");
        }
    }
    assert!(sections >= 40, "{sections}");
}

#[test]
fn raw_label_and_weight_stay_aligned_under_every_combination() {
    let mut combinations = 0;
    let mut acted = 0;
    for file in files() {
        let plain = Tree::read(&file, &[]).unwrap();
        let Some(section) = transformer(&plain, "train") else { continue };
        let steps = steps(&section);
        let geometric =
            |name: &str| TRANSFORMS.fork.find(name).unwrap().class == TransformClass::Geometric;
        let mut names: Vec<&str> =
            steps.iter().map(|(_, _, name)| name.as_str()).filter(|name| geometric(name)).collect();
        names.sort_unstable();
        names.dedup();
        // Elastic deformations of the published size tear small figures apart.
        let size = if names.contains(&"ElasticDeformation") { [24, 72, 72] } else { [26, 40, 44] };
        let many = file.to_string_lossy().contains("AutoCellLabeler")
            || file.to_string_lossy().contains("4d");
        let input = sample(size, many.then_some(2), section.get("weight").is_some());
        for subset in 1..1u32 << names.len() {
            let chosen = |name: &str| {
                names.iter().position(|other| *other == name).is_some_and(|i| subset >> i & 1 == 1)
            };
            // The chosen transforms have probability 1, all others probability 0.
            let mut overrides = Vec::new();
            for (list, i, name) in &steps {
                let at = format!("loaders.train.transformer.{list}.{i}");
                if !chosen(name) {
                    overrides.push(format!("{at}.name=Identity"));
                    continue;
                }
                for parameter in TRANSFORMS.fork.find(name).unwrap().parameters {
                    if parameter.name.ends_with("exec_prob")
                        || parameter.name == "execution_probability"
                    {
                        overrides.push(format!("{at}.{}=1", parameter.name));
                    }
                }
            }
            let tree = Tree::read(&file, &overrides).unwrap();
            let transformer = Transformer::read(&transformer(&tree, "train").unwrap()).unwrap();
            for i in 0..6 {
                let key = SampleKey { seed: 11, epoch: 0, sample: i };
                let out = transformer.apply(input.clone(), key, &STATISTICS).unwrap();
                let label = out.label.unwrap().expand();
                let place = format!("{} with {overrides:?}, sample {i}", file.display());
                for channel in 0..out.raw.channels() {
                    let dice = dice(&out.raw, channel, &label);
                    assert!(dice > 0.9, "{place}, channel {channel}: Dice {dice}");
                }
                if let Some(weight) = out.weight.map(Voxels::expand) {
                    assert_eq!(weight, label, "{place}");
                }
                acted += u32::from(Some(Voxels::Dense(label)) != input.label);
            }
            combinations += 1;
        }
    }
    assert!(combinations > 90, "{combinations}");
    assert!(acted > 5 * combinations, "{acted} of {}", 6 * combinations);
}

#[test]
fn whole_pipelines_give_what_their_output_shapes_say() {
    for file in files() {
        let tree = Tree::read(&file, &[]).unwrap();
        for phase in ["train", "val"] {
            let Some(section) = transformer(&tree, phase) else { continue };
            let transformer = Transformer::read(&section).unwrap();
            let size = [16, 20, 24];
            let many = file.to_string_lossy().contains("AutoCellLabeler");
            let input = sample(size, many.then_some(4), section.get("weight").is_some());
            let of = |volume: &Volume| VolumeShape {
                channels: volume.has_channels.then(|| volume.channels()),
                element: volume.element(),
                sizes: vec![volume.size()],
            };
            let declared = transformer
                .output_shape(SampleShape {
                    raw: of(&input.raw),
                    label: input.label.clone().map(|label| of(&label.expand())),
                    weight: input.weight.clone().map(|weight| of(&weight.expand())),
                })
                .unwrap();
            assert_eq!(declared.raw.element, Element::F32);
            for i in 0..12 {
                let key = SampleKey { seed: 5, epoch: 1, sample: i };
                let out = transformer.apply(input.clone(), key, &STATISTICS).unwrap();
                let (label, weight) =
                    (out.label.map(Voxels::expand), out.weight.map(Voxels::expand));
                let pairs = [
                    (Some(&declared.raw), Some(&out.raw)),
                    (declared.label.as_ref(), label.as_ref()),
                    (declared.weight.as_ref(), weight.as_ref()),
                ];
                for (declared, volume) in pairs {
                    let (Some(declared), Some(volume)) = (declared, volume) else { continue };
                    assert_eq!(declared.channels, of(volume).channels, "{}", file.display());
                    assert_eq!(declared.element, volume.element(), "{}", file.display());
                    assert!(declared.sizes.contains(&volume.size()), "{}", file.display());
                }
                let Values::F32(raw) = &out.raw.values else { panic!("float32") };
                assert!(raw.iter().all(|x| x.is_finite()));
            }
        }
    }
}
