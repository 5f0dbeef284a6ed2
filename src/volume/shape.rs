//! What is known of a volume before any of it is read.

use super::Element;

/// What a volume looks like, as files and transforms declare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeShape {
    /// `None` for (D, H, W).
    pub channels: Option<usize>,
    pub element: Element,
    /// Every (D, H, W) that the volume may have, each once; none if that is not
    /// known. A turn by 90 degrees adds sizes, a crop leaves one.
    pub sizes: Vec<[usize; 3]>,
}

impl VolumeShape {
    /// 3 or 4.
    pub fn rank(&self) -> usize {
        3 + usize::from(self.channels.is_some())
    }

    /// The same volume with other values.
    pub fn with_element(mut self, element: Element) -> Self {
        self.element = element;
        self
    }

    /// The number of channels of patches that a network can take, or why it cannot
    /// take such ones.
    pub fn network_channels(&self) -> Result<usize, String> {
        let Some(channels) = self.channels else {
            return Err(
                "the network takes raw patches (C, D, H, W), these are (D, H, W): end the \
                        `raw` list with ToTensor and `expand_dims: true`"
                    .into(),
            );
        };
        if !self.element.is_float() {
            return Err(format!(
                "the network takes floating-point raw patches, these are {}: end the `raw` list \
                 with ToTensor",
                self.element.name()
            ));
        }
        Ok(channels)
    }

    /// "(D, H, W)" or "(C, D, H, W)", for messages.
    pub fn axes(&self) -> &'static str {
        match self.channels {
            None => "(D, H, W)",
            Some(_) => "(C, D, H, W)",
        }
    }
}
