//! Number types of HDF5.

use hdf5::types::{FloatSize, IntSize, TypeDescriptor};

use crate::format::stored::StoredType;

impl StoredType {
    /// `None` for what is no number. An enumeration, which is how h5py writes
    /// numpy's bool, counts as the integer behind it.
    pub fn of(descriptor: &TypeDescriptor) -> Option<StoredType> {
        use TypeDescriptor as T;
        Some(match descriptor {
            T::Unsigned(IntSize::U1) | T::Boolean => StoredType::U8,
            T::Unsigned(IntSize::U2) => StoredType::U16,
            T::Unsigned(IntSize::U4) => StoredType::U32,
            T::Unsigned(IntSize::U8) => StoredType::U64,
            // A byte that names an enumerator is no quantity with a sign.
            T::Enum(e) if e.size == IntSize::U1 => StoredType::U8,
            T::Enum(e) => return StoredType::of(&e.base_type()),
            T::Integer(IntSize::U1) => StoredType::I8,
            T::Integer(IntSize::U2) => StoredType::I16,
            T::Integer(IntSize::U4) => StoredType::I32,
            T::Integer(IntSize::U8) => StoredType::I64,
            T::Float(FloatSize::U2) => StoredType::F16,
            T::Float(FloatSize::U4) => StoredType::F32,
            T::Float(FloatSize::U8) => StoredType::F64,
            _ => return None,
        })
    }
}
