//! Parts of an array that threads fill side by side.

use anyhow::Result;
use ndarray::{ArrayViewMut4, Axis};

use crate::runtime::threads;

/// A part of the array that is being filled: where it begins in the data set,
/// and its voxels. (C, D, H, W)
pub(crate) type Tile<'a, T> = ([usize; 4], ArrayViewMut4<'a, T>);

/// Cuts an array along the lines of a grid that has one at 0 and every `step`.
pub(crate) fn split<T>(
    origin: [usize; 4],
    array: ArrayViewMut4<'_, T>,
    step: [usize; 4],
) -> Vec<Tile<'_, T>> {
    let mut tiles = vec![(origin, array)];
    for axis in 0..4 {
        let mut cut = Vec::new();
        for (mut origin, mut rest) in tiles {
            loop {
                let to_line = step[axis] - origin[axis] % step[axis];
                if rest.len_of(Axis(axis)) <= to_line {
                    cut.push((origin, rest));
                    break;
                }
                let (tile, more) = rest.split_at(Axis(axis), to_line);
                cut.push((origin, tile));
                origin[axis] += to_line;
                rest = more;
            }
        }
        tiles = cut;
    }
    tiles
}

/// Works on all tiles with that many threads, each with a state of its own. The
/// first error stops them all.
pub(crate) fn for_each<T: Send, S: Default>(
    tiles: Vec<Tile<'_, T>>,
    threads: usize,
    work: impl Fn(&mut S, [usize; 4], ArrayViewMut4<'_, T>) -> Result<()> + Sync,
) -> Result<()> {
    threads::for_each(tiles, threads, |state: &mut S, (origin, tile)| work(state, origin, tile))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    #[test]
    fn tiles_meet_the_lines_of_the_grid() {
        let mut array = Array4::<u8>::zeros((1, 5, 1, 7));
        let tiles = split([0, 3, 0, 2], array.view_mut(), [1, 4, 9, 3]);
        let places: Vec<_> = tiles.iter().map(|(at, tile)| (at[1], at[3], tile.dim())).collect();
        assert_eq!(
            places,
            [
                (3, 2, (1, 1, 1, 1)),
                (3, 3, (1, 1, 1, 3)),
                (3, 6, (1, 1, 1, 3)),
                (4, 2, (1, 4, 1, 1)),
                (4, 3, (1, 4, 1, 3)),
                (4, 6, (1, 4, 1, 3)),
            ]
        );
    }

    #[test]
    fn every_tile_is_worked_on_and_an_error_ends_it() {
        for threads in [1, 3] {
            let mut array = Array4::<u16>::zeros((2, 3, 4, 5));
            let tiles = split([0; 4], array.view_mut(), [1, 2, 2, 2]);
            for_each(tiles, threads, |(): &mut (), _, mut tile| {
                tile += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!(array, Array4::<u16>::ones((2, 3, 4, 5)));
            let tiles = split([0; 4], array.view_mut(), [1; 4]);
            let error = for_each(tiles, threads, |(): &mut (), origin, _| {
                anyhow::ensure!(origin != [1, 0, 2, 1], "not here");
                Ok(())
            });
            assert_eq!(error.unwrap_err().to_string(), "not here");
        }
    }
}
