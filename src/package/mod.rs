//! Model packages of the BioImage Model Zoo (<https://bioimage.io>).
//!
//! A package is a folder or a zip archive with a description `rdf.yaml` and the files that
//! it names: weights, a test input and what the network makes of it. [`Package`] reads the
//! description of formats 0.3, 0.4 and 0.5 as far as networks of this program go;
//! [`import`] turns a package into a configuration and a checkpoint, [`export`] writes
//! one. [`write_torchscript`] and [`write_onnx`] write a network for programs that read no
//! packages.

mod description;
mod export;
mod import;
mod npy;
mod onnx;
mod source;
mod torchscript;

pub use description::{Description, Preprocessing};
pub use export::{Credits, ExtraWeights, export, load};
pub use import::{Imported, import};
pub use onnx::write_onnx;
pub use source::Package;
pub use torchscript::write_torchscript;
