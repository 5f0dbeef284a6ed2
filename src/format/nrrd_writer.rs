//! Label images as NRRD, with the header that ANTSUN's programs write.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::files::{InputFile, PartialFile};

/// Writes a label image of a size (D, H, W) and voxel size (z, y, x): uint16, or
/// uint32 where labels exceed 65,535. `slice` fills the labels of slice z, (H, W).
/// The file waits for its name.
pub fn write_labels(
    path: &Path,
    size: [usize; 3],
    voxel_size: [f64; 3],
    largest: u32,
    mut slice: impl FnMut(usize, &mut [u32]),
) -> Result<PartialFile> {
    let [depth, height, width] = size;
    let wide = largest > u32::from(u16::MAX);
    let mut labels = vec![0; height * width];
    let mut write = || -> io::Result<PartialFile> {
        let partial = PartialFile::create(path)?;
        let mut file = BufWriter::new(partial.file());
        file.write_all(header(size, voxel_size, wide).as_bytes())?;
        let mut packed = GzEncoder::new(&mut file, Compression::default());
        let mut bytes = Vec::new();
        for z in 0..depth {
            slice(z, &mut labels);
            bytes.clear();
            if wide {
                bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
            } else {
                bytes.extend(labels.iter().flat_map(|label| (*label as u16).to_le_bytes()));
            }
            packed.write_all(&bytes)?;
        }
        packed.finish()?;
        file.flush()?;
        drop(file);
        Ok(partial)
    };
    write().with_context(|| format!("{}: writing failed", path.display()))
}

/// Whether a file begins with a header of ours, so that nothing is lost by replacing
/// it.
pub fn is_labels(path: &Path) -> bool {
    let Ok(InputFile { mut file, .. }) = InputFile::open(path, "an image") else { return false };
    let mut start = Vec::new();
    let longest = header([usize::MAX; 3], [f64::MIN_POSITIVE; 3], true).len() as u64;
    let read = io::Read::take(&mut file, longest);
    if io::copy(&mut { read }, &mut start).is_err() {
        return false;
    }
    let text = String::from_utf8_lossy(&start);
    let ours = header([1; 3], [1.0; 3], false);
    let kept = |line: &&str| {
        !["type:", "sizes:", "space directions:"].iter().any(|key| line.starts_with(key))
    };
    ours.lines().filter(kept).eq(text.lines().filter(kept).take(ours.lines().filter(kept).count()))
}

/// Up to the empty line that the voxels follow.
fn header([depth, height, width]: [usize; 3], [z, y, x]: [f64; 3], wide: bool) -> String {
    let kind = if wide { "uint32" } else { "uint16" };
    format!(
        "NRRD0004\n\
         # Complete NRRD file format specification at:\n\
         # http://teem.sourceforge.net/nrrd/format.html\n\
         type: {kind}\n\
         dimension: 3\n\
         space: left-posterior-superior\n\
         sizes: {width} {height} {depth}\n\
         space directions: ({x},0,0) (0,{y},0) (0,0,{z}) \n\
         kinds: domain domain domain \n\
         endian: little\n\
         encoding: gzip\n\
         space origin: (0,0,0)\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_images_are_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        for largest in [2, 70_000] {
            write_labels(&path, [2, 1, 3], [0.5, 1.0, 2.0], largest, |z, labels| {
                labels.copy_from_slice(&[0, 1, largest]);
                labels[0] = z as u32;
            })
            .unwrap()
            .replace()
            .unwrap();
            assert!(is_labels(&path));
        }
        std::fs::write(&path, "NRRD0004\ntype: uint16\ndimension: 3\nencoding: raw\n\n").unwrap();
        assert!(!is_labels(&path));
        assert!(!is_labels(&folder.path().join("b.nrrd")));
    }
}
