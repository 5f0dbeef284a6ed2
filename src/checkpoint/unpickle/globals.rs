//! The names that a pickle may refer to, and what calling them gives: data.
//!
//! This is the whole list. Anything else is an error that names it.

use super::super::error::Fault;
use super::super::tensor::DType;

/// What a known name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Global {
    Dict,
    OrderedDict,
    DefaultDict,
    List,
    /// Of its one argument, like `torch.Size`.
    Tuple,
    Set,
    /// `_codecs.encode(text, 'latin1')`: how protocol 2 spells bytes.
    Encode,
    /// `bytes()` and `bytearray()`, of nothing or of an encoded text.
    Bytes,
    Device,
    NumpyDType,
    NumpyScalar,
    /// (storage, offset, size, stride, ...)
    Tensor,
    /// (storage, offset, size, stride, requires_grad, hooks, dtype, ...)
    TypedTensor,
    /// (tensor, ...)
    Parameter,
    /// (function, type, arguments, state)
    FromType,
    Storage(DType),
    /// A storage of bytes, whose tensors carry their type.
    UntypedStorage,
    /// An element type of torch.
    Element(DType),
    /// A type that is only ever named.
    Named(&'static str),
}

pub(super) fn find(module: &str, name: &str) -> Result<Global, Fault> {
    let global = match (module, name) {
        ("builtins" | "__builtin__", "dict") => Global::Dict,
        ("builtins" | "__builtin__", "list") => Global::List,
        ("builtins" | "__builtin__", "tuple") | ("torch", "Size") => Global::Tuple,
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
            match storage.map(Global::Storage).or(element) {
                Some(global) => global,
                None => return Err(Fault::UnknownGlobal(format!("{module}.{name}"))),
            }
        }
        _ => return Err(Fault::UnknownGlobal(printable(module, name))),
    };
    Ok(global)
}

/// `module.name` fit for a message: no control characters, not too long.
fn printable(module: &str, name: &str) -> String {
    let full = format!("{module}.{name}");
    full.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Global {
    /// The full name of a type that may stand as a value, `None` for functions.
    pub fn type_name(self) -> Option<String> {
        Some(match self {
            Global::Dict => "dict".into(),
            Global::List => "list".into(),
            Global::OrderedDict => "collections.OrderedDict".into(),
            Global::Element(dtype) => format!("torch.{}", dtype.name()),
            Global::Storage(dtype) => format!("torch.{}", dtype.storage_class()),
            Global::Named(name) => name.into(),
            _ => return None,
        })
    }
}
