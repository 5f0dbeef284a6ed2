//! Euclidean distance transform.

/// The distance of every voxel (D, H, W) to the nearest voxel of which `target` is
/// true, with the voxels' `spacing` along z, y, x; infinite if there is none. As
/// `scipy.ndimage.distance_transform_edt` of the negated target.
///
/// Exact, in time proportional to the voxels: the lower envelope of parabolas along
/// one axis after the other (Felzenszwalb & Huttenlocher 2012,
/// doi:10.4086/toc.2012.v008a019).
///
/// # Panics
/// If `target` does not have that size.
pub fn distance_to(target: &[bool], size: [usize; 3], spacing: [f64; 3]) -> Vec<f32> {
    assert_eq!(target.len(), size.iter().product::<usize>());
    let [depth, height, width] = size;
    let mut squares: Vec<f64> =
        target.iter().map(|&target| if target { 0.0 } else { f64::INFINITY }).collect();
    let mut envelope = Envelope::default();
    for row in squares.chunks_exact_mut(width.max(1)) {
        along_row(row, spacing[2]);
    }
    let mut line = Vec::new();
    for slice in squares.chunks_exact_mut((height * width).max(1)) {
        for x in 0..width {
            line.clear();
            line.extend(slice[x..].iter().step_by(width));
            envelope.lower(&mut line, spacing[1]);
            slice[x..].iter_mut().step_by(width).zip(&line).for_each(|(to, value)| *to = *value);
        }
    }
    if depth > 1 {
        let step = height * width;
        for at in 0..step {
            line.clear();
            line.extend(squares[at..].iter().step_by(step));
            envelope.lower(&mut line, spacing[0]);
            squares[at..].iter_mut().step_by(step).zip(&line).for_each(|(to, value)| *to = *value);
        }
    }
    squares.into_iter().map(|square| square.sqrt() as f32).collect()
}

/// Squared distances along a row of zeros and infinities.
fn along_row(row: &mut [f64], spacing: f64) {
    let mut last = None;
    let square = |x: usize, from: Option<usize>| match from {
        Some(from) => (x.abs_diff(from) as f64 * spacing).powi(2),
        None => f64::INFINITY,
    };
    let mut nearest = vec![f64::INFINITY; row.len()];
    for (x, value) in row.iter().enumerate() {
        if *value == 0.0 {
            last = Some(x);
        }
        nearest[x] = square(x, last);
    }
    last = None;
    for x in (0..row.len()).rev() {
        if row[x] == 0.0 {
            last = Some(x);
        }
        row[x] = nearest[x].min(square(x, last));
    }
}

/// Parabolas that make up the lower envelope of a line.
#[derive(Default)]
struct Envelope {
    /// Vertex and height of each.
    parabolas: Vec<(usize, f64)>,
    /// From where on each is the lowest.
    from: Vec<f64>,
}

impl Envelope {
    /// Replaces every value by the least of `value[j] + (spacing · (i − j))²`.
    fn lower(&mut self, line: &mut [f64], spacing: f64) {
        let weight = spacing * spacing;
        self.parabolas.clear();
        self.from.clear();
        for (vertex, &height) in line.iter().enumerate() {
            if height == f64::INFINITY {
                continue;
            }
            let start = loop {
                let Some(&(other, low)) = self.parabolas.last() else {
                    break f64::NEG_INFINITY;
                };
                // Where this parabola goes below the one before.
                let (v, o) = (vertex as f64, other as f64);
                let meet = ((height - low) / weight + v * v - o * o) / (2.0 * (v - o));
                if self.from.last().is_some_and(|&from| meet > from) {
                    break meet;
                }
                self.parabolas.pop();
                self.from.pop();
            };
            self.parabolas.push((vertex, height));
            self.from.push(start);
        }
        if self.parabolas.is_empty() {
            return;
        }
        let mut at = 0;
        for (i, value) in line.iter_mut().enumerate() {
            while self.from.get(at + 1).is_some_and(|&from| from <= i as f64) {
                at += 1;
            }
            // Where two parabolas meet, rounding may have chosen the other one: with the least
            // of all, values do not depend on where the line begins.
            let near = &self.parabolas[at.saturating_sub(1)..(at + 2).min(self.parabolas.len())];
            let height_at = |(vertex, height): &(usize, f64)| {
                height + weight * (i.abs_diff(*vertex) as f64).powi(2)
            };
            *value = near.iter().map(height_at).fold(f64::INFINITY, f64::min);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_nearest_target() {
        let size = [5, 7, 6];
        let spacing = [1.5, 0.5, 0.7];
        let mut state = 7u32;
        for density in [2, 20, 90] {
            let target: Vec<bool> = (0..size.iter().product())
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) % 100 < density
                })
                .collect();
            let place = |at: usize| [at / 42, at / 6 % 7, at % 6];
            let distances = distance_to(&target, size, spacing);
            for (at, distance) in distances.iter().enumerate() {
                let nearest = (0..target.len())
                    .filter(|&other| target[other])
                    .map(|other| {
                        (0..3)
                            .map(|i| place(at)[i].abs_diff(place(other)[i]) as f64 * spacing[i])
                            .map(|d| d * d)
                            .sum::<f64>()
                            .sqrt()
                    })
                    .fold(f64::INFINITY, f64::min);
                assert!((f64::from(*distance) - nearest).abs() < 1e-5, "{distance} {nearest}");
            }
        }
    }

    #[test]
    fn without_a_target_everything_is_infinitely_far() {
        assert!(distance_to(&[false; 8], [2, 2, 2], [1.0; 3]).iter().all(|d| d.is_infinite()));
        assert_eq!(distance_to(&[false, true, false], [1, 1, 3], [1.0, 1.0, 2.0]), [2.0, 0.0, 2.0]);
    }
}
