//! Which voxels are neighbours.

use std::fmt;

/// The neighbours of a voxel, by what the two share. The number is that of the neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Connectivity {
    /// Voxels that share a face (scikit-image's `connectivity=1`).
    #[default]
    Faces6,
    /// Voxels that share a face or an edge (`connectivity=2`).
    Edges18,
    /// Voxels that share a face, an edge or a corner (`connectivity=3`).
    Corners26,
}

impl Connectivity {
    /// The connectivity with that number of neighbours: 6, 18 or 26.
    pub fn of(neighbours: usize) -> Option<Connectivity> {
        match neighbours {
            6 => Some(Connectivity::Faces6),
            18 => Some(Connectivity::Edges18),
            26 => Some(Connectivity::Corners26),
            _ => None,
        }
    }

    /// On how many axes a neighbour may differ.
    fn axes(self) -> usize {
        match self {
            Connectivity::Faces6 => 1,
            Connectivity::Edges18 => 2,
            Connectivity::Corners26 => 3,
        }
    }

    /// Steps (z, y, x) to the neighbours, in scan order.
    pub fn steps(self) -> Vec<[isize; 3]> {
        let mut steps = Vec::with_capacity(26);
        for z in -1..=1isize {
            for y in -1..=1isize {
                for x in -1..=1isize {
                    let differing = z.abs() + y.abs() + x.abs();
                    if differing > 0 && differing as usize <= self.axes() {
                        steps.push([z, y, x]);
                    }
                }
            }
        }
        steps
    }

    /// The rows that come before a row in scan order and touch it: steps (z, y), and
    /// by how many voxels along x two runs may miss each other and still be neighbours.
    pub(super) fn rows_before(self) -> &'static [(isize, isize, u32)] {
        match self {
            Connectivity::Faces6 => &[(0, -1, 0), (-1, 0, 0)],
            Connectivity::Edges18 => &[(0, -1, 1), (-1, 0, 1), (-1, -1, 0), (-1, 1, 0)],
            Connectivity::Corners26 => &[(0, -1, 1), (-1, 0, 1), (-1, -1, 1), (-1, 1, 1)],
        }
    }
}

impl fmt::Display for Connectivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Connectivity::Faces6 => "6",
            Connectivity::Edges18 => "18",
            Connectivity::Corners26 => "26",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_counted_and_come_in_scan_order() {
        for number in [6, 18, 26] {
            let connectivity = Connectivity::of(number).unwrap();
            let steps = connectivity.steps();
            assert_eq!(steps.len(), number);
            assert!(steps.is_sorted());
            assert_eq!(connectivity.to_string(), number.to_string());
        }
        assert_eq!(Connectivity::of(8), None);
    }
}
