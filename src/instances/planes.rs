//! Volumes that are read in slabs of slices, from memory or from a file.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::Result;

/// One channel of a volume (D, H, W) as float32. What is in memory is lent as it is;
/// what is in a file is read slab by slab, so that it need not fit in memory.
pub trait Planes: Sync {
    /// Depth, height and width.
    fn size(&self) -> [usize; 3];

    /// How many slices to ask for at a time.
    fn slab(&self) -> usize;

    /// The voxels of some slices, (d, H, W).
    fn read(&self, slices: Range<usize>) -> Result<Cow<'_, [f32]>>;

    /// The voxels of a box: ranges along z, y and x.
    fn read_box(&self, [z, y, x]: &[Range<usize>; 3]) -> Result<Vec<f32>> {
        let [_, _, width] = self.size();
        let mut values = Vec::with_capacity(z.len() * y.len() * x.len());
        for z in z.clone() {
            let slice = self.read(z..z + 1)?;
            for row in slice.chunks_exact(width).take(y.end).skip(y.start) {
                values.extend_from_slice(&row[x.clone()]);
            }
        }
        Ok(values)
    }
}

/// A volume in memory.
#[derive(Clone, Copy, Debug)]
pub struct InMemory<'a> {
    values: &'a [f32],
    size: [usize; 3],
}

impl<'a> InMemory<'a> {
    /// # Panics
    /// If there are not as many values as the size says.
    pub fn new(values: &'a [f32], size: [usize; 3]) -> Self {
        assert_eq!(values.len(), size.iter().product::<usize>());
        InMemory { values, size }
    }
}

impl Planes for InMemory<'_> {
    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn slab(&self) -> usize {
        self.size[0]
    }

    fn read(&self, slices: Range<usize>) -> Result<Cow<'_, [f32]>> {
        let plane = self.size[1] * self.size[2];
        Ok(Cow::Borrowed(&self.values[slices.start * plane..slices.end * plane]))
    }
}

/// A volume in memory that owns its voxels.
#[derive(Clone, Debug)]
pub struct Held {
    values: Vec<f32>,
    size: [usize; 3],
}

impl Held {
    /// # Panics
    /// If there are not as many values as the size says.
    pub fn new(values: Vec<f32>, size: [usize; 3]) -> Self {
        assert_eq!(values.len(), size.iter().product::<usize>());
        Held { values, size }
    }
}

impl Planes for Held {
    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn slab(&self) -> usize {
        self.size[0]
    }

    fn read(&self, slices: Range<usize>) -> Result<Cow<'_, [f32]>> {
        let plane = self.size[1] * self.size[2];
        Ok(Cow::Borrowed(&self.values[slices.start * plane..slices.end * plane]))
    }
}

/// One volume minus another of the same size.
pub struct Difference<'a> {
    pub from: &'a dyn Planes,
    pub what: &'a dyn Planes,
}

impl Planes for Difference<'_> {
    fn size(&self) -> [usize; 3] {
        self.from.size()
    }

    fn slab(&self) -> usize {
        // Never lent, so never all at once.
        self.from.slab().min(self.what.slab()).min(16)
    }

    fn read(&self, slices: Range<usize>) -> Result<Cow<'_, [f32]>> {
        let mut values = self.from.read(slices.clone())?.into_owned();
        for (value, what) in values.iter_mut().zip(self.what.read(slices)?.iter()) {
            *value -= what;
        }
        Ok(Cow::Owned(values))
    }
}

/// The slabs in which a volume is read: ranges of slices that cover it.
pub fn slabs(planes: &dyn Planes) -> impl Iterator<Item = Range<usize>> {
    let (depth, slab) = (planes.size()[0], planes.slab().max(1));
    (0..depth).step_by(slab).map(move |z| z..(z + slab).min(depth))
}
