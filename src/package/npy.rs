//! Arrays as numpy saves them (`.npy`, versions 1 to 3).

use anyhow::{Context, Result, bail, ensure};

/// An array of numbers in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Reads the bytes of a `.npy` file; numbers of any type become float32.
///
/// # Errors
/// Bytes that are no such file, Fortran order, structured types.
pub fn read(bytes: &[u8]) -> Result<NpyArray> {
    ensure!(bytes.len() > 12 && bytes.starts_with(b"\x93NUMPY"), "it is no .npy file");
    let (start, length) = match bytes[6] {
        1 => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
        _ => (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize),
    };
    let header = bytes.get(start..start + length).context("its header is cut off")?;
    let header = std::str::from_utf8(header).context("its header is no text")?;
    ensure!(header.contains("'fortran_order': False"), "it is stored in Fortran order");
    let after = |key: &str| header.split(key).nth(1).context("its header is incomplete");
    let kind = after("'descr': '")?.split('\'').next().unwrap_or_default();
    let shape = after("'shape': (")?.split(')').next().unwrap_or_default();
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().context("its shape is no list of numbers"))
        .collect::<Result<_>>()?;
    let data = &bytes[start + length..];
    let values: Vec<f32> = match kind {
        "<f4" => numbers(data, f32::from_le_bytes),
        "<f8" => numbers(data, |b| f64::from_le_bytes(b) as f32),
        "<f2" => numbers(data, |b| half::f16::from_le_bytes(b).to_f32()),
        "|u1" => data.iter().map(|&b| f32::from(b)).collect(),
        "|b1" => data.iter().map(|&b| f32::from(u8::from(b != 0))).collect(),
        "|i1" => data.iter().map(|&b| f32::from(b as i8)).collect(),
        "<u2" => numbers(data, |b| f32::from(u16::from_le_bytes(b))),
        "<i2" => numbers(data, |b| f32::from(i16::from_le_bytes(b))),
        "<u4" => numbers(data, |b| u32::from_le_bytes(b) as f32),
        "<i4" => numbers(data, |b| i32::from_le_bytes(b) as f32),
        "<u8" => numbers(data, |b| u64::from_le_bytes(b) as f32),
        "<i8" => numbers(data, |b| i64::from_le_bytes(b) as f32),
        other => bail!("numbers of the type `{other}` are not read"),
    };
    let count = shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n));
    ensure!(count == Some(values.len()), "it has {} values for the shape {shape:?}", values.len());
    Ok(NpyArray { shape, values })
}

/// The bytes of a `.npy` file of float32 in C order.
pub fn write(shape: &[usize], values: impl Iterator<Item = f32>) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(|size| format!("{size},")).collect();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sizes.join(" "));
    // Numbers begin at a multiple of 64 bytes.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    values.for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

fn numbers<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_numpy_are_read() {
        let mut bytes = b"\x93NUMPY\x01\x00v\x00".to_vec();
        let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 3), }";
        bytes.extend(format!("{header:<117}\n").bytes());
        bytes.extend([1, 0, 255, 255, 3, 0]);
        let found = read(&bytes).unwrap();
        assert_eq!(found, NpyArray { shape: vec![1, 3], values: vec![1.0, -1.0, 3.0] });
        assert!(read(&bytes[..bytes.len() - 2]).is_err());
        assert!(read(b"PK").is_err());
        let again = read(&write(&found.shape, found.values.iter().copied())).unwrap();
        assert_eq!(again, found);
    }
}
