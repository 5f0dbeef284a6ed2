//! What `skip_last_target`, `squeeze_channel` and `ignore_index` do to a batch
//! before the loss itself sees it.

use anyhow::Result;
use tch::Tensor;

use crate::config::{ConfigError, Node};
use crate::target::{LabelForm, Labels, TargetShapes};
use crate::volume::VolumeShape;

use super::LossEntry;

/// The part of the labels that a loss sees.
pub(super) struct Preparation {
    /// Drops the last channel of the labels.
    pub(super) skip_last: bool,
    /// Drops the channel axis of what remains if it is one channel.
    pub(super) squeeze: bool,
    /// Multiplies logits and labels by (labels ≠ this label).
    pub(super) mask: Option<i64>,
}

impl Preparation {
    /// Logits and labels as the loss sees them; `None` if it sees them as they are.
    pub(super) fn apply(
        &self,
        logits: &Tensor,
        labels: &Labels,
    ) -> Result<Option<(Tensor, Labels)>> {
        let mask = self.mask.filter(|&label| match labels {
            Labels::Dense(_) => true,
            // One-hot labels are made of ones and zeros: no other label masks any.
            Labels::OneHot { .. } => self.skip_last || label == 0 || label == 1,
        });
        if !self.skip_last && mask.is_none() {
            return Ok(None);
        }
        let mut labels = labels.dense(logits.f_kind()?)?;
        if self.skip_last {
            let channels = labels.size()[1];
            labels = labels.f_narrow(1, 0, channels - 1)?;
            if self.squeeze {
                labels = labels.f_squeeze_dim(1)?;
            }
        }
        let Some(mask) = mask else {
            return Ok(Some((logits.shallow_clone(), Labels::Dense(labels))));
        };
        let kept = labels.f_ne(mask)?;
        let labels = labels.f_mul(&kept)?;
        let kept = if kept.dim() == 4 { kept.f_unsqueeze(1)? } else { kept };
        Ok(Some((logits.f_mul(&kept)?, Labels::Dense(labels))))
    }

    /// The shape of the labels as the loss `entry` sees them; `node` is its section.
    ///
    /// # Errors
    /// Labels without a last channel to skip, or with an axis that has to go.
    pub(super) fn seen_labels(
        &self,
        entry: &LossEntry,
        node: &Node,
        shapes: &TargetShapes<'_>,
    ) -> Result<VolumeShape, ConfigError> {
        let mut labels = shapes.labels.clone();
        if !self.skip_last {
            return Ok(labels);
        }
        let list = shapes.label_list();
        let Some(channels) = labels.channels.filter(|&channels| channels > 1) else {
            let what = match labels.channels {
                Some(_) => "have one channel",
                None => "have no channel axis",
            };
            return Err(node.error_at(
                "skip_last_target",
                format!(
                    "there is no last channel to skip, since the labels of {list} {what}: remove \
                     `skip_last_target`, or set `append_label: true` in the transform that makes \
                     the channels"
                ),
            ));
        };
        let squeeze = channels == 2 && self.squeeze;
        labels.channels = (!squeeze).then_some(channels - 1);
        if channels == 2
            && !squeeze
            && shapes.out_channels > 1
            && !matches!(entry.labels, LabelForm::LikeLogits { .. })
        {
            return Err(node.error_at(
                "squeeze_channel",
                format!(
                    "{} wants labels (D, H, W), and one channel is left of those of {list}: set \
                     `squeeze_channel: true`",
                    entry.name
                ),
            ));
        }
        Ok(labels)
    }
}
