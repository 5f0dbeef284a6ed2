//! AutoCellLabeler's input: a cropped image, its regions, and labels and weights to
//! train on.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, s};

use crate::runtime::memory::{bytes, ensure_bytes};

use super::human::HumanLabel;

/// Which part of the image is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropPlan {
    /// Depth, height and width of the result.
    pub size: [usize; 3],
    pub centre: CropCentre,
    /// Turns the result by 180° in the plane of z and y.
    pub turned: bool,
}

/// What lies in the middle of the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CropCentre {
    /// The first voxel of the region of the largest id, as AutoCellLabeler's
    /// `create_h5_from_nrrd`.
    LargestId,
    /// The mean voxel of all regions.
    Centroid,
}

/// A cropped image with its regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Cropped {
    /// (C, D, H, W)
    pub image: Array4<f64>,
    /// (D, H, W)
    pub regions: Array3<u32>,
    /// Ids that have voxels outside of the crop, ascending.
    pub cut_off: Vec<u32>,
}

/// The value with which an image is padded: the rounded median of all its values.
/// `None` if there are none.
pub fn padding(image: ArrayView4<'_, f64>) -> Option<f64> {
    let mut values: Vec<f64> = image.iter().copied().filter(|value| !value.is_nan()).collect();
    let half = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    if values.is_empty() {
        return None;
    }
    let (lower, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let upper = *upper;
    let median = match even {
        true => (lower.iter().copied().fold(f64::NEG_INFINITY, f64::max) + upper) / 2.0,
        false => upper,
    };
    Some(median.round_ties_even())
}

/// Crops an image (C, D, H, W) and its regions (D, H, W). Where the image is smaller
/// than the crop it is padded with `pad`, and the regions with 0.
///
/// # Errors
/// An image without regions, in which the crop has no place.
pub fn crop(
    image: ArrayView4<'_, f64>,
    regions: ArrayView3<'_, u32>,
    pad: f64,
    plan: &CropPlan,
) -> Result<Cropped> {
    let (depth, height, width) = regions.dim();
    let centre = centre(regions, plan.centre);
    ensure!(centre.is_some(), "the region image has no region: where is the crop to be?");
    let centre = centre.unwrap_or_default();
    let size = [depth, height, width];
    // Of the image: start and length; of the result: where that begins.
    let mut from = [(0, 0, 0); 3];
    for axis in 0..3 {
        let (wanted, there) = (plan.size[axis], size[axis]);
        let mut start = centre[axis].saturating_sub(wanted / 2);
        let end = (start + wanted).min(there);
        if start + wanted > there {
            start = there.saturating_sub(wanted);
        }
        let length = end - start;
        from[axis] = (start, length, (wanted - length) / 2);
    }
    let [(z, d, at_z), (y, h, at_y), (x, w, at_x)] = from;
    let [depth, height, width] = plan.size;
    let mut result = Array4::from_elem((image.dim().0, depth, height, width), pad);
    result
        .slice_mut(s![.., at_z..at_z + d, at_y..at_y + h, at_x..at_x + w])
        .assign(&image.slice(s![.., z..z + d, y..y + h, x..x + w]));
    let mut labels = Array3::zeros((depth, height, width));
    labels
        .slice_mut(s![at_z..at_z + d, at_y..at_y + h, at_x..at_x + w])
        .assign(&regions.slice(s![z..z + d, y..y + h, x..x + w]));

    let inside = |[i, j, k]: [usize; 3]| {
        (z..z + d).contains(&i) && (y..y + h).contains(&j) && (x..x + w).contains(&k)
    };
    let mut cut_off: Vec<u32> = regions
        .indexed_iter()
        .filter(|((i, j, k), id)| **id != 0 && !inside([*i, *j, *k]))
        .map(|(_, id)| *id)
        .collect();
    cut_off.sort_unstable();
    cut_off.dedup();

    if plan.turned {
        result.invert_axis(Axis(1));
        result.invert_axis(Axis(2));
        labels.invert_axis(Axis(0));
        labels.invert_axis(Axis(1));
        result = result.as_standard_layout().into_owned();
        labels = labels.as_standard_layout().into_owned();
    }
    Ok(Cropped { image: result, regions: labels, cut_off })
}

fn centre(regions: ArrayView3<'_, u32>, which: CropCentre) -> Option<[usize; 3]> {
    match which {
        CropCentre::LargestId => {
            let most = regions.iter().copied().max().filter(|most| *most > 0)?;
            regions.indexed_iter().find(|(_, id)| **id == most).map(|((z, y, x), _)| [z, y, x])
        }
        CropCentre::Centroid => {
            let (mut sums, mut voxels) = ([0u64; 3], 0u64);
            for ((z, y, x), _) in regions.indexed_iter().filter(|(_, id)| **id != 0) {
                sums.iter_mut().zip([z, y, x]).for_each(|(sum, at)| *sum += at as u64);
                voxels += 1;
            }
            (voxels > 0)
                .then(|| sums.map(|sum| (sum as f64 / voxels as f64).round_ties_even() as usize))
        }
    }
}

/// How weights follow from names and confidences.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightPlan {
    /// For the confidences 1, 2, …; the last also for those above.
    pub foreground: Vec<f64>,
    /// Share of a name's weight that other regions have in its channel.
    pub id_weight: f64,
    pub background: i64,
    /// Names that do not count where the most frequent one is looked for.
    pub non_neurons: Vec<String>,
    /// A name with two regions lowers the weight of the first one, as
    /// `create_h5_from_nrrd` does.
    pub original: bool,
}

impl Default for WeightPlan {
    /// AutoCellLabeler's values.
    fn default() -> Self {
        WeightPlan {
            foreground: vec![10.0, 50.0, 600.0, 900.0, 1000.0],
            id_weight: 0.3,
            background: 1,
            non_neurons: vec!["granule".into(), "glia".into()],
            original: false,
        }
    }
}

/// Label and weight of every channel as functions of the region that a voxel is in.
/// Channel 0 is the background, channel k + 1 is name k.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionTables {
    /// For each channel by region id, 0 included.
    pub label: Vec<Vec<u8>>,
    pub weight: Vec<Vec<i64>>,
}

/// Labels and weights for training, for regions 0 to `most`. Regions with several
/// names are left out.
///
/// # Errors
/// No weight, or no count of any neuron.
pub fn region_tables(
    names: &[String],
    human: &[HumanLabel],
    counts: &HashMap<String, f64>,
    most: u32,
    plan: &WeightPlan,
) -> Result<RegionTables> {
    ensure!(!plan.foreground.is_empty(), "at least one weight is needed");
    let frequent = counts
        .iter()
        .filter(|(name, _)| !plan.non_neurons.contains(name))
        .map(|(_, count)| *count)
        .fold(f64::NEG_INFINITY, f64::max);
    ensure!(frequent.is_finite(), "the counts have no name of a neuron");
    let regions = most as usize + 1;
    let channels = names.len() + 1;
    ensure_bytes(
        bytes(&[channels, regions], size_of::<i64>() + 1),
        || format!("labels and weights of {channels} channels for {regions} regions"),
        "number the regions without gaps",
    )?;
    let mut label = vec![vec![0; regions]; channels];
    let mut weight = vec![vec![plan.background; regions]; channels];
    label[0].fill(1);

    let channel_of: HashMap<&str, usize> =
        names.iter().enumerate().map(|(k, name)| (name.as_str(), k + 1)).collect();
    // (region, channel, weight of its confidence)
    let named: Vec<(usize, usize, f64)> = human
        .iter()
        .filter(|one| one.region <= most)
        .filter_map(|one| match &one.names[..] {
            [name] => {
                let level = (one.confidence as usize).saturating_sub(1);
                let value = plan.foreground[level.min(plan.foreground.len() - 1)];
                Some((one.region as usize, *channel_of.get(name.as_str())?, value))
            }
            _ => None,
        })
        .collect();
    for &(region, channel, value) in &named {
        label[0][region] = 0;
        label[channel][region] = 1;
        // A name that was never counted counts once.
        let count = counts.get(&names[channel - 1]).copied().unwrap_or(1.0);
        let own = (value * frequent / count).round_ties_even();
        let others = (plan.id_weight * value).round_ties_even() as i64;
        for other in 1..regions {
            let same = label[channel][other] == 1 && !plan.original;
            if other != region && !same {
                weight[channel][other] = others;
            }
        }
        weight[channel][region] = own as i64;
    }
    for &(region, channel, value) in &named {
        for (other, weight) in weight.iter_mut().enumerate().skip(1) {
            if other != channel {
                weight[region] = (weight[region] as f64).max(plan.id_weight * value) as i64;
            }
        }
    }
    Ok(RegionTables { label, weight })
}

/// How often each name is in human labels: regions by name.
pub fn name_counts(human: &[HumanLabel]) -> HashMap<String, f64> {
    let mut counts: HashMap<String, f64> = HashMap::new();
    for name in human.iter().flat_map(|one| &one.names) {
        *counts.entry(name.clone()).or_default() += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_rounded_to_even() {
        let image = Array4::from_shape_vec((1, 1, 1, 4), vec![3.0, 0.0, 2.0, 9.0]).unwrap();
        assert_eq!(padding(image.view()), Some(2.0));
        assert_eq!(padding(image.slice(s![.., .., .., ..3])), Some(2.0));
        assert_eq!(padding(image.slice(s![.., .., .., ..0])), None);
    }

    #[test]
    fn crops_are_padded_moved_inside_and_turned() {
        let regions =
            Array3::from_shape_vec((1, 2, 6), vec![0, 0, 0, 0, 0, 7, 1, 0, 0, 0, 0, 7]).unwrap();
        let image = regions.mapv(f64::from).insert_axis(Axis(0));
        let plan = CropPlan { size: [2, 3, 4], centre: CropCentre::LargestId, turned: false };
        let cropped = crop(image.view(), regions.view(), 5.0, &plan).unwrap();
        assert_eq!(cropped.cut_off, [1]);
        let expected = [0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0, 0];
        assert_eq!(
            cropped.regions.slice(s![0, .., ..]).iter().copied().collect::<Vec<_>>(),
            expected
        );
        assert!(cropped.image.slice(s![0, 1, .., ..]).iter().all(|value| *value == 5.0));
        let turned =
            crop(image.view(), regions.view(), 5.0, &CropPlan { turned: true, ..plan }).unwrap();
        assert_eq!(turned.regions[[1, 2, 3]], 7);
        assert_eq!(turned.regions[[1, 0, 3]], 0);
        let empty = Array3::zeros((1, 2, 6));
        assert!(crop(image.view(), empty.view(), 5.0, &plan).is_err());
    }

    #[test]
    fn a_name_of_two_regions_keeps_both_weights() {
        let names = ["A".to_string(), "B".to_string()];
        let one = |region, name: &str, confidence| HumanLabel {
            region,
            names: vec![name.into()],
            confidence,
            comment: None,
        };
        let human = [one(1, "A", 3.0), one(2, "A", 2.0), one(3, "B", 9.0)];
        let counts = HashMap::from([("A".into(), 2.0), ("B".into(), 4.0), ("glia".into(), 99.0)]);
        let tables = |original| {
            let plan = WeightPlan { original, ..WeightPlan::default() };
            region_tables(&names, &human, &counts, 4, &plan).unwrap()
        };
        let ours = tables(false);
        assert_eq!(ours.label, [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]);
        assert_eq!(ours.weight[0], [1; 5]);
        // In A's channel B's region has what its own confidence gives it.
        assert_eq!(ours.weight[1], [1, 1200, 100, 300, 15]);
        assert_eq!(ours.weight[2], [1, 300, 300, 1000, 300]);
        assert_eq!(tables(true).weight[1], [1, 15, 100, 300, 15]);
    }
}
