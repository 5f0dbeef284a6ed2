//! `ToTensor`: converts to the type and rank that network and loss expect.

use anyhow::Result;
use half::f16;

use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::{self, ConfigError, Parameter, Section};
use crate::volume::{Element, OneHot, Palette, Values, Volume, Voxels};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "ToTensor",
    class: TransformClass::Conversion,
    meaning: "Casts to `dtype` as numpy's astype does (towards zero, wrapping), and gives (D, H, \
              W) a channel axis if asked to.",
    parameters: &[EXPAND_DIMS, DTYPE],
    build: |section| Ok(Box::new(ToTensor::read(section)?)),
};

pub(super) const EXPAND_DIMS: Parameter =
    Parameter::flag("expand_dims", false, "(D, H, W) becomes (1, D, H, W)").required();
pub(super) const DTYPE: Parameter =
    Parameter::text("dtype", "float32", "a numpy type, or `long` for int64");

pub(super) struct ToTensor {
    expand_dims: bool,
    dtype: Dtype,
}

impl ToTensor {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        Ok(ToTensor { expand_dims: section.flag(EXPAND_DIMS.name), dtype: dtype(section)? })
    }
}

impl Transform for ToTensor {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut volume = self.dtype.cast(volume);
        volume.has_channels |= self.expand_dims;
        Ok(volume)
    }

    fn apply_voxels(&self, volume: Voxels, context: &TransformContext<'_>) -> Result<Voxels> {
        Ok(match volume {
            Voxels::Dense(volume) => Voxels::Dense(self.apply(volume, context)?),
            // Every type holds 0 and 1.
            Voxels::OneHot(label) => {
                Voxels::OneHot(OneHot { element: self.dtype.element(), ..label })
            }
            Voxels::Palette(palette) => {
                let table = self.dtype.cast(Volume::channelled(palette.table)).values;
                Voxels::Palette(Palette { table, ..palette })
            }
        })
    }

    fn output_shape(&self, mut input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        if self.expand_dims {
            input.channels = Some(input.channels.unwrap_or(1));
        }
        Ok(input.with_element(self.dtype.element()))
    }
}

/// The numpy types that a volume can be cast to. Types that a volume cannot have are stored in
/// the next wider type, with the same values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dtype {
    Bool,
    Int8,
    Int16,
    Uint32,
    Uint64,
    Float16,
    Held(Element),
}

/// numpy's names on 64-bit Linux, where `long` has 64 bits.
static NAMES: &[(&str, Dtype)] = &[
    ("bool", Dtype::Bool),
    ("bool_", Dtype::Bool),
    ("int8", Dtype::Int8),
    ("byte", Dtype::Int8),
    ("uint8", Dtype::Held(Element::U8)),
    ("ubyte", Dtype::Held(Element::U8)),
    ("int16", Dtype::Int16),
    ("short", Dtype::Int16),
    ("uint16", Dtype::Held(Element::U16)),
    ("ushort", Dtype::Held(Element::U16)),
    ("int32", Dtype::Held(Element::I32)),
    ("intc", Dtype::Held(Element::I32)),
    ("uint32", Dtype::Uint32),
    ("uintc", Dtype::Uint32),
    ("int64", Dtype::Held(Element::I64)),
    ("int", Dtype::Held(Element::I64)),
    ("int_", Dtype::Held(Element::I64)),
    ("long", Dtype::Held(Element::I64)),
    ("longlong", Dtype::Held(Element::I64)),
    ("uint64", Dtype::Uint64),
    ("uint", Dtype::Uint64),
    ("ulong", Dtype::Uint64),
    ("ulonglong", Dtype::Uint64),
    ("float16", Dtype::Float16),
    ("half", Dtype::Float16),
    ("float32", Dtype::Held(Element::F32)),
    ("single", Dtype::Held(Element::F32)),
    ("float64", Dtype::Held(Element::F64)),
    ("float", Dtype::Held(Element::F64)),
    ("float_", Dtype::Held(Element::F64)),
    ("double", Dtype::Held(Element::F64)),
];

fn dtype(section: &Section<'_>) -> Result<Dtype, ConfigError> {
    let word = section.text("dtype");
    // Files may also contain `np.int64` or `torch.long`; the module is ignored.
    let name = word.rsplit('.').next().unwrap_or(word);
    if let Some((_, dtype)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*dtype);
    }
    let names = NAMES.iter().map(|(known, _)| *known);
    Err(section.error("dtype", config::unknown("numeric type of numpy", name, names)))
}

impl Dtype {
    /// The type in which the values are stored.
    fn element(self) -> Element {
        match self {
            Dtype::Bool => Element::U8,
            Dtype::Int8 | Dtype::Int16 => Element::I32,
            Dtype::Uint32 | Dtype::Uint64 => Element::I64,
            Dtype::Float16 => Element::F32,
            Dtype::Held(element) => element,
        }
    }

    fn cast(self, volume: Volume) -> Volume {
        let has_channels = volume.has_channels;
        let values: Values = match self {
            Dtype::Held(element) => return volume.cast(element),
            Dtype::Bool => with_nonzero(volume.values),
            Dtype::Int8 => integers(volume).mapv(|x| i32::from(x as i8)).into(),
            Dtype::Int16 => integers(volume).mapv(|x| i32::from(x as i16)).into(),
            Dtype::Uint32 => integers(volume).mapv_into(|x| i64::from(x as u32)).into(),
            // Values of 2^63 and more do not occur in images; below, the bits are the same.
            Dtype::Uint64 => integers(volume).into(),
            Dtype::Float16 => match volume.values {
                Values::F64(array) => array.mapv(|x| f16::from_f64(x).to_f32()).into(),
                values => Volume { values, has_channels }
                    .into_f32()
                    .mapv_into(|x| f16::from_f32(x).to_f32())
                    .into(),
            },
        };
        Volume { values, has_channels }
    }
}

fn integers(volume: Volume) -> ndarray::Array4<i64> {
    match volume.cast(Element::I64).values {
        Values::I64(array) => array,
        _ => unreachable!("the volume was cast"),
    }
}

/// 1 where a voxel is not 0, not-a-number included, as numpy's bool.
fn with_nonzero(values: Values) -> Values {
    match values {
        Values::U8(a) => a.mapv_into(|x| u8::from(x != 0)).into(),
        Values::U16(a) => a.mapv(|x| u8::from(x != 0)).into(),
        Values::I32(a) => a.mapv(|x| u8::from(x != 0)).into(),
        Values::I64(a) => a.mapv(|x| u8::from(x != 0)).into(),
        Values::F32(a) => a.mapv(|x| u8::from(x != 0.0)).into(),
        Values::F64(a) => a.mapv(|x| u8::from(x != 0.0)).into(),
    }
}
