//! Number types of files.

use super::Element;

/// The type of number that a volume is stored as in its file. Some become the next
/// wider [`Element`] in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl StoredType {
    /// The type that holds its values in memory.
    pub fn element(self) -> Element {
        match self {
            StoredType::U8 => Element::U8,
            StoredType::U16 => Element::U16,
            StoredType::I8 | StoredType::I16 | StoredType::I32 => Element::I32,
            StoredType::U32 | StoredType::I64 | StoredType::U64 => Element::I64,
            StoredType::F16 | StoredType::F32 => Element::F32,
            StoredType::F64 => Element::F64,
        }
    }

    /// Bytes of one voxel in the file.
    pub fn size(self) -> usize {
        match self {
            StoredType::U8 | StoredType::I8 => 1,
            StoredType::U16 | StoredType::I16 | StoredType::F16 => 2,
            StoredType::U32 | StoredType::I32 | StoredType::F32 => 4,
            StoredType::U64 | StoredType::I64 | StoredType::F64 => 8,
        }
    }

    /// numpy's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            StoredType::U8 => "uint8",
            StoredType::I8 => "int8",
            StoredType::U16 => "uint16",
            StoredType::I16 => "int16",
            StoredType::U32 => "uint32",
            StoredType::I32 => "int32",
            StoredType::U64 => "uint64",
            StoredType::I64 => "int64",
            StoredType::F16 => "float16",
            StoredType::F32 => "float32",
            StoredType::F64 => "float64",
        }
    }
}

impl From<Element> for StoredType {
    fn from(element: Element) -> Self {
        match element {
            Element::U8 => StoredType::U8,
            Element::U16 => StoredType::U16,
            Element::I32 => StoredType::I32,
            Element::I64 => StoredType::I64,
            Element::F32 => StoredType::F32,
            Element::F64 => StoredType::F64,
        }
    }
}
