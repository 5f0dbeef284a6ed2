//! Training files against weights made with numpy, from images written by
//! SimpleITK, tifffile and h5py; see `tests/fixtures/make_training_data.py`.

use std::path::{Path, PathBuf};

use ndarray::Array4;
use unet3d::training_data::{Weighting, read_image};
use unet3d::volume::{InputFile, Volume};

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures/training_data").join(name)
}

fn dataset(path: &Path, name: &str) -> Volume {
    InputFile::open(path).unwrap().dataset(name).unwrap().read().unwrap()
}

fn expected(name: &str) -> Volume {
    dataset(&fixture("expected.h5"), name)
}

#[test]
fn every_format_gives_the_same_volume() {
    let raw = expected("raw");
    for name in ["1_img.nrrd", "2_img.nhdr", "3_img.tif"] {
        assert_eq!(read_image(&fixture(name), "raw").unwrap(), raw, "{name}");
    }
    let floats = read_image(&fixture("4_img.tif"), "raw").unwrap();
    assert_eq!(floats.element().name(), "float32");
    assert_eq!(floats.into_f32(), raw.into_f32());
    let label = expected("label");
    for name in ["1_label.nrrd", "3_label.tif"] {
        let found = read_image(&fixture(name), "label").unwrap();
        assert_eq!(found.cast(label.element()), label, "{name}");
    }
}

#[test]
fn weights_follow_their_definition() {
    let painted = expected("label").cast(unet3d::volume::Element::U8);
    let unet3d::volume::Values::U8(painted) = painted.values else { unreachable!() };
    let painted = painted.index_axis_move(ndarray::Axis(0), 0);
    let defaults = Weighting::default();
    for (name, weighting) in [
        ("weight", defaults),
        ("weight_notebook", Weighting { foreground: 5.0, gap: 20.0, scale_gaps: true, ..defaults }),
        ("weight_isotropic", Weighting { decay_xy: 0.54, decay_z: 0.54, ..defaults }),
    ] {
        let found = weighting.apply(&painted).unwrap().weight;
        let expected: Array4<f32> = expected(name).into_f32();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-6 * expected, "{name}: {found} {expected}");
        }
    }
}
