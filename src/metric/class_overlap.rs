//! How much of every class prediction and target share.

use anyhow::Result;
use tch::{Kind, TchError, Tensor};

use crate::target::{Labels, Weights};

/// Weighted voxel counts of one sample, one entry a class.
pub(super) struct ClassOverlap {
    pub(super) intersection: Vec<f64>,
    pub(super) union: Vec<f64>,
    /// Unweighted count of the target's voxels.
    pub(super) truth: Vec<f64>,
}

/// The overlaps of one sample.
///
/// The prediction of a voxel is the class of the largest of `probabilities`,
/// (C, D, H, W), or with one channel whether it is above 0.5. The truth holds
/// class indices (D, H, W) or one number a channel (C, D, H, W), the weights one
/// number a voxel or one a voxel and channel; none means 1.
///
/// Class indices are compared as if written out one channel a class, a voxel of
/// the label `ignore` being `ignore` in all of them. Wherever that target equals
/// `ignore`, neither it nor the prediction counts; so an `ignore` of 0 or 1, the
/// numbers that the channels themselves are made of, leaves out more than the
/// voxels of that label.
pub(super) fn class_overlap(
    probabilities: &Tensor,
    truth: &Labels,
    weights: Option<&Weights>,
    ignore: Option<i64>,
) -> Result<ClassOverlap> {
    let classes = probabilities.size()[0];
    let prediction = if classes == 1 {
        probabilities.f_get(0)?.f_le(0.5)?.f_to_kind(Kind::Int64)?
    } else {
        probabilities.f_argmax(0, false)?
    };
    let counter = Counter { classes, weights };
    match truth {
        Labels::Dense(target) if target.dim() == 3 => {
            let target = target.f_to_kind(Kind::Int64)?;
            let outside = target.f_lt(0)?.f_logical_or(&target.f_ge(classes)?)?;
            let truth = counter.without(&target, &outside)?;
            match ignore {
                Some(label) => {
                    let hidden = target.f_eq(label)?;
                    let truth = counter.without(&truth, &hidden)?;
                    of_indices(&counter, counter.without(&prediction, &hidden)?, truth, ignore)
                }
                None => of_indices(&counter, prediction, truth, ignore),
            }
        }
        Labels::OneHot { index, .. } => {
            let truth = counter.without(index, &index.f_lt(0)?)?;
            of_indices(&counter, prediction, truth, ignore)
        }
        Labels::Dense(target) => of_channels(&counter, prediction, target, ignore),
    }
}

/// Sums weights by class.
struct Counter<'a> {
    classes: i64,
    weights: Option<&'a Weights>,
}

impl Counter<'_> {
    /// `index` with voxels that belong to no class, which is `classes`, wherever
    /// `hidden` is set.
    fn without(&self, index: &Tensor, hidden: &Tensor) -> Result<Tensor, TchError> {
        index.f_masked_fill(hidden, self.classes)
    }

    /// The index with voxels of no class in some class.
    fn inside(&self, index: &Tensor) -> Result<Tensor, TchError> {
        index.f_clamp_max(self.classes - 1)
    }

    /// How many voxels every class has.
    fn voxels(&self, index: &Tensor) -> Result<Vec<f64>> {
        let counts = index.f_flatten(0, -1)?.f_bincount(None::<Tensor>, self.classes + 1)?;
        host(&counts.f_narrow(0, 0, self.classes)?)
    }

    /// How much weight every class has.
    fn weight(&self, index: &Tensor) -> Result<Vec<f64>> {
        let Some(weights) = self.weights else { return self.voxels(index) };
        let weight = weights.of_class(&self.inside(index)?)?.f_to_kind(Kind::Double)?;
        let index = index.f_flatten(0, -1)?;
        let counts = index.f_bincount(Some(weight.f_flatten(0, -1)?), self.classes + 1)?;
        host(&counts.f_narrow(0, 0, self.classes)?)
    }
}

/// Overlaps of class indices (D, H, W), in which the number of classes stands for
/// none. Ones and zeros that equal `ignore` fall out.
fn of_indices(
    counter: &Counter<'_>,
    mut prediction: Tensor,
    mut truth: Tensor,
    ignore: Option<i64>,
) -> Result<ClassOverlap> {
    let agree = prediction.f_eq_tensor(&truth)?;
    match ignore {
        Some(0) => prediction = counter.without(&prediction, &agree.f_logical_not()?)?,
        Some(1) => {
            prediction = counter.without(&prediction, &agree)?;
            truth = truth.f_full_like(counter.classes)?;
        }
        _ => {}
    }
    let shared = counter.without(&truth, &prediction.f_ne_tensor(&truth)?)?;
    let intersection = counter.weight(&shared)?;
    let union = counter
        .weight(&truth)?
        .into_iter()
        .zip(counter.weight(&prediction)?)
        .zip(&intersection)
        .map(|((truth, prediction), both)| truth + prediction - both)
        .collect();
    Ok(ClassOverlap { intersection, union, truth: counter.voxels(&truth)? })
}

/// Overlaps of the classes of a prediction (D, H, W) and a target (C, D, H, W).
fn of_channels(
    counter: &Counter<'_>,
    mut prediction: Tensor,
    target: &Tensor,
    ignore: Option<i64>,
) -> Result<ClassOverlap> {
    let of_prediction = |values: &Tensor, prediction: &Tensor| {
        let class = counter.inside(prediction)?.f_unsqueeze(0)?;
        values.f_gather(0, &class, false)?.f_squeeze_dim(0)
    };
    let bytes = match ignore {
        Some(ignore) => {
            let hidden = target.f_eq(ignore)?;
            prediction = counter.without(&prediction, &of_prediction(&hidden, &prediction)?)?;
            target.f_masked_fill(&hidden, 0)?.f_to_kind(Kind::Uint8)?
        }
        None => target.f_to_kind(Kind::Uint8)?,
    };
    let set = of_prediction(&bytes, &prediction)?.f_bitwise_and(1)?.f_to_kind(Kind::Bool)?;
    let intersection = counter.weight(&counter.without(&prediction, &set.f_logical_not()?)?)?;
    let added = counter.weight(&counter.without(&prediction, &set)?)?;
    let truth = host(&bytes.f_sum_dim_intlist(&[1i64, 2, 3][..], false, Kind::Int64)?)?;
    let weighted = match counter.weights {
        None => truth.clone(),
        Some(weights) => {
            // Channel by channel: all of them at once would be a dense copy.
            let sums = (0..counter.classes)
                .map(|c| bytes.f_get(c)?.f_mul(&weights.channel(c)?)?.f_sum(Kind::Double))
                .collect::<Result<Vec<_>, _>>()?;
            host(&Tensor::f_stack(&sums, 0)?)?
        }
    };
    let union = weighted.into_iter().zip(added).map(|(truth, added)| truth + added).collect();
    Ok(ClassOverlap { intersection, union, truth })
}

fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.f_to_kind(Kind::Double)?.f_to(tch::Device::Cpu)?;
    let mut values = vec![0.0; tensor.numel()];
    let count = values.len();
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}

/// Intersection over union of a class, 0 for one that is nowhere.
pub(super) fn ratio(intersection: f64, union: f64) -> f64 {
    intersection / union.max(1e-8)
}
