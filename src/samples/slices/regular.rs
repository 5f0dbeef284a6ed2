//! `SliceBuilder`: patches in rows, columns and layers at a fixed stride.

use anyhow::Result;

use super::{PATCH_SHAPE, SKIP_SHAPE_CHECK, STRIDE_SHAPE};
use super::{SliceBuilder, SliceBuilderEntry, Targets, WindowDraws, check_fit, patch_shape};
use crate::config::{ConfigError, Node, Section};
use crate::volume::Window;

pub(super) static ENTRY: SliceBuilderEntry = SliceBuilderEntry {
    name: "SliceBuilder",
    meaning: "patches in rows, columns and layers at a fixed stride",
    parameters: &[PATCH_SHAPE.of_length(3), STRIDE_SHAPE, SKIP_SHAPE_CHECK],
    build: |section| Ok(Box::new(Regular::read(section)?)),
};

/// Where patches begin along the three axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub patch: [usize; 3],
    pub stride: [usize; 3],
}

impl Grid {
    /// Starts 0, s, 2s, … while the patch fits, then one flush with the end.
    /// Empty if the patch is longer than the axis.
    pub fn starts(&self, axis: usize, length: usize) -> Vec<usize> {
        let Some(last) = length.checked_sub(self.patch[axis]) else { return Vec::new() };
        let mut starts: Vec<_> = (0..=last).step_by(self.stride[axis]).collect();
        if starts.last() != Some(&last) {
            starts.push(last);
        }
        starts
    }

    /// All windows of a volume, z outermost.
    pub fn windows(&self, size: [usize; 3]) -> Vec<Window> {
        let [zs, ys, xs] = [0, 1, 2].map(|axis| self.starts(axis, size[axis]));
        let mut windows = Vec::with_capacity(zs.len() * ys.len() * xs.len());
        for &z in &zs {
            for &y in &ys {
                windows.extend(xs.iter().map(|&x| Window::new([z, y, x], self.patch)));
            }
        }
        windows
    }
}

pub(super) struct Regular {
    pub grid: Grid,
    patch_node: Node,
}

impl Regular {
    pub fn read(section: &Section<'_>) -> Result<Regular, ConfigError> {
        let patch = patch_shape(section)?;
        let stride = section.integers("stride_shape");
        let stride = [0, 1, 2].map(|axis| stride[axis] as usize);
        let patch_node = section.child("patch_shape").unwrap_or(section.node).clone();
        Ok(Regular { grid: Grid { patch, stride }, patch_node })
    }
}

impl SliceBuilder for Regular {
    fn windows(&self, file: &Targets<'_>, _: &WindowDraws) -> Result<Vec<Window>> {
        check_fit(self.grid.patch, file, &self.patch_node)?;
        Ok(self.grid.windows(file.size))
    }

    fn patch(&self) -> [usize; 3] {
        self.grid.patch
    }

    fn grid(&self) -> Option<Grid> {
        Some(self.grid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_patch_is_flush_with_the_end() {
        let grid = Grid { patch: [4; 3], stride: [3, 4, 9] };
        assert_eq!(grid.starts(0, 10), [0, 3, 6]);
        assert_eq!(grid.starts(0, 11), [0, 3, 6, 7]);
        assert_eq!(grid.starts(1, 8), [0, 4]);
        assert_eq!(grid.starts(2, 20), [0, 9, 16]);
        assert_eq!(grid.starts(2, 4), [0]);
        assert!(grid.starts(2, 3).is_empty());
    }

    #[test]
    fn z_is_outermost() {
        let grid = Grid { patch: [1, 2, 2], stride: [1, 2, 2] };
        let origins: Vec<_> = grid.windows([2, 2, 4]).iter().map(|window| window.origin).collect();
        assert_eq!(origins, [[0, 0, 0], [0, 0, 2], [1, 0, 0], [1, 0, 2]]);
    }
}
