//! Tensors: numbers in memory, or a view of numbers that are still in a file.

use std::sync::Arc;

use super::error::{CheckpointError, Fault, damaged};
use super::source::Source;

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    F16,
    BF16,
    F32,
    F64,
    U8,
    I8,
    I16,
    I32,
    I64,
    Bool,
}

impl DType {
    pub const ALL: [DType; 10] = [
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::Bool,
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::U8 | DType::I8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::F32 | DType::I32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// torch's name of the type.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::Bool => "bool",
        }
    }

    /// torch's class for storages of this type, as pickles name it.
    pub(super) const fn storage_class(self) -> &'static str {
        match self {
            DType::F16 => "HalfStorage",
            DType::BF16 => "BFloat16Storage",
            DType::F32 => "FloatStorage",
            DType::F64 => "DoubleStorage",
            DType::U8 => "ByteStorage",
            DType::I8 => "CharStorage",
            DType::I16 => "ShortStorage",
            DType::I32 => "IntStorage",
            DType::I64 => "LongStorage",
            DType::Bool => "BoolStorage",
        }
    }
}

/// A dense tensor in memory: little-endian elements in C order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorData {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// Panics unless `bytes` has exactly the elements that `shape` asks for.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Self {
        let elements: usize = shape.iter().product();
        assert_eq!(bytes.len(), elements * dtype.size(), "shape {shape:?} of {}", dtype.name());
        TensorData { dtype, shape, bytes }
    }

    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self::new(DType::F32, shape, bytes)
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements as f64, whatever their type; integers beyond 2⁵³ are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        macro_rules! each {
            ($type:ty, $to:expr) => {
                self.bytes
                    .chunks_exact(size_of::<$type>())
                    .map(|raw| {
                        let mut array = [0; size_of::<$type>()];
                        array.copy_from_slice(raw);
                        $to(<$type>::from_le_bytes(array))
                    })
                    .collect()
            };
        }
        match self.dtype {
            DType::F16 => each!(half::f16, half::f16::to_f64),
            DType::BF16 => each!(half::bf16, half::bf16::to_f64),
            DType::F32 => each!(f32, f64::from),
            DType::F64 => each!(f64, |x| x),
            DType::U8 | DType::Bool => each!(u8, f64::from),
            DType::I8 => each!(i8, f64::from),
            DType::I16 => each!(i16, f64::from),
            DType::I32 => each!(i32, f64::from),
            DType::I64 => each!(i64, |x| x as f64),
        }
    }
}

/// A tensor of a [`PickleValue`](super::PickleValue).
#[derive(Clone, Debug)]
pub enum Tensor {
    Memory(Arc<TensorData>),
    File(View),
}

impl Tensor {
    pub fn dtype(&self) -> DType {
        match self {
            Tensor::Memory(data) => data.dtype,
            Tensor::File(view) => view.dtype,
        }
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Tensor::Memory(data) => &data.shape,
            Tensor::File(view) => &view.shape,
        }
    }

    /// The elements, read from the file unless they are in memory.
    pub fn data(&self) -> Result<TensorData, CheckpointError> {
        match self {
            Tensor::Memory(data) => Ok(data.as_ref().clone()),
            Tensor::File(view) => view.read().map_err(|fault| fault.at(view.source.path())),
        }
    }
}

impl From<TensorData> for Tensor {
    fn from(data: TensorData) -> Self {
        Tensor::Memory(Arc::new(data))
    }
}

/// A strided window on a storage of a file, checked to lie within it.
#[derive(Clone, Debug)]
pub struct View {
    source: Arc<Source>,
    storage: usize,
    dtype: DType,
    shape: Vec<usize>,
    layout: Layout,
    /// Whether the elements are minus those of the storage.
    negative: bool,
}

/// Offset and strides of a view in its storage, in elements.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub offset: usize,
    pub strides: Vec<usize>,
}

impl Layout {
    /// The layout of elements in C order from the start of the storage.
    pub(super) fn contiguous(shape: &[usize]) -> Layout {
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        Layout { offset: 0, strides }
    }
}

/// Largest size in bytes of a view that repeats elements of its storage: enough for
/// an expanded scalar, too little to fill the memory.
const REPEATED: usize = 4096;

/// The largest number of dimensions; torch has the same limit.
pub(super) const MAX_RANK: usize = 64;

impl View {
    /// A view of a storage of `storage_bytes` bytes.
    ///
    /// # Errors
    /// If the view leaves the storage, or is far larger because it repeats elements.
    pub(super) fn new(
        source: Arc<Source>,
        storage: usize,
        storage_bytes: usize,
        dtype: DType,
        shape: Vec<usize>,
        mut layout: Layout,
        negative: bool,
    ) -> Result<View, Fault> {
        if shape.len() != layout.strides.len() {
            return damaged("the sizes and strides of a tensor do not fit");
        }
        for (&size, stride) in shape.iter().zip(&mut layout.strides) {
            // The stride is never used, and torch stores any value.
            if size <= 1 {
                *stride = 0;
            }
        }
        let outside = || Fault::Damaged(format!("a tensor of shape {shape:?} leaves its storage"));
        let mut elements = 1usize;
        let mut last = layout.offset;
        for (&size, &stride) in shape.iter().zip(&layout.strides) {
            elements = elements.checked_mul(size).ok_or_else(outside)?;
            let reach = size.saturating_sub(1).checked_mul(stride).ok_or_else(outside)?;
            last = last.checked_add(reach).ok_or_else(outside)?;
        }
        let bytes = elements.checked_mul(dtype.size()).ok_or_else(outside)?;
        if elements > 0 && last >= storage_bytes / dtype.size() {
            return Err(outside());
        }
        if bytes > storage_bytes.max(REPEATED) {
            return damaged(format!("a tensor of shape {shape:?} repeats its storage"));
        }
        Ok(View { source, storage, dtype, shape, layout, negative })
    }

    fn read(&self) -> Result<TensorData, Fault> {
        let element = self.dtype.size();
        let elements: usize = self.shape.iter().product();
        let wanted = elements * element;
        self.source.spend(wanted as u64)?;
        if elements == 0 {
            let shape = self.shape.clone();
            return Ok(TensorData { dtype: self.dtype, shape, bytes: Vec::new() });
        }
        let start = self.layout.offset * element;
        let mut bytes = if self.is_contiguous() {
            self.source.read(self.storage, start, wanted)?
        } else {
            let storage = self.source.shared(self.storage)?;
            let mut bytes = Vec::with_capacity(wanted);
            gather(&storage, start, &self.shape, &self.layout.strides, element, &mut bytes);
            bytes
        };
        if self.negative {
            negate(self.dtype, &mut bytes);
        }
        Ok(TensorData { dtype: self.dtype, shape: self.shape.clone(), bytes })
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.layout.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }
}

/// Changes the sign of little-endian elements, as torch does: unsigned integers
/// wrap around.
fn negate(dtype: DType, bytes: &mut [u8]) {
    let elements = bytes.chunks_exact_mut(dtype.size());
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => {
            elements.for_each(|element| element[dtype.size() - 1] ^= 0x80);
        }
        DType::U8 | DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
            elements.for_each(|element| {
                // Two's complement: invert, then add one.
                let mut carry = true;
                for byte in element {
                    (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
                }
            })
        }
        DType::Bool => {}
    }
}

/// Copies the elements of a strided view in C order. [`View::new`] has checked
/// that none lies outside.
fn gather(
    storage: &[u8],
    start: usize,
    shape: &[usize],
    strides: &[usize],
    element: usize,
    out: &mut Vec<u8>,
) {
    let mut index = vec![0usize; shape.len()];
    let mut at = start;
    loop {
        out.extend_from_slice(&storage[at..at + element]);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            at += strides[axis] * element;
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * element * shape[axis];
            index[axis] = 0;
        }
    }
}
