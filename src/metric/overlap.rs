//! How much of every class prediction and target share.

use anyhow::Result;
use tch::{Kind, Tensor};

/// Weighted voxel counts of one sample, one entry a class.
pub(super) struct Overlap {
    pub(super) intersection: Vec<f64>,
    pub(super) union: Vec<f64>,
    /// Unweighted count of the target's voxels.
    pub(super) truth: Vec<f64>,
}

/// The overlaps of one sample.
///
/// The prediction of a voxel is the class of the largest of `probabilities`,
/// (C, D, H, W), or with one channel whether it is above 0.5. `target` holds
/// class indices (D, H, W) or one number a channel (C, D, H, W), `weight` one
/// number a voxel or one a voxel and channel; none means 1.
///
/// Class indices are compared as if written out one channel a class, a voxel of
/// the label `ignore` being `ignore` in all of them. Wherever that target equals
/// `ignore`, neither it nor the prediction counts; so an `ignore` of 0 or 1, the
/// numbers that the channels themselves are made of, leaves out more than the
/// voxels of that label.
pub(super) fn overlap(
    probabilities: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    ignore: Option<i64>,
) -> Result<Overlap> {
    let classes = probabilities.size()[0];
    // The index of a voxel that belongs to no class.
    let none = classes;
    let prediction = if classes == 1 {
        probabilities.f_get(0)?.f_le(0.5)?.f_to_kind(Kind::Int64)?
    } else {
        probabilities.f_argmax(0, false)?
    };
    let weight = weight.map(|weight| weight.f_to_kind(Kind::Double)).transpose()?;
    // Sums the weight of voxels by their index; what is `none` falls away.
    let count = |index: &Tensor| -> Result<Vec<f64>> {
        let weight = match &weight {
            Some(weight) if weight.dim() == 4 => {
                let channel = index.f_clamp_max(classes - 1)?.f_unsqueeze(0)?;
                Some(weight.f_gather(0, &channel, false)?.f_flatten(0, -1)?)
            }
            Some(weight) => Some(weight.f_flatten(0, -1)?),
            None => None,
        };
        let counts = index.f_flatten(0, -1)?.f_bincount(weight, classes + 1)?;
        host(&counts.f_narrow(0, 0, classes)?)
    };
    let nowhere = |index: &Tensor, hidden: &Tensor| index.f_masked_fill(hidden, none);

    if target.dim() == 3 {
        let target = target.f_to_kind(Kind::Int64)?;
        let outside = target.f_lt(0)?.f_logical_or(&target.f_ge(classes)?)?;
        let mut truth = nowhere(&target, &outside)?;
        let mut prediction = prediction;
        if let Some(ignore) = ignore {
            let hidden = target.f_eq(ignore)?;
            truth = nowhere(&truth, &hidden)?;
            prediction = nowhere(&prediction, &hidden)?;
            let agree = prediction.f_eq_tensor(&truth)?;
            match ignore {
                0 => prediction = nowhere(&prediction, &agree.f_logical_not()?)?,
                1 => {
                    prediction = nowhere(&prediction, &agree)?;
                    truth = truth.f_full_like(none)?;
                }
                _ => {}
            }
        }
        let shared = nowhere(&truth, &prediction.f_ne_tensor(&truth)?)?;
        let intersection = count(&shared)?;
        let union = count(&truth)?
            .into_iter()
            .zip(count(&prediction)?)
            .zip(&intersection)
            .map(|((truth, prediction), both)| truth + prediction - both)
            .collect();
        let counts = truth.f_flatten(0, -1)?.f_bincount(None::<Tensor>, classes + 1)?;
        return Ok(Overlap { intersection, union, truth: host(&counts.f_narrow(0, 0, classes)?)? });
    }

    let at = |index: &Tensor| index.f_clamp_max(classes - 1).and_then(|i| i.f_unsqueeze(0));
    let mut prediction = prediction;
    let bytes = match ignore {
        Some(ignore) => {
            let hidden = target.f_eq(ignore)?;
            let found = hidden.f_gather(0, &at(&prediction)?, false)?.f_squeeze_dim(0)?;
            prediction = nowhere(&prediction, &found)?;
            target.f_masked_fill(&hidden, 0)?.f_to_kind(Kind::Uint8)?
        }
        None => target.f_to_kind(Kind::Uint8)?,
    };
    let set = bytes.f_gather(0, &at(&prediction)?, false)?.f_squeeze_dim(0)?;
    let set = set.f_bitwise_and(1)?.f_to_kind(Kind::Bool)?;
    let intersection = count(&nowhere(&prediction, &set.f_logical_not()?)?)?;
    let added = count(&nowhere(&prediction, &set)?)?;
    let truth = host(&bytes.f_sum_dim_intlist(&[1i64, 2, 3][..], false, Kind::Int64)?)?;
    let weighted = match &weight {
        None => truth.clone(),
        Some(weight) => {
            // Channel by channel: all of them at once would be a dense copy.
            let sums = (0..classes)
                .map(|c| {
                    let weight =
                        if weight.dim() == 4 { weight.f_get(c)? } else { weight.shallow_clone() };
                    bytes.f_get(c)?.f_mul(&weight)?.f_sum(Kind::Double)
                })
                .collect::<Result<Vec<_>, _>>()?;
            host(&Tensor::f_stack(&sums, 0)?)?
        }
    };
    let union = weighted.into_iter().zip(added).map(|(truth, added)| truth + added).collect();
    Ok(Overlap { intersection, union, truth })
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
