//! Data sets and the loader, on files that the tests write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use ndarray::{Array3, Array4};
use tempfile::TempDir;
use unet3d::config::{ConfigError, Tree};
use unet3d::samples::{
    ImagePairs, LabelCheck, Loader, Loaders, Position, SampleSet, VolumePatches,
};
use unet3d::volume::{Sample, Values, Volume};

/// A folder with volumes (12, 16, 20): raw of two channels, label, weight.
struct Data {
    folder: TempDir,
}

fn raw(seed: usize) -> Array4<f32> {
    Array4::from_shape_fn((2, 12, 16, 20), |(c, z, y, x)| {
        ((seed * 31 + c * 17 + z * 13 + y * 7 + x * 3) % 29) as f32
    })
}

fn label() -> Array3<u8> {
    Array3::from_shape_fn((12, 16, 20), |(z, y, x)| ((z / 4 + y / 8 + x / 10) % 3) as u8)
}

impl Data {
    fn new(files: usize) -> Data {
        let data = Data { folder: tempfile::tempdir().unwrap() };
        for number in 0..files {
            let weight = label().mapv(|label| f32::from(label) + 0.5);
            data.write(&format!("v{number}.h5"), &raw(number), &label(), Some(&weight));
        }
        data
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(
        &self,
        name: &str,
        raw: &Array4<f32>,
        label: &Array3<u8>,
        weight: Option<&Array3<f32>>,
    ) {
        let file = hdf5::File::create(self.path(name)).unwrap();
        let chunked = |builder: hdf5::DatasetBuilder| builder.shuffle().deflate(4);
        chunked(file.new_dataset_builder())
            .chunk((1, 5, 6, 7))
            .with_data(raw)
            .create("raw")
            .unwrap();
        chunked(file.new_dataset_builder())
            .chunk((5, 6, 7))
            .with_data(label)
            .create("label")
            .unwrap();
        if let Some(weight) = weight {
            file.new_dataset_builder().with_data(weight).create("weight").unwrap();
        }
    }

    fn config(&self, dataset: &str, slice_builder: &str) -> Tree {
        let text = format!(
            "loaders:
  dataset: {dataset}
  batch_size: 3
  weight_internal_path: weight
  mirror_padding: [2, 3, 5]
  train:
    file_paths: ['{folder}']
    slice_builder: {{{slice_builder}}}
    transformer:
      raw: [{{name: Standardize}}, {{name: RandomFlip}}, {{name: AdditiveGaussianNoise, \
             execution_probability: 1.0}}, {{name: ToTensor, expand_dims: true}}]
      label: [{{name: RandomFlip}}, {{name: ToTensor, expand_dims: false, dtype: long}}]
      weight: [{{name: RandomFlip}}, {{name: ToTensor, expand_dims: false}}]
",
            folder = self.folder.path().display()
        );
        Tree::parse(&text, "train.yaml", &[]).unwrap()
    }
}

const GRID: &str = "name: SliceBuilder, patch_shape: [6, 8, 8], stride_shape: [6, 8, 6], \
                    skip_shape_check: true";
const WEIGHTED: &str = "name: PixelWiseWeightedSliceBuilder, patch_shape: [6, 8, 8], \
                        num_patches: 4, skip_shape_check: true";

fn open(tree: &Tree) -> Result<VolumePatches> {
    let loaders = Loaders::read(tree.root.get("loaders").unwrap())?;
    VolumePatches::open(&loaders, &loaders.training_phase("train")?, 5)
}

fn error(tree: &Tree) -> String {
    format!("{:#}", open(tree).err().unwrap())
}

#[test]
fn lazy_and_standard_give_the_same_samples() {
    let data = Data::new(2);
    for builder in [GRID, WEIGHTED] {
        let standard = open(&data.config("StandardHDF5Dataset", builder)).unwrap();
        let lazy = open(&data.config("LazyHDF5Dataset", builder)).unwrap();
        // 2 × 2 × 3 patches of a file, or 4.
        assert_eq!(standard.len(), if builder == GRID { 24 } else { 8 });
        assert_eq!(lazy.len(), standard.len());
        assert_eq!(lazy.bytes_held(), 0);
        assert_eq!(standard.bytes_held(), 2 * 12 * 16 * 20 * (2 * 4 + 1 + 4));
        for index in 0..standard.len() {
            assert_eq!(standard.origin(3, index), lazy.origin(3, index));
            assert_eq!(standard.sample(3, index).unwrap(), lazy.sample(3, index).unwrap());
        }
        let shapes = standard.sample(0, 0).unwrap();
        assert_eq!(shapes.raw.shape(), [2, 6, 8, 8]);
        assert_eq!(shapes.label.unwrap().shape(), [6, 8, 8]);
        assert_eq!(shapes.weight.unwrap().shape(), [6, 8, 8]);
    }
}

#[test]
fn reading_never_changes_a_file() {
    let data = Data::new(1);
    let before = std::fs::read(data.path("v0.h5")).unwrap();
    let lazy = open(&data.config("LazyHDF5Dataset", GRID)).unwrap();
    for index in 0..lazy.len() {
        lazy.sample(0, index).unwrap();
    }
    drop(lazy);
    assert_eq!(std::fs::read(data.path("v0.h5")).unwrap(), before);
}

#[test]
fn batches_do_not_depend_on_the_workers() {
    let data = Data::new(3);
    let run = |dataset: &str, workers: usize, from: Position| -> Vec<Vec<Sample>> {
        let patches = Arc::new(open(&data.config(dataset, GRID)).unwrap());
        let loader = Loader::new(patches, 5, workers, 1 << 30).shuffled(5);
        loader.run(from, 2).map(|batch| batch.unwrap().samples).collect()
    };
    let one = run("StandardHDF5Dataset", 1, Position::default());
    // 36 samples are 8 batches, the last of one sample.
    assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5, 5, 5, 5, 5, 1].repeat(2));
    assert!(one == run("StandardHDF5Dataset", 4, Position::default()));
    assert!(one == run("LazyHDF5Dataset", 3, Position::default()));
    let middle = run("LazyHDF5Dataset", 2, Position { epoch: 1, batch: 3 });
    assert!(one[11..] == middle);
    // Epochs differ, in order and in what is drawn.
    assert!(one[..8] != one[8..]);
}

#[test]
fn patches_are_drawn_again_only_when_asked() {
    let data = Data::new(2);
    let origins = |builder: &str, epoch| -> Vec<_> {
        let patches = open(&data.config("StandardHDF5Dataset", builder)).unwrap();
        (0..patches.len()).map(|index| patches.origin(epoch, index)).collect()
    };
    assert_eq!(origins(WEIGHTED, 0), origins(WEIGHTED, 3));
    let redrawn = format!("{WEIGHTED}, redraw_each_epoch: true");
    assert_eq!(origins(WEIGHTED, 0), origins(&redrawn, 0));
    assert_ne!(origins(&redrawn, 0), origins(&redrawn, 3));
    assert_eq!(origins(&redrawn, 3), origins(&redrawn, 3));
}

#[test]
fn a_label_without_a_class_is_found_before_the_device() {
    let data = Data::new(1);
    let mut bad = label();
    bad[[7, 9, 13]] = 200;
    data.write("v1.h5", &raw(1), &bad, Some(&bad.mapv(f32::from)));
    let check = LabelCheck { classes: 3, ignore_index: None };
    let patches = open(&data.config("LazyHDF5Dataset", GRID)).unwrap().with_label_check(check);
    let loader = Loader::new(Arc::new(patches), 2, 2, 1 << 30);
    let error = loader.epoch(0).find_map(|batch| batch.err()).unwrap();
    let error = format!("{error:#}");
    for part in ["v1.h5", "label 200", "voxel (z 7, y 9, x 13)", "which has 3 (0 to 2)"] {
        assert!(error.contains(part), "{error}");
    }
    // Ignored labels are no fault.
    let check = LabelCheck { classes: 3, ignore_index: Some(200) };
    let patches = open(&data.config("LazyHDF5Dataset", GRID)).unwrap().with_label_check(check);
    assert!(Loader::new(Arc::new(patches), 2, 2, 1 << 30).epoch(0).all(|batch| batch.is_ok()));
}

#[test]
fn files_that_training_refuses() {
    let data = Data::new(1);
    let tree = data.config("StandardHDF5Dataset", GRID);
    let fails = |name: &str| {
        let errors = ["StandardHDF5Dataset", "LazyHDF5Dataset"]
            .map(|dataset| error(&data.config(dataset, GRID)));
        assert_eq!(errors[0], errors[1]);
        std::fs::remove_file(data.path(name)).unwrap();
        assert!(errors[0].contains(name), "{}", errors[0]);
        errors[0].clone()
    };
    data.write(
        "short.h5",
        &raw(0),
        &Array3::zeros((12, 16, 19)),
        Some(&Array3::zeros((12, 16, 20))),
    );
    let message = fails("short.h5");
    assert!(message.contains("`label` is [12, 16, 19], `raw` is [2, 12, 16, 20]"), "{message}");
    data.write("light.h5", &raw(0), &label(), None);
    let message = fails("light.h5");
    assert!(message.contains("`loaders.weight_internal_path`"), "{message}");
    assert!(message.contains("no data set `weight`; the file has label, raw"), "{message}");
    let mut nan = raw(0);
    nan[[1, 2, 3, 4]] = f32::NAN;
    data.write("nan.h5", &nan, &label(), Some(&Array3::zeros((12, 16, 20))));
    let message = fails("nan.h5");
    assert!(message.contains("`raw`: the voxel at channel 1, z 2, y 3, x 4 is NaN"), "{message}");
    std::fs::write(data.path("w.h5"), "no HDF5").unwrap();
    assert!(fails("w.h5").contains("not an HDF5 file"));
    // A patch that does not fit is a fault of the configuration.
    let deep = data.config("StandardHDF5Dataset", &GRID.replace("[6, 8, 8]", "[14, 8, 8]"));
    let message = open(&deep).err().unwrap();
    assert!(message.is::<ConfigError>());
    let message = message.to_string();
    assert!(message.contains("train.yaml:8") && message.contains("v0.h5"), "{message}");
    assert!(open(&tree).is_ok());
}

#[test]
fn constant_raw_under_normalize_names_the_file() {
    let data = Data::new(0);
    let flat = Array4::from_elem((2, 12, 16, 20), 3.0);
    data.write("flat.h5", &flat, &label(), Some(&label().mapv(f32::from)));
    let mut tree = data.config("StandardHDF5Dataset", GRID);
    assert!(open(&tree).is_ok());
    let text = "loaders.train.transformer.raw=[{name: Normalize}]".to_string();
    tree = Tree::parse(&tree.root.to_json(), "train.yaml", &[text]).unwrap();
    let message = error(&tree);
    assert!(message.contains("flat.h5") && message.contains("Normalize"), "{message}");
}

fn write_png(path: &Path, width: u32, values: &[u16], depth: png::BitDepth) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width, values.len() as u32 / width);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(depth);
    let bytes: Vec<u8> = match depth {
        png::BitDepth::Sixteen => values.iter().flat_map(|v| v.to_be_bytes()).collect(),
        _ => values.iter().map(|&v| v as u8).collect(),
    };
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}

#[test]
fn images_and_masks_are_paired_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tree = Tree::parse(
        &format!(
            "loaders:
  dataset: DSB2018Dataset
  train:
    file_paths: ['{}']
    transformer: {{raw: [{{name: Identity}}], label: [{{name: Identity}}]}}",
            root.display()
        ),
        "dsb.yaml",
        &[],
    )
    .unwrap();
    let open = |options: &[&str]| {
        let options: Vec<_> = options.iter().map(|text| text.to_string()).collect();
        let tree = Tree::parse(&tree.root.to_json(), "dsb.yaml", &options).unwrap();
        let loaders = Loaders::read(tree.root.get("loaders").unwrap())?;
        ImagePairs::open(&loaders, &loaders.training_phase("train")?, 0)
    };
    let error = |options: &[&str]| format!("{:#}", open(options).err().unwrap());
    assert!(error(&[]).contains("images"), "{}", error(&[]));
    std::fs::create_dir(root.join("images")).unwrap();
    std::fs::create_dir(root.join("masks")).unwrap();
    write_png(&root.join("images/cell10.png"), 3, &[1, 2, 3, 4, 5, 6], png::BitDepth::Eight);
    write_png(&root.join("images/cell9.png"), 2, &[7, 8, 9, 10], png::BitDepth::Eight);
    write_png(&root.join("masks/cell9.png"), 2, &[0, 300, 0, 0], png::BitDepth::Sixteen);
    assert!(error(&[]).contains("cell10.png has no mask"), "{}", error(&[]));
    write_png(&root.join("masks/cell10.png"), 2, &[0, 1, 0, 1], png::BitDepth::Eight);
    assert!(error(&[]).contains("is [2, 3], its mask"), "{}", error(&[]));
    write_png(&root.join("masks/cell10.png"), 3, &[0, 1, 0, 1, 0, 1], png::BitDepth::Eight);

    let images = open(&[]).unwrap();
    assert_eq!(images.len(), 2);
    let statistics = images.statistics();
    assert_eq!((statistics.min, statistics.max, statistics.mean), (1.0, 10.0, 5.5));
    let first = images.sample(0, 0).unwrap();
    assert_eq!(
        first.raw,
        Volume::plain(Array4::from_shape_vec((1, 1, 2, 2), vec![7u8, 8, 9, 10]).unwrap())
    );
    let Values::U16(mask) = first.label.unwrap().expand().values else {
        panic!("16 bits stay 16 bits")
    };
    assert_eq!(mask.into_raw_vec_and_offset().0, [0, 300, 0, 0]);
    assert_eq!(images.sample(0, 1).unwrap().raw.shape(), [1, 2, 3]);

    let message = error(&["loaders.batch_size=2"]);
    assert!(message.contains("batch_size") && message.contains("several sizes"), "{message}");
    let checked =
        open(&[]).unwrap().with_label_check(LabelCheck { classes: 2, ignore_index: None });
    let message = checked.sample(0, 0).unwrap_err().to_string();
    assert!(message.contains("its mask, pixel (y 0, x 1): the label 300"), "{message}");
    let colour = std::fs::File::create(root.join("images/cell9.png")).unwrap();
    let mut encoder = png::Encoder::new(colour, 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[0; 12]).unwrap();
    assert!(error(&[]).contains("convert it to grey"), "{}", error(&[]));
}
