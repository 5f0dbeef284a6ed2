//! What a configuration means in one dialect and not in the other.

use super::signs::{Holds, find};
use super::{Dialect, Node};

/// Where a configuration has one meaning in the fork and another one upstream.
struct DialectDifference {
    /// Path of the key by which the difference matters, as in the table of signs.
    path: &'static str,
    when: When,
    fork: &'static str,
    upstream: &'static str,
}

/// When a difference matters.
#[derive(Clone, Copy)]
enum When {
    /// The key has such a value.
    Has(Holds),
    /// The section above has no such key.
    Absent,
    /// As [`When::Has`], or the key is absent.
    HasOrAbsent(Holds),
}

const TRANSFORMS: &str = "loaders.*.transformer.*.*.name";

const DIFFERENCES: &[DialectDifference] = {
    use Holds::{Anything, Letters, Words};
    use When::{Absent, Has, HasOrAbsent};
    &[
        DialectDifference {
            path: "model.layer_order",
            when: Has(Letters("l")),
            fork: "LeakyReLU (`l`) has the slope 0.1",
            upstream: "LeakyReLU (`l`) has the slope 0.01, and 0.1 after the sum of a residual block",
        },
        DialectDifference {
            path: "model.name",
            when: Has(Words(&["ResidualUNet3D"])),
            fork: "a residual block begins with a whole convolution unit, and levels must halve evenly",
            upstream: "a residual block begins with a 1×1×1 convolution, and levels may have any size",
        },
        DialectDifference {
            path: "model.name",
            when: Has(Words(&["UNet2D"])),
            fork: "UNet2D has 3D layers with kernels (1, 3, 3)",
            upstream: "UNet2D has 2D layers",
        },
        DialectDifference {
            path: "model.conv_kernel_size",
            when: Has(Anything),
            fork: "`model.conv_kernel_size` is heeded",
            upstream: "`model.conv_kernel_size` is ignored: it is always 3",
        },
        DialectDifference {
            path: "model.pool_kernel_size",
            when: Has(Anything),
            fork: "`model.pool_kernel_size` is heeded",
            upstream: "`model.pool_kernel_size` is ignored: it is always 2",
        },
        DialectDifference {
            path: TRANSFORMS,
            when: Has(Words(&["Standardize"])),
            fork: "Standardize uses mean and deviation of the whole file",
            upstream: "Standardize uses mean and deviation of the patch, or of the whole file with \
                       `loaders.global_normalization`",
        },
        DialectDifference {
            path: TRANSFORMS,
            when: Has(Words(&["Normalize"])),
            fork: "Normalize uses the range of the whole file",
            upstream: "Normalize uses the range of the patch",
        },
        DialectDifference {
            path: TRANSFORMS,
            when: Has(Words(&["RandomContrast"])),
            fork: "RandomContrast draws a factor for each channel, about the mean of the file",
            upstream: "RandomContrast draws one factor, about `mean`",
        },
        DialectDifference {
            path: TRANSFORMS,
            when: Has(Words(&["RandomRotate"])),
            fork: "RandomRotate acts with `execution_probability`",
            upstream: "RandomRotate always acts",
        },
        DialectDifference {
            path: TRANSFORMS,
            when: Has(Words(&["StandardLabelToBoundary"])),
            fork: "StandardLabelToBoundary heeds `blur` and `blobs`",
            upstream: "StandardLabelToBoundary heeds `foreground`",
        },
        DialectDifference {
            path: TRANSFORMS,
            when: Has(Words(&["Relabel"])),
            fork: "Relabel numbers the labels as they are",
            upstream: "Relabel numbers connected components, unless `run_cc` is false",
        },
        DialectDifference {
            path: "loss.name",
            when: Has(Words(&["BCEDiceLoss"])),
            fork: "BCEDiceLoss is alpha · BCE + beta · Dice",
            upstream: "BCEDiceLoss is BCE + alpha · Dice",
        },
        DialectDifference {
            path: "eval_metric.name",
            when: HasOrAbsent(Words(&["MeanIoU"])),
            fork: "MeanIoU takes the argmax, and counts every class but `skip_channels`",
            upstream: "MeanIoU leaves class 0 out unless `skip_background` is false, and cuts each \
                       channel at 0.5 where labels have channels",
        },
        DialectDifference {
            path: "eval_metric.name",
            when: Has(Words(&["BoundaryAveragePrecision"])),
            fork: "BoundaryAveragePrecision takes the first label channel",
            upstream: "BoundaryAveragePrecision takes the last label channel",
        },
        DialectDifference {
            path: "eval_metric.name",
            when: Has(Words(&["BoundaryAdaptedRandError", "AdaptedRandError"])),
            fork: "a segmentation of one label has the adapted Rand error 0",
            upstream: "a segmentation of one label is scored",
        },
        DialectDifference {
            path: "optimizer.weight_decay",
            when: Absent,
            fork: "`optimizer.weight_decay` is required",
            upstream: "`optimizer.weight_decay` is 0",
        },
        DialectDifference {
            path: "lr_scheduler",
            when: Absent,
            fork: "without `lr_scheduler`, ReduceLROnPlateau halves the learning rate",
            upstream: "without `lr_scheduler`, the learning rate stays",
        },
        DialectDifference {
            path: "trainer.validate_after_iters",
            when: Absent,
            fork: "`trainer.validate_after_iters` is 100",
            upstream: "`trainer.validate_after_iters` is 200",
        },
        DialectDifference {
            path: "loaders.test.slice_builder.stride_shape",
            when: Has(Anything),
            fork: "`predictor.patch_halo` is cut from patches, and those that overlap are averaged",
            upstream: "`halo_shape` is added to patches, and of those that overlap the later one counts",
        },
        DialectDifference {
            path: "predictor.save_segmentation",
            when: Has(Anything),
            fork: "`save_segmentation` writes `segmentation` beside the probabilities",
            upstream: "`save_segmentation` writes the segmentation in place of the probabilities",
        },
    ]
};

/// What a configuration means in `dialect` where it would mean something else in the
/// other one, each with the other meaning.
pub fn differences(root: &Node, dialect: Dialect) -> Vec<(&'static str, &'static str)> {
    let matters = |difference: &&DialectDifference| {
        let path = difference.path;
        let (above, _) = path.rsplit_once('.').unwrap_or(("", path));
        // A section that is not there is about another command.
        let is_there = above.is_empty() || find(root, above, Holds::Anything).is_some();
        let training = root.get("trainer").is_some();
        match difference.when {
            When::Has(holds) => find(root, path, holds).is_some(),
            When::Absent => is_there && training && find(root, path, Holds::Anything).is_none(),
            When::HasOrAbsent(holds) => {
                find(root, path, holds).is_some()
                    || training && find(root, path, Holds::Anything).is_none()
            }
        }
    };
    let pair = |difference: &DialectDifference| match dialect {
        Dialect::Fork => (difference.fork, difference.upstream),
        Dialect::Upstream => (difference.upstream, difference.fork),
    };
    DIFFERENCES.iter().filter(matters).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;

    #[test]
    fn only_what_matters_for_the_file_is_listed() {
        let list = |yaml: &str, dialect| {
            let tree = Tree::parse(yaml, "c.yaml", &[]).unwrap();
            differences(&tree.root, dialect)
        };
        let found = list("model: {layer_order: gcl}", Dialect::Upstream);
        assert_eq!(found.len(), 1);
        assert!(found[0].0.contains("0.01") && found[0].1.contains("0.1"), "{found:?}");
        assert!(list("model: {layer_order: gcr}", Dialect::Fork).is_empty());
        let training = "{trainer: {validate_after_iters: 3}, eval_metric: {name: PSNR}}";
        let found = list(training, Dialect::Fork);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0.contains("ReduceLROnPlateau"), "{found:?}");
    }
}
