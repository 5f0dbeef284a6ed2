//! Compact forms of volumes with many channels.
//!
//! A one-hot label sets at most one class at a voxel, and a weight map has one
//! column of weights for each cell. Both are held as an index for each voxel;
//! expanding them gives the volume back, bit for bit.

use ndarray::{Array4, ArrayView2, Axis, s};

use super::{Element, Values, Volume, Window};
use crate::{map_values, with_values};

/// A one-hot label (C, D, H, W), held as the class of each voxel.
#[derive(Clone, Debug, PartialEq)]
pub struct OneHot {
    /// (1, D, H, W); [`OneHot::NONE`] where no class is set.
    pub indices: Array4<u16>,
    pub classes: usize,
    /// Element type of the volume it stands for.
    pub element: Element,
}

impl OneHot {
    /// Stands where all classes are 0.
    pub const NONE: u16 = u16::MAX;

    /// Depth, height, width.
    pub fn size(&self) -> [usize; 3] {
        size(&self.indices)
    }

    pub fn bytes(&self) -> usize {
        self.indices.len() * size_of::<u16>()
    }

    /// The classes within a window.
    pub fn window(&self, window: &Window) -> OneHot {
        OneHot { indices: cut(&self.indices, window), ..*self }
    }

    /// The volume (C, D, H, W).
    pub fn expand(&self) -> Volume {
        fn fill<T: Copy>(label: &OneHot, zero: T, one: T) -> Array4<T> {
            let [d, h, w] = label.size();
            let mut out = vec![zero; label.classes * d * h * w];
            for (voxel, &class) in label.indices.iter().enumerate() {
                if class != OneHot::NONE {
                    out[usize::from(class) * d * h * w + voxel] = one;
                }
            }
            Array4::from_shape_vec((label.classes, d, h, w), out).expect("C × D × H × W values")
        }
        let values: Values = match self.element {
            Element::U8 => fill(self, 0u8, 1).into(),
            Element::U16 => fill(self, 0u16, 1).into(),
            Element::I32 => fill(self, 0i32, 1).into(),
            Element::I64 => fill(self, 0i64, 1).into(),
            Element::F32 => fill(self, 0f32, 1.0).into(),
            Element::F64 => fill(self, 0f64, 1.0).into(),
        };
        Volume { values, has_channels: true }
    }
}

/// A volume (C, D, H, W) with few different columns of channels, held as the
/// number of each voxel's column.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// (1, D, H, W), rows of the table.
    pub indices: Array4<u16>,
    /// (1, 1, columns, C), in the order in which the columns come first.
    pub table: Values,
}

impl Palette {
    /// More columns than that have no index.
    pub const LIMIT: usize = u16::MAX as usize;

    /// Depth, height, width.
    pub fn size(&self) -> [usize; 3] {
        size(&self.indices)
    }

    pub fn columns(&self) -> usize {
        with_values!(&self.table, table => table.dim().2)
    }

    pub fn channels(&self) -> usize {
        with_values!(&self.table, table => table.dim().3)
    }

    pub fn element(&self) -> Element {
        self.table.element()
    }

    pub fn bytes(&self) -> usize {
        self.indices.len() * size_of::<u16>()
            + self.columns() * self.channels() * self.element().size()
    }

    /// The row of the table that is `value` in all channels, added if there is
    /// none yet; `None` if the table is full.
    pub fn row_of(&mut self, value: f64) -> Option<u16> {
        let columns = self.columns();
        with_values!(&mut self.table, table => {
            let value = value as _;
            let mut rows = table.slice(s![0, 0, .., ..]).into_owned();
            let known = rows.rows().into_iter().position(|row| row.iter().all(|&x| x == value));
            if let Some(row) = known {
                return u16::try_from(row).ok();
            }
            if columns == Palette::LIMIT {
                return None;
            }
            rows.push_row(ndarray::ArrayView1::from(&vec![value; rows.ncols()])).ok()?;
            *table = rows.insert_axis(Axis(0)).insert_axis(Axis(0));
        });
        u16::try_from(columns).ok()
    }

    /// The columns within a window, with the whole table.
    pub fn window(&self, window: &Window) -> Palette {
        Palette { indices: cut(&self.indices, window), table: self.table.clone() }
    }

    /// The volume (C, D, H, W).
    pub fn expand(&self) -> Volume {
        fn fill<T: Copy>(indices: &Array4<u16>, table: ArrayView2<'_, T>) -> Array4<T> {
            let (_, d, h, w) = indices.dim();
            let channels = table.ncols();
            let mut out = Vec::with_capacity(channels * indices.len());
            // A channel of the table lies in the nearest cache, all of it does not.
            for channel in table.columns() {
                let channel = channel.to_vec();
                out.extend(indices.iter().map(|&index| channel[usize::from(index)]));
            }
            Array4::from_shape_vec((channels, d, h, w), out).expect("C × D × H × W values")
        }
        let values = map_values!(&self.table, table => {
            fill(&self.indices, table.slice(s![0, 0, .., ..]))
        });
        Volume { values, has_channels: true }
    }
}

fn size(indices: &Array4<u16>) -> [usize; 3] {
    let (_, d, h, w) = indices.dim();
    [d, h, w]
}

fn cut(indices: &Array4<u16>, window: &Window) -> Array4<u16> {
    super::window::copy_window(indices, window)
}
