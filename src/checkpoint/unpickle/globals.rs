//! The names of a pickle that are known here.
//!
//! Any other name becomes [`Node::Opaque`].

use super::super::tensor::DType;
use super::{Node, opaque};

/// A known function or type, with its arguments where they matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Global {
    Dict,
    OrderedDict,
    DefaultDict,
    List,
    Tuple,
    /// `torch.Size`: a tuple of its one argument.
    Size,
    Set,
    /// `_codecs.encode(text, 'latin1')`: how protocol 2 spells bytes.
    Encode,
    /// `bytes()` and `bytearray()`, of nothing or of an encoded text.
    Bytes,
    Device,
    NumpyDType,
    NumpyScalar,
    /// (storage, offset, size, stride, requires_grad, hooks, metadata)
    Tensor,
    /// (storage, offset, size, stride, requires_grad, hooks, dtype, metadata)
    TypedTensor,
    /// (tensor, ...)
    Parameter,
    /// (function, type, arguments, state)
    FromType,
    /// (tensor on the CPU, dtype, device, requires_grad)
    DeviceTensor,
    Storage(DType),
    /// A storage of bytes; the tensors on it have types of their own.
    UntypedStorage,
    /// A storage whose elements have no [`DType`]: name, bytes per element.
    OtherStorage(&'static str, usize),
    /// An element type of torch.
    Element(DType),
    /// A type that occurs as a value only.
    Named(&'static str),
}

pub(super) fn find(module: &str, name: &str) -> Node {
    let global = match (module, name) {
        ("builtins" | "__builtin__", "dict") => Global::Dict,
        ("builtins" | "__builtin__", "list") => Global::List,
        ("builtins" | "__builtin__", "tuple") => Global::Tuple,
        ("torch", "Size") => Global::Size,
        ("builtins" | "__builtin__", "set" | "frozenset") => Global::Set,
        ("builtins" | "__builtin__", "bytes" | "bytearray") => Global::Bytes,
        ("builtins" | "__builtin__", "int" | "long") => Global::Named("int"),
        ("builtins" | "__builtin__", "float") => Global::Named("float"),
        ("builtins" | "__builtin__", "bool") => Global::Named("bool"),
        ("builtins" | "__builtin__", "str" | "unicode") => Global::Named("str"),
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("_codecs", "encode") => Global::Encode,
        ("numpy", "dtype") => Global::NumpyDType,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::NumpyScalar,
        ("torch", "device") => Global::Device,
        ("torch", "Tensor") => Global::Named("torch.Tensor"),
        ("torch.nn.parameter", "Parameter") => Global::Named("torch.nn.Parameter"),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Global::TypedTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Global::Parameter
        }
        ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor") => Global::DeviceTensor,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::FromType,
        ("torch.storage", "UntypedStorage" | "_UntypedStorage") | ("torch", "UntypedStorage") => {
            Global::UntypedStorage
        }
        ("torch" | "torch.cuda", name) => {
            let storage = DType::ALL.into_iter().find(|dtype| dtype.storage_class() == name);
            let element = DType::ALL
                .into_iter()
                .find(|dtype| module == "torch" && dtype.name() == name)
                .map(Global::Element);
            match storage.map(Global::Storage).or(element).or_else(|| other_storage(name)) {
                Some(global) => global,
                None => return opaque(&printable(module, name)),
            }
        }
        _ => return opaque(&printable(module, name)),
    };
    Node::Global(global)
}

/// Storages of complex and quantized numbers. Files of torch before 1.6 store one
/// storage after the other, so the sizes are needed to find those behind.
fn other_storage(name: &str) -> Option<Global> {
    Some(match name {
        "ComplexFloatStorage" => Global::OtherStorage("torch.ComplexFloatStorage", 8),
        "ComplexDoubleStorage" => Global::OtherStorage("torch.ComplexDoubleStorage", 16),
        "QInt8Storage" => Global::OtherStorage("torch.QInt8Storage", 1),
        "QUInt8Storage" => Global::OtherStorage("torch.QUInt8Storage", 1),
        "QInt32Storage" => Global::OtherStorage("torch.QInt32Storage", 4),
        "QUInt4x2Storage" => Global::OtherStorage("torch.QUInt4x2Storage", 1),
        "QUInt2x4Storage" => Global::OtherStorage("torch.QUInt2x4Storage", 1),
        _ => return None,
    })
}

/// `module.name` for a message: without control characters and not too long.
pub(super) fn printable(module: &str, name: &str) -> String {
    let full = format!("{module}.{name}");
    full.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Global {
    /// The full name, for values and messages.
    pub fn full_name(self) -> String {
        let name = match self {
            Global::Dict => "dict",
            Global::OrderedDict => "collections.OrderedDict",
            Global::DefaultDict => "collections.defaultdict",
            Global::List => "list",
            Global::Tuple => "tuple",
            Global::Size => "torch.Size",
            Global::Set => "set",
            Global::Encode => "_codecs.encode",
            Global::Bytes => "bytes",
            Global::Device => "torch.device",
            Global::NumpyDType => "numpy.dtype",
            Global::NumpyScalar => "numpy.core.multiarray.scalar",
            Global::Tensor => "torch._utils._rebuild_tensor_v2",
            Global::TypedTensor => "torch._utils._rebuild_tensor_v3",
            Global::Parameter => "torch._utils._rebuild_parameter",
            Global::FromType => "torch._tensor._rebuild_from_type_v2",
            Global::DeviceTensor => "torch._utils._rebuild_device_tensor_from_cpu_tensor",
            Global::UntypedStorage => "torch.UntypedStorage",
            Global::OtherStorage(name, _) | Global::Named(name) => name,
            Global::Element(dtype) => return format!("torch.{}", dtype.name()),
            Global::Storage(dtype) => return format!("torch.{}", dtype.storage_class()),
        };
        name.into()
    }
}
