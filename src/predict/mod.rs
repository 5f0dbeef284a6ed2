//! Patches out, stitching, writing.
