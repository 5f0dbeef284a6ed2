//! `PixelWiseWeightedSliceBuilder`: patches around voxels drawn by their weight.

use anyhow::{Result, bail};

use super::{PATCH_SHAPE, SKIP_SHAPE_CHECK};
use super::{SliceBuilder, SliceBuilderEntry, Targets, WindowDraws, check_fit, check_patch};
use crate::augment::stream::RandomSource as _;
use crate::config::{ConfigError, Node, Parameter, Section};
use crate::volume::{Source, Voxels, Window};
use crate::with_values;

const BUILDER: &str = "PixelWiseWeightedSliceBuilder";

pub(super) static ENTRY: SliceBuilderEntry = SliceBuilderEntry {
    name: BUILDER,
    meaning: "patches drawn with probability proportional to the weight map",
    parameters: &[
        PATCH_SHAPE,
        Parameter::any("stride_shape", "not used by this slice builder"),
        SKIP_SHAPE_CHECK,
        Parameter::integer("num_patches", 0, "patches of each file")
            .within(1.0, 10_000_000.0)
            .required(),
        Parameter::flag(
            "redraw_each_epoch",
            false,
            "draw new patches in every epoch instead of keeping those of the first",
        ),
    ],
    build: |section| Ok(Box::new(Weighted::read(section)?)),
};

struct Weighted {
    patch: [usize; 3],
    /// The channels that a `patch_shape` of four asks for.
    channels: Option<usize>,
    count: usize,
    redraws: bool,
    patch_node: Node,
}

impl Weighted {
    fn read(section: &Section<'_>) -> Result<Weighted, ConfigError> {
        let shape = section.integers("patch_shape");
        let wrong = |message: &str| Err(section.error("patch_shape", message));
        let (channels, patch) = match *shape.as_slice() {
            [d, h, w] => (None, [d, h, w]),
            [c, d, h, w] => (Some(c as usize), [d, h, w]),
            _ => {
                return wrong(
                    "three integers (depth, height, width) are wanted, \
                     or four with the channels before them",
                );
            }
        };
        if channels.is_some() && !section.flag("skip_shape_check") {
            return wrong(
                "a patch of four numbers (channels, depth, height, width) \
                 needs `skip_shape_check: true`",
            );
        }
        let patch = patch.map(|n| n as usize);
        check_patch(section, patch, super::LEAST)?;
        Ok(Weighted {
            patch,
            channels,
            count: section.size("num_patches"),
            redraws: section.flag("redraw_each_epoch"),
            patch_node: section.child("patch_shape").unwrap_or(section.node).clone(),
        })
    }

    /// The patch around a voxel, moved inside the volume.
    fn around(&self, centre: [usize; 3], size: [usize; 3]) -> Window {
        let origin = std::array::from_fn(|axis| {
            let corner = centre[axis].saturating_sub(self.patch[axis] / 2);
            corner.min(size[axis] - self.patch[axis])
        });
        Window::new(origin, self.patch)
    }
}

impl SliceBuilder for Weighted {
    fn windows(&self, file: &Targets<'_>, draw: &WindowDraws) -> Result<Vec<Window>> {
        check_fit(self.patch, file, &self.patch_node)?;
        let Some(weight) = file.weight else {
            bail!(self.patch_node.error(format!(
                "{BUILDER} draws patches by the weight map of training data, and there is none; \
                 set `loaders.weight_internal_path`, or use SliceBuilder"
            )));
        };
        if let Some(channels) = self.channels {
            if !weight.has_channels() {
                bail!(self.patch_node.error(format!(
                    "a patch of four numbers wants a weight map (C, D, H, W); that of {} is {:?}",
                    file.path.display(),
                    weight.shape()
                )));
            }
            if channels != weight.channels() {
                self.patch_node.warn(format!(
                    "{channels} channels are asked for, but the weight map of {} has {}; \
                     channels are always taken whole",
                    file.path.display(),
                    weight.channels()
                ));
            }
        }
        let planes = planes(weight, file)?;
        let total: f64 = planes.iter().sum();
        if total <= 0.0 {
            bail!(
                "{}: all weights are 0: there is nothing to draw patches by",
                file.path.display()
            );
        }
        let mut stream = draw.open(BUILDER);
        (0..self.count)
            .map(|_| {
                let centre = centre(stream.uniform() * total, &planes, weight, file)?;
                Ok(self.around(centre, file.size))
            })
            .collect()
    }

    fn patch(&self) -> [usize; 3] {
        self.patch
    }

    fn redraws(&self) -> bool {
        self.redraws
    }

    fn needs_weight(&self) -> bool {
        true
    }
}

/// The sum of all weights of each z.
fn planes(weight: &Source, file: &Targets<'_>) -> Result<Vec<f64>> {
    let [depth, h, w] = weight.size();
    let mut planes = Vec::with_capacity(depth);
    for z in (0..depth).step_by(weight.layer()) {
        let sums = sums(weight, z, weight.layer().min(depth - z), file)?;
        planes.extend(sums.chunks_exact(h * w).map(|plane| plane.iter().sum::<f64>()));
    }
    Ok(planes)
}

/// The weights of the voxels of some z, summed over the channels.
fn sums(weight: &Source, z: usize, depth: usize, file: &Targets<'_>) -> Result<Vec<f64>> {
    let [_, h, w] = weight.size();
    let window = Window::new([z, 0, 0], [depth, h, w]);
    let sums = match weight.voxels(&window)? {
        // Channels are summed in the same order as those of a whole volume.
        Voxels::Palette(palette) => {
            let columns = with_values!(&palette.table, table => {
                let columns = table.rows().into_iter();
                columns.map(|column| sum(column.iter().map(|&w| w as f64))).collect::<Vec<_>>()
            });
            palette.indices.iter().map(|&index| columns[usize::from(index)]).collect()
        }
        voxels => {
            let volume = voxels.expand();
            let mut sums = vec![0.0; window.voxels()];
            with_values!(&volume.values, a => {
                for channel in a.outer_iter() {
                    for (total, &value) in sums.iter_mut().zip(channel) {
                        *total = sum([*total, value as f64].into_iter());
                    }
                }
            });
            sums
        }
    };
    if sums.iter().any(|sum: &f64| !sum.is_finite()) {
        bail!(
            "{}: the weight map holds a value in z {z}..{} that is negative, NaN or infinite; \
             patches are drawn by weights, which are 0 or larger",
            file.path.display(),
            z + depth
        );
    }
    Ok(sums)
}

/// The sum of weights, NaN if one of them is negative.
fn sum(weights: impl Iterator<Item = f64>) -> f64 {
    weights.fold(0.0, |sum, weight| if weight >= 0.0 { sum + weight } else { f64::NAN })
}

/// The voxel at which the running sum of the weights passes `target`.
fn centre(target: f64, planes: &[f64], weight: &Source, file: &Targets<'_>) -> Result<[usize; 3]> {
    let (z, rest) = pass(target, planes.iter().copied());
    let (voxel, _) = pass(rest, sums(weight, z, 1, file)?.into_iter());
    let width = weight.size()[2];
    Ok([z, voxel / width, voxel % width])
}

/// The first index at which the running sum passes `target`, and what remains
/// of the target there. Rounding may leave a little at the end: the last weight
/// above 0 takes it.
fn pass(target: f64, weights: impl Iterator<Item = f64>) -> (usize, f64) {
    let mut rest = target;
    let mut last = (0, 0.0);
    for (i, weight) in weights.enumerate() {
        if weight > 0.0 {
            last = (i, rest.min(weight));
            if rest < weight {
                return last;
            }
        }
        rest -= weight;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, targets};
    use super::*;
    use crate::volume::Volume;
    use ndarray::Array4;

    const CONFIG: &str = "{name: PixelWiseWeightedSliceBuilder, patch_shape: [2, 4, 4], \
                          stride_shape: null, num_patches: 4000, skip_shape_check: true}";

    #[test]
    fn centres_follow_the_weights() {
        let mut array = Array4::<f32>::zeros((2, 4, 8, 10));
        array[[0, 1, 3, 4]] = 1.0;
        array[[1, 1, 3, 4]] = 2.0;
        array[[1, 2, 5, 6]] = 6.0;
        array[[0, 3, 7, 9]] = 1.0;
        let weight = Source::from(Volume::channelled(array));
        let windows = build(CONFIG)
            .unwrap()
            .windows(&targets([4, 8, 10], None, Some(&weight)), &WindowDraws::default())
            .unwrap();
        assert_eq!(windows.len(), 4000);
        // Corner = centre − patch // 2, moved inside: (3, 7, 9) has (2, 4, 6).
        let share = |origin: [usize; 3]| {
            windows.iter().filter(|window| window.origin == origin).count() as f64 / 4000.0
        };
        let shares = [share([0, 1, 2]), share([1, 3, 4]), share([2, 4, 6])];
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{shares:?}");
        // Standard deviations are 0.007, 0.008 and 0.005.
        for (found, wanted) in shares.into_iter().zip([0.3, 0.6, 0.1]) {
            assert!((found - wanted).abs() < 0.04, "{shares:?}");
        }
    }

    #[test]
    fn draws_depend_on_seed_file_and_epoch_only() {
        let weight = Source::from(Volume::plain(Array4::<u8>::ones((1, 40, 40, 40))));
        let builder = build(&CONFIG.replace("4000", "5")).unwrap();
        let file = targets([40, 40, 40], None, Some(&weight));
        let draw = |seed, epoch, file_index| {
            builder.windows(&file, &WindowDraws { seed, epoch, file: file_index }).unwrap()
        };
        assert_eq!(draw(1, 0, 0), draw(1, 0, 0));
        assert_ne!(draw(1, 0, 0), draw(2, 0, 0));
        assert_ne!(draw(1, 0, 0), draw(1, 1, 0));
        assert_ne!(draw(1, 0, 0), draw(1, 0, 1));
        assert!(!builder.redraws());
    }

    #[test]
    fn weights_that_cannot_be_drawn_by() {
        let builder = build(CONFIG).unwrap();
        let error = |weight: Option<&Source>| {
            builder
                .windows(&targets([4, 8, 10], None, weight), &WindowDraws::default())
                .unwrap_err()
        };
        let zeros = Source::from(Volume::plain(Array4::<u8>::zeros((1, 4, 8, 10))));
        assert!(error(Some(&zeros)).to_string().contains("volume.h5: all weights are 0"));
        let negative = Source::from(Volume::plain(Array4::from_elem((1, 4, 8, 10), -1i64)));
        assert!(error(Some(&negative)).to_string().contains("in z 0..1 that is negative"));
        assert!(error(None).to_string().contains("weight_internal_path"));
    }

    #[test]
    fn a_patch_of_four_takes_all_channels() {
        let four = CONFIG.replace("[2, 4, 4]", "[3, 2, 4, 4]");
        let weight = Source::from(Volume::channelled(Array4::<u8>::ones((3, 4, 8, 10))));
        let windows = build(&four)
            .unwrap()
            .windows(&targets([4, 8, 10], None, Some(&weight)), &WindowDraws::default())
            .unwrap();
        assert_eq!(windows[0].size, [2, 4, 4]);
        let plain = Source::from(Volume::plain(Array4::<u8>::ones((1, 4, 8, 10))));
        let error = build(&four)
            .unwrap()
            .windows(&targets([4, 8, 10], None, Some(&plain)), &WindowDraws::default())
            .unwrap_err();
        assert!(error.to_string().contains("wants a weight map (C, D, H, W)"), "{error}");
        let error = build(&four.replace("skip_shape_check: true", "skip_shape_check: false"));
        assert!(error.err().unwrap().to_string().contains("needs `skip_shape_check: true`"));
    }
}
