//! Numbers of files, and how they become numbers in memory and back.

use anyhow::{Result, anyhow};
use half::f16;
use hdf5::H5Type;

use crate::volume::Values;
use ndarray::Array4;

pub(super) use crate::volume::StoredType;

/// A number as it stands in a file.
pub(super) trait Stored: H5Type + Copy + Send + Sync + 'static {
    type Memory: Copy + Default + Send + Sync + 'static;

    const STORED: StoredType;

    /// The value in memory, or an error if it does not fit there.
    fn widen(self) -> Result<Self::Memory>;

    /// Decodes a row of little-endian numbers; `bytes` holds as many as `out`.
    fn decode(bytes: &[u8], out: &mut [Self::Memory]) -> Result<()>;

    fn values(array: Array4<Self::Memory>) -> Values;
}

macro_rules! stored {
    ($($stored:ty, $name:ident => $memory:ty, |$x:ident| $widened:expr;)*) => {
        $(impl Stored for $stored {
            type Memory = $memory;

            const STORED: StoredType = StoredType::$name;

            fn widen(self) -> Result<$memory> {
                let $x = self;
                Ok($widened)
            }

            fn decode(bytes: &[u8], out: &mut [$memory]) -> Result<()> {
                let (numbers, _) = bytes.as_chunks::<{ size_of::<$stored>() }>();
                for (out, number) in out.iter_mut().zip(numbers) {
                    let $x = <$stored>::from_le_bytes(*number);
                    *out = $widened;
                }
                Ok(())
            }

            fn values(array: Array4<$memory>) -> Values {
                array.into()
            }
        })*
    };
}

stored! {
    u8, U8 => u8, |x| x;
    i8, I8 => i32, |x| x.into();
    u16, U16 => u16, |x| x;
    i16, I16 => i32, |x| x.into();
    u32, U32 => i64, |x| x.into();
    i32, I32 => i32, |x| x;
    // The one type with values that do not fit.
    u64, U64 => i64, |x| i64::try_from(x).map_err(|_| {
        anyhow!("the value {x} is larger than {}; store smaller integers", i64::MAX)
    })?;
    i64, I64 => i64, |x| x;
    f16, F16 => f32, |x| x.to_f32();
    f32, F32 => f32, |x| x;
    f64, F64 => f64, |x| x;
}

/// Runs an expression with `$type` standing for the Rust type of a [`StoredType`].
macro_rules! with_stored {
    ($stored:expr, $type:ident => $body:expr) => {{
        use $crate::format::stored::StoredType;
        match $stored {
            StoredType::U8 => {
                type $type = u8;
                $body
            }
            StoredType::I8 => {
                type $type = i8;
                $body
            }
            StoredType::U16 => {
                type $type = u16;
                $body
            }
            StoredType::I16 => {
                type $type = i16;
                $body
            }
            StoredType::U32 => {
                type $type = u32;
                $body
            }
            StoredType::I32 => {
                type $type = i32;
                $body
            }
            StoredType::U64 => {
                type $type = u64;
                $body
            }
            StoredType::I64 => {
                type $type = i64;
                $body
            }
            StoredType::F16 => {
                type $type = half::f16;
                $body
            }
            StoredType::F32 => {
                type $type = f32;
                $body
            }
            StoredType::F64 => {
                type $type = f64;
                $body
            }
        }
    }};
}
pub(super) use with_stored;
