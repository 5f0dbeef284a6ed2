//! `SliceBuilder`: patches in rows, columns and layers at a fixed stride.

use anyhow::Result;

use super::{LEAST, PATCH_SHAPE, SKIP_SHAPE_CHECK, STRIDE_SHAPE};
use super::{SliceBuilder, SliceBuilderEntry, Targets, WindowDraws, check_fit, patch_shape};
use crate::config::{ConfigError, Node, Parameter, Section};
use crate::volume::Window;

pub(super) static ENTRY: SliceBuilderEntry = SliceBuilderEntry {
    name: "SliceBuilder",
    meaning: "patches in rows, columns and layers at a fixed stride",
    parameters: &[PATCH_SHAPE.of_length(3), STRIDE_SHAPE, SKIP_SHAPE_CHECK],
    build: |section| Ok(Box::new(Regular::read(section, LEAST)?)),
};

/// With a halo, and without a bound on the depth of a patch.
pub(super) static UPSTREAM: SliceBuilderEntry = SliceBuilderEntry {
    name: "SliceBuilder",
    meaning: "patches in rows, columns and layers at a fixed stride; prediction reads a halo \
              around them",
    parameters: &[PATCH_SHAPE.of_length(3), STRIDE_SHAPE, HALO_SHAPE, SKIP_PLANE_CHECK],
    build: |section| Ok(Box::new(Regular::with_halo(section)?)),
};

/// Upstream's smallest patch: only height and width have a bound.
pub(super) const LEAST_PLANE: [usize; 3] = [1, 64, 64];
pub(super) const SKIP_PLANE_CHECK: Parameter =
    Parameter::flag("skip_shape_check", false, "allow patches of less than 64×64 in y and x");
pub(super) const HALO_SHAPE: Parameter = Parameter::integers(
    "halo_shape",
    &[0, 0, 0],
    "prediction: voxels read on every side of a patch, mirrored at the border of the volume, and \
     cut from its output",
)
.at_least(0.0)
.of_length(3);

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
    halo: [usize; 3],
    patch_node: Node,
}

impl Regular {
    /// A grid of patches that are not smaller than `least`, without a halo.
    pub fn read(section: &Section<'_>, least: [usize; 3]) -> Result<Regular, ConfigError> {
        let patch = patch_shape(section, least)?;
        let stride = section.integers("stride_shape");
        let stride = [0, 1, 2].map(|axis| stride[axis] as usize);
        let patch_node = section.child("patch_shape").unwrap_or(section.node).clone();
        Ok(Regular { grid: Grid { patch, stride }, halo: [0; 3], patch_node })
    }

    /// A grid with the halo of [`HALO_SHAPE`].
    pub fn with_halo(section: &Section<'_>) -> Result<Regular, ConfigError> {
        let halo = section.integers(HALO_SHAPE.name);
        let halo = [0, 1, 2].map(|axis| halo[axis] as usize);
        Ok(Regular { halo, ..Regular::read(section, LEAST_PLANE)? })
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

    fn halo(&self) -> [usize; 3] {
        self.halo
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
