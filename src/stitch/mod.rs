//! Patch outputs into a volume: halo, averaging.
