//! Voxels as the bytes that stand in a file, the reverse of [`super::stored`].

use half::f16;
use ndarray::ArrayView2;

use crate::volume::{Encoding, StoredType};

/// A number in memory that becomes one of a file.
pub(super) trait Number: Copy {
    fn to_f64(self) -> f64;
    fn to_f32(self) -> f32;
    fn to_f16(self) -> f16;
    /// Rounded; what is no number becomes 0.
    fn to_i64(self) -> i64;
}

macro_rules! integers {
    ($($integer:ty),*) => {
        $(impl Number for $integer {
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn to_f16(self) -> f16 {
                f16::from_f64(self as f64)
            }
            #[allow(clippy::unnecessary_cast)]
            fn to_i64(self) -> i64 {
                self as i64
            }
        })*
    };
}
integers!(u8, u16, i32, i64);

impl Number for f32 {
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn to_f32(self) -> f32 {
        self
    }
    fn to_f16(self) -> f16 {
        f16::from_f32(self)
    }
    fn to_i64(self) -> i64 {
        self.round() as i64
    }
}

impl Number for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
    fn to_f16(self) -> f16 {
        f16::from_f64(self)
    }
    fn to_i64(self) -> i64 {
        self.round() as i64
    }
}

/// Encodes rows of voxels as little-endian numbers, for which `out` has the room.
pub(super) fn encode<T: Number>(encoding: Encoding, rows: ArrayView2<'_, T>, out: &mut [u8]) {
    let row = rows.ncols() * encoding.size();
    for (values, out) in rows.outer_iter().zip(out.chunks_exact_mut(row)) {
        encode_row(encoding, values.iter().copied(), out);
    }
}

fn encode_row<T: Number>(encoding: Encoding, values: impl Iterator<Item = T>, out: &mut [u8]) {
    /// What is too small or too large is kept at the ends.
    macro_rules! whole {
        ($type:ty) => {
            fill(values, out, |value| {
                let value = value.to_i64().clamp(<$type>::MIN as i64, <$type>::MAX as i64);
                (value as $type).to_le_bytes()
            })
        };
    }
    match encoding {
        Encoding::ScaledUint8 => {
            fill(values, out, |value| [(value.to_f64() * 255.0).round() as u8]);
        }
        Encoding::Number(stored) => match stored {
            StoredType::U8 => whole!(u8),
            StoredType::I8 => whole!(i8),
            StoredType::U16 => whole!(u16),
            StoredType::I16 => whole!(i16),
            StoredType::U32 => whole!(u32),
            StoredType::I32 => whole!(i32),
            StoredType::I64 => whole!(i64),
            StoredType::U64 => {
                fill(values, out, |value| (value.to_i64().max(0) as u64).to_le_bytes());
            }
            StoredType::F16 => fill(values, out, |value| value.to_f16().to_le_bytes()),
            StoredType::F32 => fill(values, out, |value| value.to_f32().to_le_bytes()),
            StoredType::F64 => fill(values, out, |value| value.to_f64().to_le_bytes()),
        },
    }
}

fn fill<T, const N: usize>(
    values: impl Iterator<Item = T>,
    out: &mut [u8],
    encode: impl Fn(T) -> [u8; N],
) {
    for (out, value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *out = encode(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded<T: Number>(encoding: Encoding, values: &[T]) -> Vec<u8> {
        let mut out = vec![0; values.len() * encoding.size()];
        encode(encoding, ArrayView2::from_shape((1, values.len()), values).unwrap(), &mut out);
        out
    }

    #[test]
    fn encodings() {
        let scaled = encoded(Encoding::ScaledUint8, &[0.0f32, 1.0, 0.5, -0.1, 1.2, f32::NAN]);
        assert_eq!(scaled, [0, 255, 128, 0, 255, 0]);
        let number = Encoding::Number;
        let labels = encoded(number(StoredType::U16), &[0.0f32, 1.0, 65_535.0, 1e9]);
        assert_eq!(labels, [0, 0, 1, 0, 255, 255, 255, 255]);
        assert_eq!(encoded(number(StoredType::F16), &[1.0f32, -2.0]), [0, 0x3c, 0, 0xc0]);
        assert_eq!(encoded(number(StoredType::F32), &[1.0f32]), [0, 0, 0x80, 0x3f]);
        assert_eq!(encoded(number(StoredType::I8), &[-2i32, 300]), [254, 127]);
        assert_eq!(
            encoded(number(StoredType::U64), &[3i64, -1]),
            [3u8, 0, 0, 0, 0, 0, 0, 0].into_iter().chain([0; 8]).collect::<Vec<u8>>()
        );
    }
}
