//! Transforms without random numbers against the libraries that define them:
//! scikit-image, scipy and numpy. `tests/fixtures/make_augment.py` makes the cases.

use hdf5::types::{FloatSize, IntSize, TypeDescriptor, VarLenUnicode};
use ndarray::{ArrayD, Axis};
use unet3d::augment::stream::SampleKey;
use unet3d::augment::{SampleShape, Transformer};
use unet3d::config::Tree;
use unet3d::volume::{Element, Statistics, Values, Volume, VolumeShape};

fn volume(dataset: &hdf5::Dataset) -> Volume {
    fn four<T: Clone>(array: ArrayD<T>) -> ndarray::Array4<T> {
        let array = if array.ndim() == 3 { array.insert_axis(Axis(0)) } else { array };
        array.into_dimensionality().unwrap()
    }
    let values: Values = match dataset.dtype().unwrap().to_descriptor().unwrap() {
        TypeDescriptor::Unsigned(IntSize::U1) => four(dataset.read_dyn::<u8>().unwrap()).into(),
        TypeDescriptor::Unsigned(IntSize::U2) => four(dataset.read_dyn::<u16>().unwrap()).into(),
        TypeDescriptor::Integer(IntSize::U4) => four(dataset.read_dyn::<i32>().unwrap()).into(),
        TypeDescriptor::Integer(IntSize::U8) => four(dataset.read_dyn::<i64>().unwrap()).into(),
        TypeDescriptor::Float(FloatSize::U4) => four(dataset.read_dyn::<f32>().unwrap()).into(),
        TypeDescriptor::Float(FloatSize::U8) => four(dataset.read_dyn::<f64>().unwrap()).into(),
        other => panic!("{}: {other:?}", dataset.name()),
    };
    Volume { values, has_channels: dataset.ndim() == 4 }
}

fn text(group: &hdf5::Group, name: &str) -> String {
    group.attr(name).unwrap().read_scalar::<VarLenUnicode>().unwrap().to_string()
}

fn numbers(volume: &Volume) -> Vec<f64> {
    match volume.clone().cast(Element::F64).values {
        Values::F64(array) => array.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn results_are_those_of_the_libraries() {
    let file = hdf5::File::open(crate::support::fixture("augment/cases.h5")).unwrap();
    let statistics = Statistics { min: 0.0, max: 1.0, mean: 0.0, std: 1.0 };
    let key = SampleKey { seed: 0, epoch: 0, sample: 0 };
    let mut count = 0;
    let mut failures = Vec::new();
    for name in file.member_names().unwrap() {
        if name == "inputs" {
            continue;
        }
        count += 1;
        let group = file.group(&name).unwrap();
        let (transform, input_name) = (text(&group, "transform"), text(&group, "input"));
        let case = format!("{transform} on {input_name}");
        let input = volume(&file.dataset(&format!("inputs/{input_name}")).unwrap());
        let tree = Tree::parse(&format!("raw:\n  - {transform}"), &case, &[]).unwrap();
        let transformer = Transformer::read(&tree.root).unwrap();
        assert_eq!(tree.warnings(), [""; 0], "{case}");

        let declared = transformer
            .output_shape(SampleShape {
                raw: VolumeShape {
                    channels: input.has_channels.then(|| input.channels()),
                    element: input.element(),
                    sizes: vec![input.size()],
                },
                label: None,
                weight: None,
            })
            .unwrap()
            .raw;
        let output = transformer.apply_raw(input, key, &statistics).unwrap();
        assert_eq!(declared.channels, output.has_channels.then(|| output.channels()), "{case}");
        assert_eq!(declared.element, output.element(), "{case}");
        assert_eq!(declared.sizes, [output.size()], "{case}");

        let wanted = group.dataset("output").unwrap();
        assert_eq!(output.shape(), wanted.shape(), "{case}");
        let wanted: Vec<f64> = wanted.read_dyn::<f64>().unwrap().into_iter().collect();
        // The precision of float32; labels and masks are exact.
        let close = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-6 * b.abs();
        let output = numbers(&output);
        let wrong = output.iter().zip(&wanted).filter(|(a, b)| !close(**a, **b)).count();
        if wrong > 0 {
            failures.push(format!("{case}: {wrong} of {} voxels differ", wanted.len()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 150, "{count} cases");
}
