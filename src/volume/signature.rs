//! What is known of a volume before any of it is read.

use super::Element;

/// Channels and element type of a volume, as files and transforms declare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// `None` for (D, H, W).
    pub channels: Option<usize>,
    pub element: Element,
}
