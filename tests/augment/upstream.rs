//! Transforms against those recorded from wolny/pytorch-3dunet 1.9.6.

use hdf5::{Dataset, Group};
use ndarray::Array4;
use unet3d::augment::stream::SampleKey;
use unet3d::augment::{StatisticsOf, Transformer};
use unet3d::config::{Dialect, Tree};
use unet3d::volume::{Statistics, Values, Volume};

use crate::support::fixture;

/// Groups that are about patches and no transform; unit tests of `samples` have them.
const OTHERS: [&str; 2] = ["filter_slices", "random_scale"];

/// A recorded array as a volume of its type.
fn volume(dataset: &Dataset) -> Volume {
    let shape = dataset.shape();
    let (channels, [d, h, w]) = match shape[..] {
        [d, h, w] => (None, [d, h, w]),
        [c, d, h, w] => (Some(c), [d, h, w]),
        _ => panic!("{shape:?}"),
    };
    let shape = (channels.unwrap_or(1), d, h, w);
    let dtype = dataset.dtype().unwrap();
    macro_rules! read {
        ($type:ty) => {
            Array4::from_shape_vec(shape, dataset.read_raw::<$type>().unwrap()).unwrap().into()
        };
    }
    let values: Values = if dtype.is::<u8>() {
        read!(u8)
    } else if dtype.is::<u16>() {
        read!(u16)
    } else if dtype.is::<i32>() {
        read!(i32)
    } else if dtype.is::<f32>() {
        read!(f32)
    } else {
        read!(i64)
    };
    Volume { values, has_channels: channels.is_some() }
}

fn transform(config: &str, input: Volume, of: StatisticsOf) -> Volume {
    let tree = Tree::parse(&format!("transformer: {{raw: [{config}]}}"), "recorded", &[]).unwrap();
    tree.set_dialect(Dialect::Upstream);
    let transformer = Transformer::read_raw(tree.root.get("transformer").unwrap())
        .and_then(|transformer| transformer.with_statistics(of))
        .unwrap_or_else(|error| panic!("{config}: {error}"));
    let statistics = Statistics::of(&input).unwrap();
    let key = SampleKey { seed: 1, epoch: 0, sample: 0 };
    transformer.apply_raw(input, key, &statistics).unwrap_or_else(|e| panic!("{config}: {e:#}"))
}

fn compare(name: &str, group: &Group) {
    let config: hdf5::types::VarLenUnicode = group.attr("config").unwrap().read_scalar().unwrap();
    let of = if name.starts_with("global") { StatisticsOf::File } else { StatisticsOf::Patch };
    let found = transform(&config, volume(&group.dataset("input").unwrap()), of);
    let expected = group.dataset("output").unwrap();
    let shape: Vec<usize> = found.shape();
    let without_plane = shape.strip_prefix(&[1]).filter(|_| name.starts_with("rgb"));
    assert_eq!(without_plane.unwrap_or(&shape), expected.shape(), "{name}");
    let expected = expected.read_raw::<f64>().unwrap();
    let found = match found.values {
        Values::F64(array) => array.into_raw_vec_and_offset().0,
        values => {
            Volume { values, has_channels: true }.into_f32().iter().map(|x| f64::from(*x)).collect()
        }
    };
    for (found, wanted) in found.iter().zip(&expected) {
        let error = (found - wanted).abs();
        assert!(error <= 2e-5 * (1.0 + wanted.abs()), "{name}: {found} {wanted}");
    }
}

#[test]
fn transforms_are_those_of_upstream() {
    let path = fixture("recorded/upstream/transforms/transforms.h5");
    let file = hdf5::File::open(path).unwrap();
    let mut compared = 0;
    for name in file.member_names().unwrap() {
        if !OTHERS.iter().any(|other| name.starts_with(other)) {
            compare(&name, &file.group(&name).unwrap());
            compared += 1;
        }
    }
    assert_eq!(compared, 61 - 4);
}

#[test]
fn what_only_the_fork_knows_is_refused() {
    let tree = Tree::parse("{transformer: {raw: [{name: GradualGaussianBlur}]}}", "c", &[]);
    let tree = tree.unwrap();
    tree.set_dialect(Dialect::Upstream);
    let error = Transformer::read_raw(tree.root.get("transformer").unwrap()).err().unwrap();
    assert!(error.to_string().contains("there is no transform `GradualGaussianBlur`"), "{error}");
}
