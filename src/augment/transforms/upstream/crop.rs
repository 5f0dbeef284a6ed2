//! `CropToFixed` for volumes with and without channels.

use super::super::crop::{CENTERED, CropToFixed, SIZE};
use super::{TransformClass, TransformEntry};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "CropToFixed",
    class: TransformClass::Geometric,
    meaning: "Cuts `size` out of y and x from a random corner or the middle; where the volume is \
              smaller, it is mirrored outwards without repeating the edge.",
    parameters: &[SIZE, CENTERED],
    build: |section| Ok(Box::new(CropToFixed::read(section, true))),
};
