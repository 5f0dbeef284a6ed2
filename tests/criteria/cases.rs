//! Reading the cases of `tests/fixtures/{loss,metric}/*.h5`.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Kind, Tensor};
use unet3d::config::Tree;

/// Seeds libtorch's generator, which is one for all threads, and keeps it from other tests as
/// long as the result lives: their draws in between would change the numbers.
pub fn seeded(seed: i64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    guard
}

pub struct Case {
    pub name: String,
    group: hdf5::Group,
}

/// All cases of a file of the topic, by name.
pub fn read(topic: &str, file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(topic).join(file);
    let file = hdf5::File::open(path).unwrap();
    let mut groups = file.groups().unwrap();
    groups.sort_by_key(|group| group.name());
    groups
        .into_iter()
        .map(|group| Case { name: group.name().trim_start_matches('/').to_string(), group })
        .collect()
}

impl Case {
    /// The case's section under `key` of an otherwise empty configuration.
    pub fn config(&self, key: &str) -> Tree {
        let text: hdf5::types::VarLenUnicode =
            self.group.attr("config").unwrap().read_scalar().unwrap();
        let indented: Vec<_> = text.lines().map(|line| format!("  {line}\n")).collect();
        Tree::parse(&format!("{key}:\n{}", indented.concat()), "case", &[]).unwrap()
    }

    pub fn maybe_tensor(&self, name: &str) -> Option<Tensor> {
        let data = self.group.dataset(name).ok()?;
        let shape: Vec<i64> = data.shape().iter().map(|&n| n as i64).collect();
        let tensor = if data.dtype().unwrap().is::<i64>() {
            Tensor::from_slice(&data.read_raw::<i64>().unwrap())
        } else if data.dtype().unwrap().is::<f32>() {
            Tensor::from_slice(&data.read_raw::<f32>().unwrap())
        } else if data.dtype().unwrap().is::<u8>() {
            Tensor::from_slice(&data.read_raw::<u8>().unwrap())
        } else {
            assert!(data.dtype().unwrap().is::<f64>(), "{name} of {}", self.name);
            Tensor::from_slice(&data.read_raw::<f64>().unwrap())
        };
        Some(tensor.view(&shape[..]))
    }

    /// The integers of a data set, flat.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.tensor(name).to_kind(Kind::Int64).flatten(0, -1).try_into().unwrap()
    }

    pub fn tensor(&self, name: &str) -> Tensor {
        self.maybe_tensor(name).unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }
}

/// Largest difference, relative to the larger of 1 and the largest wanted value.
pub fn difference(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let (found, wanted) = (found.to_kind(Kind::Double), wanted.to_kind(Kind::Double));
    let largest = wanted.abs().max().double_value(&[]);
    (found - wanted).abs().max().double_value(&[]) / largest.max(1e-300)
}
