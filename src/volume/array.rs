//! A dense volume of one of the element types that files and networks use.

use ndarray::{Array4, Axis, s};

/// The element type of a volume in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    U8,
    U16,
    I32,
    I64,
    F32,
    F64,
}

impl Element {
    pub fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F64)
    }

    /// Bytes of one voxel.
    pub fn size(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::U16 => 2,
            Element::I32 | Element::F32 => 4,
            Element::I64 | Element::F64 => 8,
        }
    }

    /// numpy's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Element::U8 => "uint8",
            Element::U16 => "uint16",
            Element::I32 => "int32",
            Element::I64 => "int64",
            Element::F32 => "float32",
            Element::F64 => "float64",
        }
    }
}

/// Voxel values of shape (C, D, H, W), in C order and contiguous.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    U8(Array4<u8>),
    U16(Array4<u16>),
    I32(Array4<i32>),
    I64(Array4<i64>),
    F32(Array4<f32>),
    F64(Array4<f64>),
}

impl Values {
    pub fn element(&self) -> Element {
        match self {
            Values::U8(_) => Element::U8,
            Values::U16(_) => Element::U16,
            Values::I32(_) => Element::I32,
            Values::I64(_) => Element::I64,
            Values::F32(_) => Element::F32,
            Values::F64(_) => Element::F64,
        }
    }
}

/// Runs the same expression on the array inside [`Values`], whatever its type.
/// A cast that most types need is idle for one of them.
#[macro_export]
macro_rules! with_values {
    ($values:expr, $array:ident => $body:expr) => {
        match $values {
            #[allow(clippy::unnecessary_cast)]
            $crate::volume::Values::U8($array) => $body,
            #[allow(clippy::unnecessary_cast)]
            $crate::volume::Values::U16($array) => $body,
            #[allow(clippy::unnecessary_cast)]
            $crate::volume::Values::I32($array) => $body,
            #[allow(clippy::unnecessary_cast)]
            $crate::volume::Values::I64($array) => $body,
            #[allow(clippy::unnecessary_cast)]
            $crate::volume::Values::F32($array) => $body,
            #[allow(clippy::unnecessary_cast)]
            $crate::volume::Values::F64($array) => $body,
        }
    };
}

/// As [`with_values!`], wrapping the new array in [`Values`] of the same type.
#[macro_export]
macro_rules! map_values {
    ($values:expr, $array:ident => $body:expr) => {
        match $values {
            $crate::volume::Values::U8($array) => $crate::volume::Values::U8($body),
            $crate::volume::Values::U16($array) => $crate::volume::Values::U16($body),
            $crate::volume::Values::I32($array) => $crate::volume::Values::I32($body),
            $crate::volume::Values::I64($array) => $crate::volume::Values::I64($body),
            $crate::volume::Values::F32($array) => $crate::volume::Values::F32($body),
            $crate::volume::Values::F64($array) => $crate::volume::Values::F64($body),
        }
    };
}

macro_rules! from_array {
    ($($variant:ident: $type:ty),*) => {
        $(impl From<Array4<$type>> for Values {
            fn from(array: Array4<$type>) -> Self {
                Values::$variant(array)
            }
        })*
    };
}
from_array!(U8: u8, U16: u16, I32: i32, I64: i64, F32: f32, F64: f64);

/// A volume (D, H, W) or (C, D, H, W).
///
/// The values always carry a channel axis; `has_channels` tells whether the
/// volume itself has one, because files, transforms and losses make a
/// difference between (D, H, W) and (1, D, H, W).
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    pub values: Values,
    pub has_channels: bool,
}

impl Volume {
    /// A volume (D, H, W); the array has one channel.
    pub fn plain(values: impl Into<Values>) -> Self {
        let volume = Volume { values: values.into(), has_channels: false };
        assert_eq!(volume.channels(), 1, "a volume without a channel axis has one channel");
        volume
    }

    /// A volume of zeros of shape (C, D, H, W).
    pub fn zeros(element: Element, shape: [usize; 4], has_channels: bool) -> Self {
        let values = match element {
            Element::U8 => Values::U8(Array4::zeros(shape)),
            Element::U16 => Values::U16(Array4::zeros(shape)),
            Element::I32 => Values::I32(Array4::zeros(shape)),
            Element::I64 => Values::I64(Array4::zeros(shape)),
            Element::F32 => Values::F32(Array4::zeros(shape)),
            Element::F64 => Values::F64(Array4::zeros(shape)),
        };
        Volume { values, has_channels }
    }

    /// Puts slices of the same type, channels, height and width in the place of those
    /// from `z` on.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn set_slices(&mut self, z: usize, slices: &Volume) {
        let range = z..z + slices.size()[0];
        macro_rules! set {
            ($($kind:ident),*) => {
                match (&mut self.values, &slices.values) {
                    $((Values::$kind(all), Values::$kind(part)) => {
                        all.slice_mut(s![.., range, .., ..]).assign(part);
                    })*
                    _ => panic!("slices of another type"),
                }
            };
        }
        set!(U8, U16, I32, I64, F32, F64);
    }

    /// A volume (C, D, H, W).
    pub fn channelled(values: impl Into<Values>) -> Self {
        Volume { values: values.into(), has_channels: true }
    }

    pub fn channels(&self) -> usize {
        with_values!(&self.values, a => a.dim().0)
    }

    /// Depth, height, width.
    pub fn size(&self) -> [usize; 3] {
        let (_, d, h, w) = with_values!(&self.values, a => a.dim());
        [d, h, w]
    }

    /// (D, H, W) or (C, D, H, W), as the file has it.
    pub fn shape(&self) -> Vec<usize> {
        let size = self.size();
        if self.has_channels {
            vec![self.channels(), size[0], size[1], size[2]]
        } else {
            size.to_vec()
        }
    }

    /// 3 or 4.
    pub fn rank(&self) -> usize {
        3 + usize::from(self.has_channels)
    }

    pub fn element(&self) -> Element {
        self.values.element()
    }

    pub fn bytes(&self) -> usize {
        self.channels() * self.size().iter().product::<usize>() * self.element().size()
    }

    /// The channels of several volumes of one size and type, one after the other.
    ///
    /// # Panics
    /// Without volumes, and if they differ in size or type.
    pub fn join_channels(parts: Vec<Volume>) -> Volume {
        fn join<T: Clone>(arrays: Vec<Array4<T>>) -> Array4<T> {
            let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
            ndarray::concatenate(Axis(0), &views).expect("volumes of one size")
        }
        macro_rules! join {
            ($($variant:ident),*) => {
                match parts.first().expect("some volumes").values {
                    $(Values::$variant(_) => {
                        let arrays = parts.into_iter().map(|part| match part.values {
                            Values::$variant(array) => array,
                            other => panic!("a volume of {}", other.element().name()),
                        });
                        Values::$variant(join(arrays.collect()))
                    })*
                }
            };
        }
        Volume::channelled(join!(U8, U16, I32, I64, F32, F64))
    }

    /// The values as float32, moved if they are that already.
    pub fn into_f32(self) -> Array4<f32> {
        match self.values {
            Values::U8(a) => a.mapv(f32::from),
            Values::U16(a) => a.mapv(f32::from),
            Values::I32(a) => a.mapv(|x| x as f32),
            Values::I64(a) => a.mapv(|x| x as f32),
            Values::F32(a) => a,
            Values::F64(a) => a.mapv(|x| x as f32),
        }
    }

    /// Casts to another element type as numpy's `astype` does: towards zero for
    /// fractions, wrapping for integers. A type is left alone if it fits already.
    pub fn cast(self, element: Element) -> Volume {
        macro_rules! to {
            ($type:ty) => {
                with_values!(self.values, a => a.mapv(|x| x as $type)).into()
            };
        }
        if self.element() == element {
            return self;
        }
        let has_channels = self.has_channels;
        let values: Values = match element {
            // numpy goes through a wide integer, so that -1.0 becomes 255.
            Element::U8 if self.element().is_float() => {
                with_values!(self.values, a => a.mapv(|x| x as i64 as u8)).into()
            }
            Element::U16 if self.element().is_float() => {
                with_values!(self.values, a => a.mapv(|x| x as i64 as u16)).into()
            }
            Element::U8 => to!(u8),
            Element::U16 => to!(u16),
            Element::I32 => to!(i32),
            Element::I64 => to!(i64),
            Element::F32 => to!(f32),
            Element::F64 => to!(f64),
        };
        Volume { values, has_channels }
    }
}
