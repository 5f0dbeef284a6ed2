//! Floating-point results, which all intensity transforms have.

use ndarray::Array4;

use crate::volume::{Element, Values, Volume, VolumeShape};

/// The element type of the result of an intensity transform: float64 stays float64, every other
/// type becomes float32.
pub fn element_of(element: Element) -> Element {
    if element == Element::F64 { Element::F64 } else { Element::F32 }
}

/// The shape of the result of an intensity transform.
pub fn output_shape(input: VolumeShape) -> VolumeShape {
    let element = element_of(input.element);
    input.with_element(element)
}

/// Converts a volume to the type of [`element_of`].
pub fn convert(volume: Volume) -> Volume {
    let element = element_of(volume.element());
    volume.cast(element)
}

/// Applies `f`, computed in float64, to each voxel; in place if the volume has a floating-point
/// type.
pub fn map(volume: Volume, f: impl Fn(f64) -> f64) -> Volume {
    fn widen<T: Copy>(array: &Array4<T>, f: impl Fn(T) -> f64) -> Values {
        array.mapv(|x| f(x) as f32).into()
    }
    let values = match volume.values {
        Values::F32(mut array) => {
            array.mapv_inplace(|x| f(f64::from(x)) as f32);
            Values::F32(array)
        }
        Values::F64(mut array) => {
            array.mapv_inplace(f);
            Values::F64(array)
        }
        Values::U8(array) => widen(&array, |x| f(f64::from(x))),
        Values::U16(array) => widen(&array, |x| f(f64::from(x))),
        Values::I32(array) => widen(&array, |x| f(f64::from(x))),
        Values::I64(array) => widen(&array, |x| f(x as f64)),
    };
    Volume { values, has_channels: volume.has_channels }
}

/// The mean, summed in float64 over several lanes at once.
pub fn mean<T: Copy + Into<f64>>(values: &[T]) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for block in blocks {
        for (sum, &value) in sums.iter_mut().zip(block) {
            *sum += value.into();
        }
    }
    let rest: f64 = rest.iter().map(|&value| value.into()).sum();
    (sums.iter().sum::<f64>() + rest) / values.len() as f64
}
