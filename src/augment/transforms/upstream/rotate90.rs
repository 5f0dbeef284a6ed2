//! `RandomRotate90` in the plane of y and x.

use super::super::rotate90::RandomRotate90;
use super::{TransformClass, TransformEntry};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomRotate90",
    class: TransformClass::Geometric,
    meaning: "Turns the volume by 0 to 3 quarter turns in the plane of y and x. An odd number of \
              them swaps the sizes of the two axes.",
    parameters: &[],
    build: |_| Ok(Box::new(RandomRotate90 { planes: vec![[1, 2]], force_180: false })),
};
