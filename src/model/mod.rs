//! Blocks and U-Nets.
