//! Helpers for several tests: fixtures from HDF5 and configurations from text.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use tch::Tensor;
use unet3d::config::Tree;

/// A file under `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A data set of an open HDF5 group as a tensor of the same float type.
pub fn tensor(group: &hdf5::Group, name: &str) -> Tensor {
    let dataset = group.dataset(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let shape: Vec<i64> = dataset.shape().iter().map(|n| *n as i64).collect();
    if dataset.dtype().unwrap().is::<f64>() {
        let values: ArrayD<f64> = dataset.read_dyn().unwrap();
        Tensor::from_slice(values.as_slice().unwrap()).reshape(&shape)
    } else if dataset.dtype().unwrap().is::<f32>() {
        let values: ArrayD<f32> = dataset.read_dyn().unwrap();
        Tensor::from_slice(values.as_slice().unwrap()).reshape(&shape)
    } else {
        let values: ArrayD<i64> = dataset.read_dyn().unwrap();
        Tensor::from_slice(values.as_slice().unwrap()).reshape(&shape)
    }
}

/// Paths of all data sets below a group.
pub fn dataset_paths(group: &hdf5::Group, prefix: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for name in group.member_names().unwrap() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        match group.group(&name) {
            Ok(child) => paths.extend(dataset_paths(&child, &path)),
            Err(_) => paths.push(path),
        }
    }
    paths
}

/// The largest absolute difference of two tensors of one shape.
pub fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a.to_kind(tch::Kind::Double) - b.to_kind(tch::Kind::Double)).abs().max().double_value(&[])
}

/// A configuration from YAML text.
pub fn tree(yaml: &str) -> Tree {
    Tree::parse(yaml, "test.yaml", &[]).unwrap_or_else(|e| panic!("{e}"))
}

pub mod corpora;
pub mod lab;
pub mod peak;
pub mod program;

/// Copies a file, or a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        copy(&from.join(&name), &to.join(&name));
    }
}
