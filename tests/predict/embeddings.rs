//! Embeddings that become regions: clusters as scikit-learn and hdbscan find them, and
//! volumes as pytorch-3dunet's EmbeddingsPredictor stitches them, up to the numbers of the
//! regions.

use std::collections::{HashMap, HashSet};

use hdf5::File;
use ndarray::{Array1, Array2, Array3};
use unet3d::predict::Clustering;

use crate::support::fixture;
use crate::support::lab::Lab;
use crate::support::program::with_config;

/// Checks that two labellings are the same up to the numbers; noise stays noise.
fn same_regions(name: &str, ours: &[i64], theirs: &[i64]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let mut partner: HashMap<i64, i64> = HashMap::from([(-1, -1)]);
    for (place, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let partner = *partner.entry(*theirs).or_insert(*ours);
        assert_eq!(*ours, partner, "{name}: at {place} {theirs} is {ours}, before {partner}");
    }
    let distinct: HashSet<i64> = partner.values().copied().collect();
    assert_eq!(distinct.len(), partner.len(), "{name}: regions were united");
}

#[test]
fn clusters_are_those_of_scikit_learn_and_hdbscan() {
    let file = File::open(fixture("embeddings/clusters.h5")).unwrap();
    let names = file.member_names().unwrap();
    assert_eq!(names.len(), 8);
    for name in names {
        let group = file.group(&name).unwrap();
        let number =
            |key: &str| group.attr(key).ok().map(|value| value.read_scalar::<f64>().unwrap());
        let clustering = match number("bandwidth") {
            Some(bandwidth) => Clustering::MeanShift { bandwidth: bandwidth as f32 },
            None => {
                let size = number("min_cluster_size").unwrap();
                let samples = number("min_samples").unwrap_or(size);
                Clustering::Hdbscan {
                    min_cluster_size: size as usize,
                    min_samples: samples as usize,
                }
            }
        };
        let points: Array2<f32> = group.dataset("points").unwrap().read().unwrap();
        let theirs: Array1<i64> = group.dataset("labels").unwrap().read().unwrap();
        let ours = clustering.labels(points.view()).unwrap();
        let ours: Vec<i64> = ours.into_iter().map(i64::from).collect();
        same_regions(&name, &ours, theirs.as_slice().unwrap());
        // Those of mean shift are numbered alike, too.
        if name.starts_with("meanshift") {
            assert_eq!(ours, theirs.to_vec(), "{name}");
        }
    }
}

#[test]
fn embeddings_that_are_not_finite_are_refused() {
    let points = ndarray::array![[0.0f32], [f32::NAN]];
    for clustering in [
        Clustering::MeanShift { bandwidth: 1.0 },
        Clustering::Hdbscan { min_cluster_size: 2, min_samples: 1 },
    ] {
        let error = clustering.labels(points.view()).unwrap_err().to_string();
        assert!(error.contains("NaN"), "{error}");
    }
}

/// A network that hands its two channels on, as embeddings.
const PREDICT: &str = "
dialect: fork
model_path: '@CHECKPOINT'
model: {name: UNet3D, in_channels: 2, out_channels: 2, f_maps: [2, 4], layer_order: c,
  is_segmentation: false}
predictor: {name: EmbeddingsPredictor, @SETTINGS}
loaders:
  raw_internal_path: raw
  mirror_padding: [0, 0, 0]
  output_dir: '@/out'
  test:
    file_paths: ['@/volume.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [4, 8, 8],
      skip_shape_check: true}
    transformer: {raw: [{name: ToTensor, expand_dims: false}]}
";

#[test]
fn regions_are_stitched_as_pytorch_3dunet_does() {
    let lab = Lab::new();
    std::fs::copy(fixture("embeddings/volume.h5"), lab.path("volume.h5")).unwrap();
    let checkpoint = fixture("recorded/upstream/scores/identity_2.pytorch");
    let theirs = File::open(fixture("embeddings/volume.h5")).unwrap();
    for clustering in ["meanshift", "hdbscan"] {
        let expected = theirs.dataset(clustering).unwrap();
        let mut settings = format!("clustering: {clustering}");
        for key in expected.attr_names().unwrap() {
            let value: f64 = expected.attr(&key).unwrap().read_scalar().unwrap();
            settings += &format!(", {key}: {value}");
        }
        let yaml = PREDICT
            .replace("@CHECKPOINT", &checkpoint.display().to_string())
            .replace("@SETTINGS", &settings);
        let config = lab.config(&format!("{clustering}.yaml"), &yaml);
        let run = with_config("predict", &config, &[]).succeeded();
        assert!(!run.out.contains("unknown"), "{}", run.out);
        let file = lab.path("out/volume_predictions.h5");
        let ours = File::open(&file).unwrap();
        let ours = ours.dataset(&format!("segmentation/{clustering}")).unwrap();
        assert!(ours.dtype().unwrap().is::<i32>(), "{clustering}");
        let ours: Array3<i32> = ours.read().unwrap();
        let expected: Array3<i32> = expected.read().unwrap();
        assert_eq!(ours.dim(), expected.dim());
        let list = |labels: Array3<i32>| labels.iter().map(|label| i64::from(*label)).collect();
        let (ours, expected): (Vec<i64>, Vec<i64>) = (list(ours), list(expected));
        same_regions(clustering, &ours, &expected);
        // Made by other settings: the next one replaces nothing unasked.
        std::fs::remove_file(file).unwrap();
    }
    let yaml = PREDICT
        .replace("@CHECKPOINT", &checkpoint.display().to_string())
        .replace("@SETTINGS", "clustering: meanshift");
    let config = lab.config("incomplete.yaml", &yaml);
    with_config("predict", &config, &[]).failed_with(2, &["bandwidth", "delta_var"]);
}
