//! Training batches as HDF5 files, to look at what the network sees.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::ArrayD;
use tch::{Device, Kind};

use super::batch::TensorBatch;
use crate::files::is_taken;
use crate::format::h5::MemoryFile;
use crate::target::Weights;

/// Writes `<directory>/iter_<iteration>.h5` with `raw`, `label` and, if there is
/// one, `weight`: float32, batch axis first. The file appears whole or not at
/// all, and never in the place of another.
pub fn write(directory: &Path, iteration: u64, batch: &TensorBatch) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("{}: cannot be made", directory.display()))?;
    let path = directory.join(format!("iter_{iteration}.h5"));
    ensure!(
        !is_taken(&path),
        "{}: exists and is not replaced; the batch of iteration {iteration} is not dumped. \
         Move it away, or set another `trainer.h5_dir`",
        path.display()
    );
    let context = || format!("{}: the batch cannot be dumped", path.display());
    let made = MemoryFile::create().with_context(context)?;
    let label = batch.labels.dense(Kind::Float)?;
    let weight = batch.weights.as_ref().map(Weights::dense).transpose()?;
    let tensors = [("raw", Some(&batch.raw)), ("label", Some(&label)), ("weight", weight.as_ref())];
    for (name, tensor) in tensors {
        let Some(tensor) = tensor else { continue };
        let tensor = tensor.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let shape: Vec<usize> = tensor.size().iter().map(|size| *size as usize).collect();
        let values = crate::ffi::tensor::as_slice::<f32>(&tensor)?.to_vec();
        let array = ArrayD::from_shape_vec(shape, values)?;
        made.hdf5().new_dataset_builder().with_data(&array).create(name).with_context(context)?;
    }
    made.write_new(&path).with_context(context)
}
