//! [`softmax_cross_entropy`](super::softmax_cross_entropy) in float32 on the CPU: one
//! pass over the logits, which writes the gradient as it goes.
//!
//! Voxels are taken in blocks whose logits, of all classes, stay in the cache
//! while maximum, sum of exponentials and gradient are computed. Parts of fixed
//! size go to the threads, so that the result does not depend on their number.

use std::ops::Range;

use anyhow::{Result, bail};
use multiversion::multiversion;
use tch::{Kind, Tensor};

use crate::ffi::tensor::{as_slice, from_vec};

/// Voxels of a block.
const BLOCK: usize = 256;
/// Voxels of a part, which one thread works on.
const PART: usize = 64 * BLOCK;

/// Whether the logits lie in memory as (N, C, D, H, W) or (N, D, H, W, C).
pub(super) fn knows(logits: &Tensor) -> bool {
    logits.is_contiguous() || channels_last(logits).is_some()
}

/// The logits as (N, D, H, W, C), if that is how they lie in memory.
fn channels_last(logits: &Tensor) -> Option<Tensor> {
    logits.f_permute(&[0i64, 2, 3, 4, 1][..]).ok().filter(Tensor::is_contiguous)
}

/// The logits of a part: class by class, or voxel by voxel.
enum Input<'a> {
    Planes(Vec<&'a [f32]>),
    Columns(&'a [f32]),
}

/// Where the gradient of a part goes, laid out as the logits are.
enum Output<'a> {
    Planes(Vec<&'a mut [f32]>),
    Columns(&'a mut [f32]),
    Nowhere,
}

struct Part<'a> {
    logits: Input<'a>,
    gradient: Output<'a>,
    index: &'a [i64],
    scale: &'a [f32],
    /// What this part adds to the sum, once it is done.
    value: &'a mut Result<f64, Outside>,
}

/// A label that counts but is no class.
#[derive(Clone, Copy, Debug)]
struct Outside(i64);

/// Value and gradient; see [`super::softmax_cross_entropy`] for the shapes.
pub(super) fn run(
    logits: &Tensor,
    index: &Tensor,
    scale: &Tensor,
    wants_gradient: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let size = logits.size();
    let (samples, classes) = (size[0] as usize, size[1] as usize);
    let voxels = size[2..].iter().product::<i64>() as usize;
    let index = index.f_to_kind(Kind::Int64)?.f_contiguous()?;
    let scale = scale.f_to_kind(Kind::Float)?.f_contiguous()?;
    let (index, scale) = (as_slice::<i64>(&index)?, as_slice::<f32>(&scale)?);
    if index.len() != samples * voxels || scale.len() != samples * voxels {
        bail!("labels and weights do not have the size of the logits {size:?}");
    }

    let planes = logits.is_contiguous();
    let laid_out = match channels_last(logits) {
        Some(last) if !planes => last,
        _ => logits.shallow_clone(),
    };
    let input = as_slice::<f32>(&laid_out)?;
    let mut gradient = if wants_gradient { vec![0.0f32; input.len()] } else { Vec::new() };
    let mut values: Vec<Result<f64, Outside>> = vec![Ok(0.0); samples * voxels.div_ceil(PART)];

    let mut parts = Vec::with_capacity(values.len());
    let mut rest = &mut gradient[..];
    let mut next_value = values.iter_mut();
    for n in 0..samples {
        let sample = &input[n * classes * voxels..(n + 1) * classes * voxels];
        let (mut own, others) = rest.split_at_mut(if wants_gradient { sample.len() } else { 0 });
        rest = others;
        // One row a class when they lie one after the other.
        let mut rows: Vec<&mut [f32]> = if planes && wants_gradient {
            std::mem::take(&mut own).chunks_mut(voxels).collect()
        } else {
            Vec::new()
        };
        for start in (0..voxels).step_by(PART) {
            let end = (start + PART).min(voxels);
            let gradient = if !wants_gradient {
                Output::Nowhere
            } else if planes {
                Output::Planes(
                    rows.iter_mut()
                        .map(|row| row.split_off_mut(..end - start).unwrap_or_default())
                        .collect(),
                )
            } else {
                let (part, after) = std::mem::take(&mut own).split_at_mut((end - start) * classes);
                own = after;
                Output::Columns(part)
            };
            let logits = if planes {
                Input::Planes(sample.chunks(voxels).map(|row| &row[start..end]).collect())
            } else {
                Input::Columns(&sample[start * classes..end * classes])
            };
            let Some(value) = next_value.next() else { break };
            let at = n * voxels + start..n * voxels + end;
            parts.push(Part {
                logits,
                gradient,
                index: &index[at.clone()],
                scale: &scale[at],
                value,
            });
        }
    }
    share_out(parts, classes);

    let mut sum = 0.0;
    for value in values {
        match value {
            Ok(value) => sum += value,
            Err(Outside(label)) => {
                bail!("the label {label} is outside the {classes} classes of the network")
            }
        }
    }
    let value = Tensor::f_from_slice(&[sum as f32])?.f_squeeze()?;
    if !wants_gradient {
        return Ok((value, None));
    }
    let gradient = from_vec(gradient, &laid_out.size())?;
    let gradient = if planes { gradient } else { gradient.f_permute(&[0i64, 4, 1, 2, 3][..])? };
    Ok((value, Some(gradient)))
}

/// Works on the parts with as many threads as libtorch has.
fn share_out(parts: Vec<Part<'_>>, classes: usize) {
    let threads = (tch::get_num_threads().max(1) as usize).min(parts.len().max(1));
    let mut shares: Vec<Vec<Part<'_>>> = (0..threads).map(|_| Vec::new()).collect();
    for (i, part) in parts.into_iter().enumerate() {
        shares[i % threads].push(part);
    }
    let work = |share: Vec<Part<'_>>| {
        let mut block = vec![0.0; classes * BLOCK];
        share.into_iter().for_each(|part| part.work(&mut block));
    };
    let mut shares = shares.into_iter();
    let own = shares.next();
    std::thread::scope(|scope| {
        for share in shares {
            scope.spawn(|| work(share));
        }
        own.map(work);
    });
}

impl Part<'_> {
    /// `block` has room for [`BLOCK`] voxels of every class.
    fn work(mut self, block: &mut [f32]) {
        *self.value = (0..self.index.len()).step_by(BLOCK).try_fold(0.0, |sum, start| {
            let at = start..(start + BLOCK).min(self.index.len());
            self.load(at.clone(), block);
            let wants_gradient = !matches!(self.gradient, Output::Nowhere);
            let found = work_block(
                block,
                &self.index[at.clone()],
                &self.scale[at.clone()],
                wants_gradient,
            )?;
            self.store(at, block);
            Ok(sum + found)
        });
    }

    /// Brings the logits of the voxels `at` into the block.
    fn load(&self, at: Range<usize>, block: &mut [f32]) {
        match &self.logits {
            Input::Planes(rows) => {
                for (to, row) in block.chunks_exact_mut(BLOCK).zip(rows) {
                    to[..at.len()].copy_from_slice(&row[at.clone()]);
                }
            }
            Input::Columns(columns) => {
                let classes = block.len() / BLOCK;
                let columns = &columns[at.start * classes..at.end * classes];
                for (voxel, column) in columns.chunks_exact(classes).enumerate() {
                    for (c, &x) in column.iter().enumerate() {
                        block[c * BLOCK + voxel] = x;
                    }
                }
            }
        }
    }

    /// Writes the gradient of the voxels `at`.
    fn store(&mut self, at: Range<usize>, block: &[f32]) {
        match &mut self.gradient {
            Output::Planes(rows) => {
                for (row, from) in rows.iter_mut().zip(block.chunks_exact(BLOCK)) {
                    row[at.clone()].copy_from_slice(&from[..at.len()]);
                }
            }
            Output::Columns(columns) => {
                let classes = block.len() / BLOCK;
                let columns = &mut columns[at.start * classes..at.end * classes];
                for (voxel, column) in columns.chunks_exact_mut(classes).enumerate() {
                    for (c, to) in column.iter_mut().enumerate() {
                        *to = block[c * BLOCK + voxel];
                    }
                }
            }
            Output::Nowhere => {}
        }
    }
}

/// What the voxels of a block add to the sum; their logits, class by class,
/// become the gradient. What lies beyond the last voxel becomes meaningless.
fn work_block(
    block: &mut [f32],
    index: &[i64],
    scale: &[f32],
    wants_gradient: bool,
) -> Result<f64, Outside> {
    let classes = block.len() / BLOCK;
    // Where in the block the logit of each voxel's class is.
    let mut place = [0usize; BLOCK];
    let mut picked = [0.0f32; BLOCK];
    for (voxel, (&label, &scale)) in index.iter().zip(scale).enumerate() {
        let class = match usize::try_from(label) {
            Ok(class) if class < classes => class,
            _ if scale == 0.0 => 0,
            _ => return Err(Outside(label)),
        };
        place[voxel] = class * BLOCK + voxel;
        picked[voxel] = block[place[voxel]];
    }
    let mut maxima = [f32::NEG_INFINITY; BLOCK];
    let mut sums = [0.0f32; BLOCK];
    exponentials(block, &mut maxima, &mut sums);

    let mut value = 0.0;
    let mut factor = [0.0f32; BLOCK];
    for voxel in 0..index.len() {
        let surprise = f64::from(sums[voxel]).ln() + f64::from(maxima[voxel] - picked[voxel]);
        value += f64::from(scale[voxel]) * surprise;
        factor[voxel] = scale[voxel] / sums[voxel];
    }
    if wants_gradient {
        multiply(block, &factor);
        for (&place, &scale) in place.iter().zip(scale) {
            block[place] -= scale;
        }
    }
    Ok(value)
}

/// Turns the logits of a block into exp(x − maximum over classes), and sums them.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn exponentials(block: &mut [f32], maxima: &mut [f32; BLOCK], sums: &mut [f32; BLOCK]) {
    for row in block.chunks_exact(BLOCK) {
        for (max, &x) in maxima.iter_mut().zip(row) {
            *max = if x > *max { x } else { *max };
        }
    }
    for row in block.chunks_exact_mut(BLOCK) {
        for ((x, &max), sum) in row.iter_mut().zip(maxima.iter()).zip(sums.iter_mut()) {
            *x = exp(*x - max);
            *sum += *x;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn multiply(block: &mut [f32], factor: &[f32; BLOCK]) {
    for row in block.chunks_exact_mut(BLOCK) {
        for (x, &factor) in row.iter_mut().zip(factor) {
            *x *= factor;
        }
    }
}

/// e to the power of a number that is not above 0, to 2e-7 relative; below −87
/// it stays at e^−87, which is nothing beside the 1 of the largest class. NaN
/// stays NaN.
///
/// Cephes' `expf` (Moshier): x = n ln 2 + r, with a polynomial for e^r; written
/// without branches, so that the compiler makes vectors of it.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it rounds a float to an integer, which its low bits then hold.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    let power = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    p * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_rounding() {
        for i in 0..870_000 {
            let x = -(i as f32) * 1e-4;
            let wanted = f64::from(x).exp();
            assert!((f64::from(exp(x)) / wanted - 1.0).abs() < 2.5e-7, "exp({x})");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::NAN).is_nan());
    }
}
