//! Compact forms of labels and weights: recognised in files and expanded again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array4, s};
use proptest::prelude::*;
use unet3d::config::Tree;
use unet3d::format::h5::{H5File, H5Reader};
use unet3d::samples::{Loaders, SampleSet, VolumePatches};
use unet3d::volume::{Element, OneHot, Palette, Source, Volume, VolumeReader, Voxels, Window};

/// Cells in a volume: a class and a column of weights for each, none for the last.
fn cells(shape: [usize; 4], count: usize, seed: usize) -> Array4<u16> {
    let [_, d, h, w] = shape;
    Array4::from_shape_fn((1, d, h, w), |(_, z, y, x)| {
        ((z / 2 + 3 * (y / 3) + 5 * (x / 4) + seed) % count) as u16
    })
}

fn label(shape: [usize; 4], seed: usize) -> Array4<u8> {
    let cells = cells(shape, shape[0] + 1, seed);
    let [c, d, h, w] = shape;
    Array4::from_shape_fn((c, d, h, w), |(c, z, y, x)| u8::from(cells[[0, z, y, x]] == c as u16))
}

fn weight(shape: [usize; 4], seed: usize) -> Array4<i64> {
    let cells = cells(shape, shape[0] + 1, seed);
    let [c, d, h, w] = shape;
    Array4::from_shape_fn((c, d, h, w), |(c, z, y, x)| {
        let cell = i64::from(cells[[0, z, y, x]]);
        (cell * 7 + 3) % (c as i64 + 2) + if cell == c as i64 { 1 << 40 } else { 0 }
    })
}

fn write<T: hdf5::H5Type>(path: &Path, name: &str, data: &Array4<T>, chunk: Option<[usize; 4]>) {
    let file = if path.exists() { hdf5::File::open_rw(path) } else { hdf5::File::create(path) };
    let file = file.unwrap();
    let builder = file.new_dataset_builder();
    match chunk {
        Some(chunk) => builder.chunk(chunk).deflate(4).with_data(data).create(name).unwrap(),
        None => builder.with_data(data).create(name).unwrap(),
    };
}

/// A data set and the folder of its file, which goes with it.
struct OnFile(H5Reader, #[expect(dead_code)] tempfile::TempDir);

impl std::ops::Deref for OnFile {
    type Target = H5Reader;

    fn deref(&self) -> &H5Reader {
        &self.0
    }
}

fn dataset<T: hdf5::H5Type>(data: &Array4<T>, chunk: Option<[usize; 4]>) -> OnFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume.h5");
    write(&path, "v", data, chunk);
    OnFile(H5File::open(&path).unwrap().dataset("v").unwrap(), folder)
}

/// The bits of a volume, which tell NaN and both zeros apart.
fn bits(volume: &Volume) -> Vec<u64> {
    let volume = volume.clone().cast(Element::F64);
    match volume.values {
        unet3d::volume::Values::F64(a) => a.iter().map(|x| x.to_bits()).collect(),
        _ => unreachable!(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn expanding_gives_the_file_back(
        shape in (1usize..9, 1usize..7, 1usize..12, 1usize..14),
        chunk in (1usize..5, 1usize..4, 1usize..7, 1usize..7),
        chunked in any::<bool>(),
        seed in 0usize..100,
    ) {
        let shape = [shape.0, shape.1, shape.2, shape.3];
        let chunk = [
            chunk.0.min(shape[0]), chunk.1.min(shape[1]), chunk.2.min(shape[2]), chunk.3.min(shape[3]),
        ];
        let chunk = chunked.then_some(chunk);
        let (label, weight) = (label(shape, seed), weight(shape, seed));
        let one_hot = dataset(&label, chunk).read_one_hot().unwrap().unwrap();
        prop_assert_eq!(one_hot.expand(), Volume::channelled(label.clone()));
        let palette = dataset(&weight, chunk).read_palette().unwrap().unwrap();
        prop_assert!(palette.columns() <= shape[0] + 1);
        prop_assert_eq!(palette.expand(), Volume::channelled(weight.clone()));
        // A label is a palette too, of as many columns as it has classes.
        let as_palette = dataset(&label, chunk).read_palette().unwrap().unwrap();
        prop_assert_eq!(as_palette.expand(), Volume::channelled(label.clone()));
        let window = Window::new(
            [shape[1] / 2, 0, shape[3] / 3],
            [shape[1] - shape[1] / 2, shape[2], 1],
        );
        let part = Volume::channelled(label).window(&window);
        prop_assert_eq!(one_hot.window(&window).expand(), part);
        let part = Volume::channelled(weight).window(&window);
        prop_assert_eq!(palette.window(&window).expand(), part);
    }
}

#[test]
fn every_bit_of_a_float_counts() {
    let mut data = Array4::<f32>::zeros((3, 2, 2, 4));
    data[[0, 0, 0, 1]] = -0.0;
    data[[1, 0, 1, 2]] = f32::NAN;
    data[[1, 1, 1, 2]] = f32::from_bits(0x7fc0_1234);
    data[[2, 1, 0, 3]] = f32::MIN_POSITIVE / 3.0;
    let palette = dataset(&data, None).read_palette().unwrap().unwrap();
    assert_eq!(palette.columns(), 5);
    let Volume { values: unet3d::volume::Values::F32(found), .. } = palette.expand() else {
        panic!("the type changed")
    };
    assert!(found.iter().zip(&data).all(|(a, b)| a.to_bits() == b.to_bits()));
    // A negative zero is not the zero that expanding a label would give back.
    assert_eq!(dataset(&data, None).read_one_hot().unwrap(), None);
}

#[test]
fn columns_are_numbered_as_they_come() {
    let data = weight([5, 4, 9, 8], 2);
    let of = |chunk| dataset(&data, chunk).read_palette().unwrap().unwrap();
    let whole = of(None);
    assert_eq!(whole, of(Some([2, 1, 4, 3])));
    let mut seen = 0;
    for &index in &whole.indices {
        assert!(index <= seen);
        seen = seen.max(index + 1);
    }
    assert_eq!(usize::from(seen), whole.columns());
}

#[test]
fn what_is_not_one_hot_stays_dense() {
    let mut data = label([4, 3, 6, 8], 0);
    let chunk = Some([3, 2, 4, 4]);
    assert!(dataset(&data, chunk).read_one_hot().unwrap().is_some());
    let class = (0..4).find(|&c| data[[c, 2, 5, 7]] == 0).unwrap();
    data[[class, 2, 5, 7]] = 2;
    assert_eq!(dataset(&data, chunk).read_one_hot().unwrap(), None);
    data.slice_mut(s![.., 2, 5, 7]).fill(1);
    assert_eq!(dataset(&data, chunk).read_one_hot().unwrap(), None);
    data.slice_mut(s![.., 2, 5, 7]).fill(0);
    let found = dataset(&data, chunk).read_one_hot().unwrap().unwrap();
    assert_eq!(found.indices[[0, 2, 5, 7]], OneHot::NONE);
}

#[test]
fn too_many_columns_have_no_palette() {
    let number = |z: usize, y: usize, x: usize| (z * 256 + y) * 128 + x;
    let columns = |count: usize| {
        Array4::from_shape_fn((2, 2, 256, 128), |(c, z, y, x)| {
            let number = (number(z, y, x) % count) as i32;
            if c == 0 { number / 251 } else { number % 251 }
        })
    };
    let found = dataset(&columns(Palette::LIMIT), None).read_palette().unwrap().unwrap();
    assert_eq!(found.columns(), Palette::LIMIT);
    assert_eq!(found.expand(), Volume::channelled(columns(Palette::LIMIT)));
    assert_eq!(dataset(&columns(Palette::LIMIT + 1), None).read_palette().unwrap(), None);
}

#[test]
fn a_data_set_gives_the_same_samples_from_either_form() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("cells.h5");
    let shape = [9, 6, 12, 14];
    write(&path, "raw", &weight([2, 6, 12, 14], 1).mapv(|w| w as f32 / 1e9), None);
    write(&path, "label", &label(shape, 3), Some([4, 2, 5, 6]));
    write(&path, "weight", &weight(shape, 3), Some([4, 2, 5, 6]));
    let open = |dataset: &str| {
        let text = format!(
            "loaders:
  dataset: {dataset}
  weight_internal_path: weight
  train:
    file_paths: ['{}']
    slice_builder: {{name: PixelWiseWeightedSliceBuilder, patch_shape: [9, 4, 6, 6], \
             num_patches: 6, skip_shape_check: true}}
    transformer:
      raw: [{{name: RandomFlip}}]
      label: [{{name: RandomFlip}}]
      weight: [{{name: RandomFlip}}]
",
            path.display()
        );
        let tree = Tree::parse(&text, "train.yaml", &[]).unwrap();
        let loaders = Loaders::read(tree.root.get("loaders").unwrap()).unwrap();
        VolumePatches::open(&loaders, &loaders.training_phase("train").unwrap(), 4).unwrap()
    };
    let (compact, dense) = (open("StandardHDF5Dataset"), open("LazyHDF5Dataset"));
    // Raw, and two bytes for each voxel of label and weight.
    let held = compact.bytes_held();
    assert!(held < 6 * 12 * 14 * (8 + 2 + 2) + 10 * 9 * 8 + 1, "{held}");
    for index in 0..compact.len() {
        assert_eq!(compact.origin(0, index), dense.origin(0, index));
        let (compact, dense) = (compact.sample(0, index).unwrap(), dense.sample(0, index).unwrap());
        assert!(matches!(compact.label, Some(Voxels::OneHot(_))));
        assert!(matches!(compact.weight, Some(Voxels::Palette(_))));
        let expand = |volume: Option<Voxels>| volume.map(Voxels::expand);
        assert_eq!(compact.raw, dense.raw);
        assert_eq!(expand(compact.label), expand(dense.label));
        assert_eq!(expand(compact.weight), expand(dense.weight));
    }
    let label = H5File::open(&path).unwrap().dataset("label").unwrap();
    let source = Source::from(Voxels::OneHot(label.read_one_hot().unwrap().unwrap()));
    assert_eq!(source.shape(), label.shape());
    let mirror = unet3d::volume::Mirror { pad: [2, 3, 1] };
    let window = Window::new([0, 1, 2], [10, 16, 13]);
    let on_file = Source::File(Arc::new(label)).mirrored(&window, &mirror).unwrap();
    assert_eq!(bits(&source.mirrored(&window, &mirror).unwrap()), bits(&on_file));
}
