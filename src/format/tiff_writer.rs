//! Label images as TIFF stacks: one slice a page.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use tiff::decoder::Decoder;
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

use crate::files::{InputFile, PartialFile};

/// Pages from which on the positions in a file may need 64 bits.
const LARGE: usize = 3 << 30;

/// Writes a label image of a size (D, H, W): uint16, or uint32 where labels exceed
/// 65,535, as BigTIFF if it is large. `slice` fills the labels of slice z, (H, W).
/// The file waits for its name.
pub fn write_labels(
    path: &Path,
    size: [usize; 3],
    largest: u32,
    note: &str,
    slice: impl FnMut(usize, &mut [u32]),
) -> Result<PartialFile> {
    let write = || -> Result<PartialFile> {
        let partial = PartialFile::create(path)?;
        let mut file = BufWriter::new(partial.file());
        let bytes = size.iter().product::<usize>().saturating_mul(4);
        if bytes > LARGE {
            pages(TiffEncoder::new_big(&mut file)?, size, largest, note, slice)?;
        } else {
            pages(TiffEncoder::new(&mut file)?, size, largest, note, slice)?;
        }
        // Dropped, it would not tell of a full disk.
        file.flush()?;
        drop(file);
        Ok(partial)
    };
    write().with_context(|| format!("{}: writing failed", path.display()))
}

fn pages<K: tiff::encoder::TiffKind>(
    mut encoder: TiffEncoder<&mut BufWriter<&File>, K>,
    [depth, height, width]: [usize; 3],
    largest: u32,
    note: &str,
    mut slice: impl FnMut(usize, &mut [u32]),
) -> Result<()> {
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    let mut labels = vec![0; height as usize * width as usize];
    for z in 0..depth {
        slice(z, &mut labels);
        if largest > u32::from(u16::MAX) {
            let mut page = encoder.new_image::<colortype::Gray32>(width, height)?;
            page.encoder().write_tag(Tag::ImageDescription, note)?;
            page.write_data(&labels)?;
        } else {
            let narrow: Vec<u16> = labels.iter().map(|label| *label as u16).collect();
            let mut page = encoder.new_image::<colortype::Gray16>(width, height)?;
            page.encoder().write_tag(Tag::ImageDescription, note)?;
            page.write_data(&narrow)?;
        }
    }
    Ok(())
}

/// The note that [`write_labels`] left in a file.
pub fn note(path: &Path) -> Option<String> {
    let mut decoder = Decoder::new(InputFile::open(path, "an image").ok()?.file).ok()?;
    decoder.get_tag_ascii_string(Tag::ImageDescription).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_in_their_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tif");
        for largest in [9, 70_000] {
            write_labels(&path, [2, 2, 2], largest, "ours", |z, labels| {
                labels.copy_from_slice(&[z as u32, 1, 2, largest]);
            })
            .unwrap()
            .replace()
            .unwrap();
            assert_eq!(note(&path).as_deref(), Some("ours"));
            let read = super::super::read(&path, "").unwrap();
            assert_eq!(read.shape(), [2, 2, 2]);
            let values = read.into_f32().into_raw_vec_and_offset().0;
            assert_eq!(values, [0.0, 1.0, 2.0, largest as f32, 1.0, 1.0, 2.0, largest as f32]);
        }
    }
}
