//! Predictions against those recorded from the Python program: halo, mirror
//! padding, odd sizes, 3D, 4D and 2D volumes, zip and pre-1.6 checkpoints.

use std::fs;

use crate::support::fixture;
use crate::support::program::with_config;
use hdf5::File;
use ndarray::{Array4, s};

const CASES: [&str; 6] = [
    "batchnorm_elu_channel",
    "multichannel_crg_mirror",
    "odd_shapes_fmaps_list",
    "residual_regression",
    "segnet_like",
    "unet2d",
];

#[test]
fn predictions_are_those_of_the_reference() {
    for case in CASES {
        let recorded = fixture("recorded/predict").join(case);
        let directory = tempfile::tempdir().unwrap();
        for name in ["vol.h5", "ckpt.pytorch"] {
            fs::copy(recorded.join(name), directory.path().join(name)).unwrap();
        }
        let config = fs::read_to_string(recorded.join("config.yaml")).unwrap();
        let place = directory.path().display().to_string();
        fs::write(directory.path().join("config.yaml"), config.replace("@DIR@", &place)).unwrap();

        let run = with_config("predict", &directory.path().join("config.yaml"), &[]).succeeded();
        assert!(run.out.contains("vol_predictions.h5"), "{}", run.out);

        let ours = File::open(directory.path().join("vol_predictions.h5")).unwrap();
        let ours = ours.dataset("predictions").unwrap();
        let file = File::open(recorded.join("expected.h5")).unwrap();
        let shape: Vec<usize> = file.attr("shape").unwrap().read_raw().unwrap();
        assert_eq!(ours.shape(), shape, "{case}");
        assert!(ours.dtype().unwrap().is::<f32>());
        let ours: Array4<f32> = ours.read().unwrap();
        let expected: Array4<f32> = file.dataset("predictions").unwrap().read().unwrap();
        let thin = ours.slice(s![.., ..;2, ..;2, ..;2]);
        assert_eq!(thin.dim(), expected.dim());
        let error = thin.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= 1e-4, "{case}: {error}");
        assert!(ours.iter().all(|value| value.is_finite()), "{case}");
    }
}
