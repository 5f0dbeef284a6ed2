//! Local maxima of an image, and which of them are worth a seed.

use std::collections::HashMap;

use super::Connectivity;

/// A local maximum: voxels of one value that touch each other and no higher voxel. A
/// plateau is one maximum.
#[derive(Clone, Debug, PartialEq)]
pub struct Maximum {
    pub value: f32,
    /// Its voxels as indices into the image, the first in scan order first.
    pub voxels: Vec<u32>,
}

/// The voxels among which maxima are looked for.
struct MaximaGrid<'a> {
    values: &'a [f32],
    mask: Option<&'a [bool]>,
    size: [usize; 3],
    steps: Vec<[isize; 3]>,
}

impl MaximaGrid<'_> {
    fn allows(&self, at: usize) -> bool {
        self.mask.is_none_or(|mask| mask[at])
    }

    /// Calls `each` with every neighbour that is in the mask.
    fn neighbours(&self, at: usize, mut each: impl FnMut(usize)) {
        let [depth, height, width] = self.size;
        let place = [at / (height * width), at / width % height, at % width];
        for step in &self.steps {
            let next: [Option<usize>; 3] =
                std::array::from_fn(|axis| place[axis].checked_add_signed(step[axis]));
            if let [Some(z), Some(y), Some(x)] = next
                && z < depth
                && y < height
                && x < width
            {
                let next = (z * height + y) * width + x;
                if self.allows(next) {
                    each(next);
                }
            }
        }
    }

    /// The voxels of one value that are connected with `at`.
    fn plateau(&self, at: usize, visited: &mut [bool]) -> Vec<u32> {
        visited[at] = true;
        let mut plateau = vec![at as u32];
        let mut next = 0;
        while next < plateau.len() {
            self.neighbours(plateau[next] as usize, |other| {
                if !visited[other] && self.values[other] == self.values[at] {
                    visited[other] = true;
                    plateau.push(other as u32);
                }
            });
            next += 1;
        }
        plateau
    }
}

/// The local maxima of an image (D, H, W) within `mask`, in scan order. The border of
/// the image and of the mask is no obstacle to a maximum.
///
/// # Panics
/// If image or mask do not have that size.
pub fn local_maxima(
    values: &[f32],
    mask: Option<&[bool]>,
    size: [usize; 3],
    connectivity: Connectivity,
) -> Vec<Maximum> {
    assert_eq!(values.len(), size.iter().product::<usize>());
    let grid = MaximaGrid { values, mask, size, steps: connectivity.steps() };
    let mut visited = vec![false; values.len()];
    let mut maxima = Vec::new();
    for at in 0..values.len() {
        if visited[at] || !grid.allows(at) {
            continue;
        }
        let (mut higher, mut equal) = (false, false);
        grid.neighbours(at, |next| {
            higher |= values[next] > values[at];
            equal |= values[next] == values[at];
        });
        if higher {
            continue;
        }
        let voxels = if equal { grid.plateau(at, &mut visited) } else { vec![at as u32] };
        let mut summit = true;
        if equal {
            for &voxel in &voxels {
                grid.neighbours(voxel as usize, |next| summit &= values[next] <= values[at]);
            }
        }
        if summit {
            maxima.push(Maximum { value: values[at], voxels });
        }
    }
    maxima
}

/// The maxima that stand at least `least` above the highest pass to a higher maximum,
/// in scan order. Of two equal maxima joined by such a shallow pass the first remains.
///
/// The image is flooded from above: voxels join in falling order, and where two maxima
/// meet the lower one has found its height (their *dynamics*, Grimaud 1992,
/// doi:10.1117/12.60650). These are the maxima of scikit-image's `h_maxima`, one for
/// each of its connected summits.
///
/// # Panics
/// If image or mask do not have that size.
pub fn h_maxima(
    values: &[f32],
    mask: Option<&[bool]>,
    size: [usize; 3],
    connectivity: Connectivity,
    least: f32,
) -> Vec<Maximum> {
    assert_eq!(values.len(), size.iter().product::<usize>());
    let grid = MaximaGrid { values, mask, size, steps: connectivity.steps() };
    let mut order: Vec<u32> =
        (0..values.len() as u32).filter(|&at| grid.allows(at as usize)).collect();
    order.sort_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]));
    const UNSEEN: u32 = u32::MAX;
    // A voxel's parent leads to the maximum that it belongs to: its first voxel.
    let mut parents = vec![UNSEEN; values.len()];
    let mut rank = vec![0u32; values.len()];
    let mut maxima: Vec<(u32, bool)> = Vec::new();
    let mut meeting = Vec::new();
    for at in order {
        let value = values[at as usize];
        meeting.clear();
        grid.neighbours(at as usize, |next| {
            if parents[next] != UNSEEN {
                meeting.push(next as u32);
            }
        });
        for next in &mut meeting {
            *next = root(&mut parents, *next);
        }
        // The maximum that was found first is the highest.
        meeting.sort_unstable_by_key(|&root| rank[root as usize]);
        meeting.dedup();
        match meeting.split_first() {
            None => {
                rank[at as usize] = maxima.len() as u32;
                parents[at as usize] = at;
                maxima.push((at, true));
            }
            Some((&highest, lower)) => {
                parents[at as usize] = highest;
                for &lower in lower {
                    parents[lower as usize] = highest;
                    let height = values[lower as usize] - value;
                    maxima[rank[lower as usize] as usize].1 = height > 0.0 && height >= least;
                }
            }
        }
    }
    let mut kept: Vec<u32> =
        maxima.into_iter().filter(|(_, kept)| *kept).map(|(at, _)| at).collect();
    kept.sort_unstable();
    let mut visited = vec![false; values.len()];
    kept.into_iter()
        .map(|at| {
            let voxels = grid.plateau(at as usize, &mut visited);
            Maximum { value: values[at as usize], voxels }
        })
        .collect()
}

fn root(parents: &mut [u32], mut at: u32) -> u32 {
    while parents[at as usize] != at {
        let above = parents[parents[at as usize] as usize];
        parents[at as usize] = above;
        at = above;
    }
    at
}

/// Leaves out maxima whose first voxel is nearer than `least` to that of a higher one
/// that stays, with the voxels' `spacing` along z, y, x; of equals the first stays.
/// What stays keeps its order.
pub fn apart(maxima: &mut Vec<Maximum>, size: [usize; 3], spacing: [f64; 3], least: f64) {
    let [_, height, width] = size;
    let place = |maximum: &Maximum| {
        let at = maximum.voxels[0] as usize;
        let voxel = [at / (height * width), at / width % height, at % width];
        std::array::from_fn(|axis| voxel[axis] as f64 * spacing[axis])
    };
    let mut order: Vec<usize> = (0..maxima.len()).collect();
    order.sort_by(|&a, &b| maxima[b].value.total_cmp(&maxima[a].value));
    // Those that stay, by cells of that size: only neighbouring cells are near.
    let mut cells: HashMap<[i64; 3], Vec<[f64; 3]>> = HashMap::new();
    let mut stays = vec![false; maxima.len()];
    for index in order {
        let here: [f64; 3] = place(&maxima[index]);
        let cell = here.map(|x| (x / least).floor() as i64);
        let crowded = Connectivity::Corners26
            .steps()
            .iter()
            .chain(&[[0; 3]])
            .filter_map(|step| {
                cells.get(&std::array::from_fn(|axis| cell[axis] + step[axis] as i64))
            })
            .flatten()
            .any(|there| {
                let square: f64 = here.iter().zip(there).map(|(a, b)| (a - b).powi(2)).sum();
                square.sqrt() < least
            });
        if !crowded {
            stays[index] = true;
            cells.entry(cell).or_default().push(here);
        }
    }
    let mut stays = stays.iter();
    maxima.retain(|_| stays.next().copied().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: [f32; 12] = [1.0, 3.0, 2.0, 2.5, 0.0, 4.0, 4.0, 3.5, 4.0, 1.0, 1.0, 2.0];

    fn first(maxima: &[Maximum]) -> Vec<u32> {
        maxima.iter().map(|maximum| maximum.voxels[0]).collect()
    }

    #[test]
    fn plateaus_are_one_maximum_and_slopes_none() {
        let maxima = local_maxima(&LINE, None, [1, 1, 12], Connectivity::Faces6);
        assert_eq!(first(&maxima), [1, 3, 5, 8, 11]);
        assert_eq!(maxima[2].voxels, [5, 6]);
        let flat = local_maxima(&[1.0; 8], None, [2, 2, 2], Connectivity::Faces6);
        assert_eq!(flat[0].voxels.len(), 8);
    }

    #[test]
    fn shallow_maxima_are_left_out() {
        let kept = |least| first(&h_maxima(&LINE, None, [1, 1, 12], Connectivity::Faces6, least));
        assert_eq!(kept(0.0), [1, 3, 5, 8, 11]);
        assert_eq!(kept(0.5), [1, 3, 5, 8, 11]);
        assert_eq!(kept(0.6), [1, 5, 11]);
        assert_eq!(kept(1.5), [1, 5]);
        assert_eq!(kept(9.0), [5]);
    }

    #[test]
    fn a_mask_parts_what_it_does_not_cover() {
        let mut mask = [true; 12];
        mask[2] = false;
        let maxima = h_maxima(&LINE, Some(&mask), [1, 1, 12], Connectivity::Faces6, 2.0);
        assert_eq!(first(&maxima), [1, 3, 5]);
    }

    #[test]
    fn the_higher_of_two_near_maxima_stays() {
        let mut maxima = local_maxima(&LINE, None, [1, 1, 12], Connectivity::Faces6);
        apart(&mut maxima, [1, 1, 12], [1.0, 1.0, 2.0], 6.5);
        assert_eq!(first(&maxima), [1, 5, 11]);
        let mut maxima = local_maxima(&LINE, None, [1, 1, 12], Connectivity::Faces6);
        apart(&mut maxima, [1, 1, 12], [1.0, 1.0, 1.0], 3.0);
        assert_eq!(first(&maxima), [1, 5, 8, 11]);
    }
}
