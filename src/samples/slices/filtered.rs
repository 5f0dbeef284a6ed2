//! Regular patches of which only some are kept, by what their label holds.

use std::collections::HashSet;

use anyhow::{Result, bail};

use super::regular::{HALO_SHAPE, Regular, SKIP_PLANE_CHECK};
use super::{Grid, SliceBuilder, SliceBuilderEntry, Targets, WindowDraws};
use super::{LEAST, PATCH_SHAPE, SKIP_SHAPE_CHECK, STRIDE_SHAPE};
use crate::augment::stream::RandomSource as _;
use crate::config::{ConfigError, Node, Parameter, Section};
use crate::volume::{Source, Volume, Window};
use crate::with_values;

const IGNORE_INDEX: Parameter =
    Parameter::integers("ignore_index", &[0], "labels that do not count, such as background");
const SLACK: Parameter = Parameter::probability(
    "slack_acceptance",
    0.01,
    "probability of keeping a patch that fails the test",
);
const THRESHOLD_MEANING: &str =
    "keep a patch when more than this share of its voxels is not the ignored label";
const MIN_INSTANCES: Parameter =
    Parameter::integer("patch_min_instances", 5, "keep patches of at least so many labels")
        .at_least(0.0);
const MAX_INSTANCES: Parameter =
    Parameter::integer("patch_max_instances", 48, "never keep patches of more labels")
        .at_least(1.0);

pub(super) static FILTER: SliceBuilderEntry = SliceBuilderEntry {
    name: "FilterSliceBuilder",
    meaning: "patches on a grid, without those that hold little but ignored labels",
    parameters: &[
        PATCH_SHAPE.of_length(3),
        STRIDE_SHAPE,
        SKIP_SHAPE_CHECK,
        IGNORE_INDEX,
        Parameter::probability("threshold", 0.6, THRESHOLD_MEANING),
        SLACK,
    ],
    build: |section| Ok(Box::new(Filtered::read(section, Tests::Foreground)?)),
};

/// One label counts as background beside 0, and patches may be thin.
pub(super) static UPSTREAM: SliceBuilderEntry = SliceBuilderEntry {
    name: "FilterSliceBuilder",
    meaning: "patches on a grid, without those that hold little but background",
    parameters: &[
        PATCH_SHAPE.of_length(3),
        STRIDE_SHAPE,
        HALO_SHAPE,
        SKIP_PLANE_CHECK,
        Parameter::integer("ignore_index", 0, "label that counts as background, as 0 does")
            .optional(),
        Parameter::probability(
            "threshold",
            0.6,
            "keep a patch when more than this share of its voxels is no background",
        ),
        SLACK,
    ],
    build: |section| {
        let mut background = vec![0.0];
        background.extend(section.maybe_integer("ignore_index").map(|label| label as f64));
        let regular = Regular::with_halo(section)?;
        Ok(Box::new(Filtered::new(section, regular, vec![background])))
    },
};

pub(super) static EMBEDDINGS: SliceBuilderEntry = SliceBuilderEntry {
    name: "EmbeddingsSliceBuilder",
    meaning: "as FilterSliceBuilder, and with a number of instances within bounds",
    parameters: &[
        PATCH_SHAPE.of_length(3),
        STRIDE_SHAPE,
        SKIP_SHAPE_CHECK,
        IGNORE_INDEX,
        Parameter::probability("threshold", 0.8, THRESHOLD_MEANING),
        SLACK,
        MIN_INSTANCES,
        MAX_INSTANCES,
    ],
    build: |section| Ok(Box::new(Filtered::read(section, Tests::Instances)?)),
};

pub(super) static RANDOM: SliceBuilderEntry = SliceBuilderEntry {
    name: "RandomFilterSliceBuilder",
    meaning: "as EmbeddingsSliceBuilder, and of what is left a random share",
    parameters: &[
        PATCH_SHAPE.of_length(3),
        STRIDE_SHAPE,
        SKIP_SHAPE_CHECK,
        IGNORE_INDEX,
        Parameter::probability("threshold", 0.8, THRESHOLD_MEANING),
        SLACK,
        MIN_INSTANCES,
        MAX_INSTANCES,
        Parameter::probability(
            "patch_acceptance_probab",
            0.1,
            "probability of keeping a patch that passes the tests",
        ),
        Parameter::integer("max_num_patches", 25, "patches of a file at most").at_least(1.0),
    ],
    build: |section| Ok(Box::new(Filtered::read(section, Tests::Random)?)),
};

/// How many of the tests are made; each builder adds one to those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tests {
    Foreground,
    Instances,
    Random,
}

struct Filtered {
    regular: Regular,
    /// Sets of labels: the test asks for voxels outside any one of them.
    ignored: Vec<Vec<f64>>,
    threshold: f64,
    slack: f64,
    /// Least and greatest number of instances.
    instances: Option<(usize, usize)>,
    /// Probability of acceptance, and how many are accepted at most.
    random: Option<(f64, usize)>,
    node: Node,
}

impl Filtered {
    /// Filtered by the share of ignored labels alone.
    fn new(section: &Section<'_>, regular: Regular, ignored: Vec<Vec<f64>>) -> Filtered {
        Filtered {
            regular,
            ignored,
            threshold: section.number("threshold"),
            slack: section.number("slack_acceptance"),
            instances: None,
            random: None,
            node: section.node.clone(),
        }
    }

    fn read(section: &Section<'_>, tests: Tests) -> Result<Filtered, ConfigError> {
        let ignored = section.integers("ignore_index").into_iter().map(|i| vec![i as f64]);
        let filtered = Filtered {
            instances: (tests >= Tests::Instances).then(|| {
                (section.size("patch_min_instances"), section.size("patch_max_instances"))
            }),
            random: (tests >= Tests::Random).then(|| {
                (section.number("patch_acceptance_probab"), section.size("max_num_patches"))
            }),
            ..Filtered::new(section, Regular::read(section, LEAST)?, ignored.collect())
        };
        if let Some((min, max)) = filtered.instances
            && min > max
        {
            return Err(section.error(
                "patch_min_instances",
                format!("{min} is more than `patch_max_instances`, {max}: no patch could be kept"),
            ));
        }
        Ok(filtered)
    }

    fn is_foreground(&self, patch: &Volume) -> bool {
        let voxels = (patch.channels() * patch.size().iter().product::<usize>()) as f64;
        self.ignored.iter().any(|ignored| {
            let others = with_values!(&patch.values, a => {
                a.iter().filter(|&&label| !ignored.contains(&(label as f64))).count()
            });
            others as f64 / voxels > self.threshold
        })
    }
}

/// Keeps the windows whose label passes a test.
fn keep(
    windows: Vec<Window>,
    label: &Source,
    mut test: impl FnMut(&Volume) -> bool,
) -> Result<Vec<Window>> {
    let mut kept = Vec::new();
    for window in windows {
        if test(&label.window(&window)?) {
            kept.push(window);
        }
    }
    Ok(kept)
}

/// The number of distinct values, background included.
fn instances(patch: &Volume) -> usize {
    with_values!(&patch.values, a => {
        let mut found = HashSet::new();
        let mut last = None;
        for &label in a {
            // Neighbours are mostly the same: spare the set.
            if last != Some(label) {
                found.insert((label as f64).to_bits());
                last = Some(label);
            }
        }
        found.len()
    })
}

impl SliceBuilder for Filtered {
    fn windows(&self, file: &Targets<'_>, draw: &WindowDraws) -> Result<Vec<Window>> {
        let mut windows = self.regular.windows(file, draw)?;
        // Prediction has no label to choose by.
        let Some(label) = file.label else { return Ok(windows) };
        let mut stream = draw.open(FILTER.name);
        windows =
            keep(windows, label, |patch| self.is_foreground(patch) || stream.chance(self.slack))?;
        if let Some((min, max)) = self.instances {
            let mut stream = draw.open(EMBEDDINGS.name);
            windows = keep(windows, label, |patch| {
                let count = instances(patch);
                count <= max && (count >= min || stream.chance(self.slack))
            })?;
        }
        if let Some((probability, most)) = self.random {
            let mut stream = draw.open(RANDOM.name);
            windows.retain(|_| stream.chance(probability));
            windows.truncate(most);
        }
        if windows.is_empty() {
            bail!(self.node.error(format!(
                "no patch of {} passes the tests; lower `threshold` or raise the chance by which \
                 patches are kept (`slack_acceptance`, `patch_acceptance_probab`)",
                file.path.display()
            )));
        }
        Ok(windows)
    }

    fn grid(&self) -> Option<Grid> {
        self.regular.grid()
    }

    fn halo(&self) -> [usize; 3] {
        self.regular.halo()
    }

    fn patch(&self) -> [usize; 3] {
        self.regular.patch()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, targets};
    use super::*;
    use crate::config::{Dialect, Tree};
    use ndarray::Array4;

    #[test]
    fn upstream_counts_one_label_as_background() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/recorded/upstream/transforms/transforms.h5"
        );
        let file = hdf5::File::open(path).unwrap();
        for name in ["filter_slices", "filter_slices_ignore"] {
            let group = file.group(name).unwrap();
            let config: hdf5::types::VarLenUnicode =
                group.attr("config").unwrap().read_scalar().unwrap();
            let tree = Tree::parse(&format!("slice_builder: {config}"), "c.yaml", &[]).unwrap();
            tree.set_dialect(Dialect::Upstream);
            let builder = super::super::read(tree.root.get("slice_builder").unwrap()).unwrap();
            let input = group.dataset("input").unwrap();
            let size: [usize; 3] = input.shape().try_into().unwrap();
            let shape = (1, size[0], size[1], size[2]);
            let label = Array4::from_shape_vec(shape, input.read_raw::<u8>().unwrap()).unwrap();
            let label = Source::from(Volume::plain(label));
            let windows = builder
                .windows(&targets(size, Some(&label), None), &WindowDraws::default())
                .unwrap();
            let found: Vec<f64> =
                windows.iter().flat_map(|window| window.origin.map(|start| start as f64)).collect();
            assert_eq!(
                found,
                group.dataset("output").unwrap().read_raw::<f64>().unwrap(),
                "{name}"
            );
        }
    }

    /// Layers of 4 voxels: 1 of background, then 0, 1, 2, 3 foreground layers of
    /// 4, with 1, 2, 3, … labels.
    fn label() -> Source {
        let array = Array4::from_shape_fn((1, 16, 4, 4), |(_, z, y, x)| {
            let patch = z / 4;
            if z % 4 < patch { (1 + (y * 4 + x) % (1 << patch)) as u16 } else { 0 }
        });
        Source::from(Volume::plain(array))
    }

    fn kept(config: &str) -> Result<Vec<usize>> {
        let label = label();
        let builder = build(&format!(
            "{{patch_shape: [4, 4, 4], stride_shape: [4, 4, 4], skip_shape_check: true, {config}}}"
        ))?;
        let windows =
            builder.windows(&targets([16, 4, 4], Some(&label), None), &WindowDraws::default())?;
        Ok(windows.iter().map(|window| window.origin[0] / 4).collect())
    }

    #[test]
    fn patches_need_enough_foreground() {
        let name = "name: FilterSliceBuilder, slack_acceptance: 0";
        assert_eq!(kept(name).unwrap(), [3]);
        // Of patch 2 exactly half is foreground, which is not more than half.
        assert_eq!(kept(&format!("{name}, threshold: 0.5")).unwrap(), [3]);
        assert_eq!(kept(&format!("{name}, threshold: 0.49")).unwrap(), [2, 3]);
        // One ignored label of several is enough.
        let two = format!("{name}, threshold: 0.9, ignore_index: [0, 1]");
        // 64, 56, 52 and 58 of 64 voxels are not 1.
        assert_eq!(kept(&two).unwrap(), [0, 3]);
        let all = "name: FilterSliceBuilder, threshold: 1, slack_acceptance: 1";
        assert_eq!(kept(all).unwrap(), [0, 1, 2, 3]);
        let error = kept(&format!("{name}, threshold: 1")).unwrap_err().to_string();
        assert!(error.contains("no patch of volume.h5 passes the tests"), "{error}");
    }

    #[test]
    fn instances_are_distinct_values_with_background() {
        // 1, 3, 5 and 9 values.
        let name = "name: EmbeddingsSliceBuilder, threshold: 0, slack_acceptance: 0";
        assert_eq!(kept(name).unwrap(), [2, 3]);
        assert_eq!(kept(&format!("{name}, patch_max_instances: 8")).unwrap(), [2]);
        // The upper limit has no slack.
        let slack = "name: EmbeddingsSliceBuilder, threshold: 1, slack_acceptance: 1, \
                     patch_max_instances: 8";
        assert_eq!(kept(slack).unwrap(), [0, 1, 2]);
        let error = kept(&format!("{name}, patch_min_instances: 9, patch_max_instances: 8"));
        assert!(error.unwrap_err().to_string().contains("no patch could be kept"));
    }

    #[test]
    fn random_choice_stops_at_its_limit() {
        let all = "name: RandomFilterSliceBuilder, threshold: 1, slack_acceptance: 1, \
                   patch_acceptance_probab: 1";
        assert_eq!(kept(&format!("{all}, max_num_patches: 3")).unwrap(), [0, 1, 2]);
        assert_eq!(kept(all).unwrap(), [0, 1, 2, 3]);
        let half = all.replace("probab: 1", "probab: 0.5");
        assert_eq!(kept(&half).unwrap(), kept(&half).unwrap());
    }
}
