//! From a number for each cell to foreground, background and gaps.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use ndarray::{Array3, Axis, Zip};

use super::weighting::{BACKGROUND, FOREGROUND, GAP};

/// The labels of an image of numbered cells (0 is background), as an expert would paint
/// them: 1 inside a cell, 2 outside, 3 where cells touch or almost do.
///
/// - Of two neighbouring voxels of different cells, the first in the order z, y, x
///   becomes gap: between cells that touch there is one layer of it, and no voxels of
///   two cells are neighbours any more, not even by a corner.
/// - Background with two different cells among its neighbours is gap.
///
/// # Errors
/// Labels below 0.
pub fn painted(cells: &Array3<i64>) -> Result<Array3<u8>> {
    if let Some(label) = cells.iter().find(|label| **label < 0) {
        bail!("it holds the label {label}: cells are numbered from 1, and 0 is background");
    }
    // The least and the largest label among the neighbours, without background.
    let mut least = cells.mapv(|label| if label == 0 { i64::MAX } else { label });
    let mut largest = cells.clone();
    spread(&mut least, i64::min);
    spread(&mut largest, i64::max);
    let mut painted = Array3::from_elem(cells.dim(), BACKGROUND);
    Zip::from(&mut painted).and(cells).and(&least).and(&largest).for_each(
        |painted, cell, least, largest| {
            let several = *largest > 0 && least != largest;
            *painted = match (*cell, several) {
                (0, true) => GAP,
                (0, false) => BACKGROUND,
                _ => FOREGROUND,
            };
        },
    );
    for ((z, y, x), painted) in painted.indexed_iter_mut() {
        // Only beside another cell can a voxel be one that gives way.
        if *painted == FOREGROUND && least[(z, y, x)] != largest[(z, y, x)] {
            let cell = cells[(z, y, x)];
            let gives_way = LATER.iter().any(|[dz, dy, dx]| {
                let place = (
                    z.wrapping_add_signed(*dz),
                    y.wrapping_add_signed(*dy),
                    x.wrapping_add_signed(*dx),
                );
                // Places that wrap below 0 lie outside the array.
                cells.get(place).is_some_and(|other| *other > 0 && *other != cell)
            });
            if gives_way {
                *painted = GAP;
            }
        }
    }
    Ok(painted)
}

/// The 13 of 26 neighbours that come later in the order z, y, x.
const LATER: [[isize; 3]; 13] = [
    [0, 0, 1],
    [0, 1, -1],
    [0, 1, 0],
    [0, 1, 1],
    [1, -1, -1],
    [1, -1, 0],
    [1, -1, 1],
    [1, 0, -1],
    [1, 0, 0],
    [1, 0, 1],
    [1, 1, -1],
    [1, 1, 0],
    [1, 1, 1],
];

/// Gives each voxel what `choose` makes of it and its 26 neighbours.
fn spread(labels: &mut Array3<i64>, choose: impl Fn(i64, i64) -> i64) {
    for axis in 0..3 {
        for mut lane in labels.lanes_mut(Axis(axis)) {
            let mut before = lane[0];
            for i in 0..lane.len() {
                let own = lane[i];
                let after = lane[(i + 1).min(lane.len() - 1)];
                lane[i] = choose(choose(before, own), after);
                before = own;
            }
        }
    }
}

/// The numbers of cells of which no foreground is left: too thin to have a gap beside
/// them.
pub fn lost(cells: &Array3<i64>, painted: &Array3<u8>) -> Vec<i64> {
    let mut left = BTreeMap::new();
    Zip::from(cells).and(painted).for_each(|cell, painted| {
        if *cell > 0 {
            *left.entry(*cell).or_insert(false) |= *painted == FOREGROUND;
        }
    });
    left.into_iter().filter(|(_, left)| !left).map(|(cell, _)| cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regions::{Connectivity, components};
    use ndarray::array;

    #[test]
    fn a_layer_of_gap_divides_cells_that_touch() {
        let cells = array![[[1, 1, 1, 2, 2, 2, 0, 0, 0]]];
        assert_eq!(painted(&cells).unwrap(), array![[[1, 1, 3, 1, 1, 1, 2, 2, 2]]]);
        let apart = array![[[1, 1, 0, 2, 0, 0, 2]]];
        assert_eq!(painted(&apart).unwrap(), array![[[1, 1, 3, 1, 2, 2, 1]]]);
        // By a corner, too.
        let corner = array![[[1, 1, 0], [0, 0, 7]]];
        assert_eq!(painted(&corner).unwrap(), array![[[1, 3, 3], [2, 3, 1]]]);
        assert!(painted(&array![[[0, -1]]]).unwrap_err().to_string().contains("-1"));
    }

    #[test]
    fn cells_are_components_of_what_is_left() {
        // Balls that grow into each other, each voxel given to the nearest.
        let centres = [[5.0, 6.0, 6.0], [6.0, 12.0, 9.0], [11.0, 9.0, 14.0], [4.0, 4.0, 17.0]];
        let cells = Array3::from_shape_fn((16, 18, 22), |(z, y, x)| {
            let square = |c: &[f64; 3]| {
                (z as f64 - c[0]).powi(2) + (y as f64 - c[1]).powi(2) + (x as f64 - c[2]).powi(2)
            };
            let nearest =
                (0..4).min_by(|a, b| square(&centres[*a]).total_cmp(&square(&centres[*b])));
            let nearest = nearest.unwrap();
            if square(&centres[nearest]) < 36.0 { nearest as i64 * 10 + 1 } else { 0 }
        });
        let painted = painted(&cells).unwrap();
        assert!(lost(&cells, &painted).is_empty());
        for (at, _) in painted.indexed_iter().filter(|(_, label)| **label == FOREGROUND) {
            for [dz, dy, dx] in LATER {
                let other = (
                    at.0.wrapping_add_signed(dz),
                    at.1.wrapping_add_signed(dy),
                    at.2.wrapping_add_signed(dx),
                );
                if painted.get(other) == Some(&FOREGROUND) {
                    assert_eq!(cells[at], cells[other], "{at:?} {other:?}");
                }
            }
        }
        let foreground = painted.mapv(|label| label == FOREGROUND);
        let found = components(foreground.view(), Connectivity::Corners26);
        assert_eq!(found.count, 4);
        // Gap is thin: what is gap has a cell on at least one side.
        let gap = painted.iter().filter(|label| **label == GAP).count();
        assert!(gap * 4 < cells.iter().filter(|label| **label > 0).count(), "{gap}");
    }

    #[test]
    fn cells_that_vanish_are_told() {
        let cells = array![[[1, 2, 3, 3]]];
        let painted = painted(&cells).unwrap();
        assert_eq!(painted, array![[[3, 3, 1, 1]]]);
        assert_eq!(lost(&cells, &painted), [1, 2]);
    }
}
