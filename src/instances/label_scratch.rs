//! Labels of a volume that is too large for the memory.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

/// A box: ranges of z, y and x.
pub type Box3 = [Range<usize>; 3];

pub fn size_of_box(part: &Box3) -> [usize; 3] {
    [0, 1, 2].map(|axis| part[axis].len())
}

pub fn voxels_of(part: &Box3) -> usize {
    size_of_box(part).iter().product()
}

/// Labels of a volume in a file without a name.
pub struct LabelScratch {
    file: File,
    size: [usize; 3],
}

impl LabelScratch {
    /// All labels are 0. The file is in `folder`, and goes with the process.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn new(folder: &Path, size: [usize; 3]) -> Result<LabelScratch> {
        let file = tempfile::tempfile_in(folder)
            .with_context(|| format!("{}: no file can be written there", folder.display()))?;
        file.set_len(size.iter().product::<usize>() as u64 * 4)?;
        Ok(LabelScratch { file, size })
    }

    /// Calls `each` with the number of the first voxel of every row of a box.
    fn rows(&self, part: &Box3, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let [_, height, width] = self.size;
        for z in part[0].clone() {
            for y in part[1].clone() {
                each(((z * height + y) * width + part[2].start) as u64)?;
            }
        }
        Ok(())
    }

    /// Writes the labels of a box, x fastest.
    pub fn write(&self, part: &Box3, labels: &[u32]) -> Result<()> {
        let mut rows = labels.chunks_exact(part[2].len());
        let mut bytes = Vec::new();
        self.rows(part, |first| {
            bytes.clear();
            bytes.extend(rows.next().unwrap_or_default().iter().flat_map(|n| n.to_le_bytes()));
            self.file.write_all_at(&bytes, first * 4).context("writing labels aside failed")
        })
    }

    /// The labels of a box, x fastest.
    pub fn read(&self, part: &Box3) -> Result<Vec<u32>> {
        let mut bytes = vec![0; part[2].len() * 4];
        let mut labels = Vec::with_capacity(voxels_of(part));
        self.rows(part, |first| {
            self.file.read_exact_at(&mut bytes, first * 4)?;
            labels.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
            Ok(())
        })?;
        Ok(labels)
    }

    /// Calls `each` with the labels of every slice.
    pub fn each_slice(&self, mut each: impl FnMut(&mut [u32]) -> Result<()>) -> Result<()> {
        for z in 0..self.size[0] {
            let mut labels = self.read(&[z..z + 1, 0..self.size[1], 0..self.size[2]])?;
            each(&mut labels)?;
        }
        Ok(())
    }
}
