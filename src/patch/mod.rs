//! Slice builders, data sets and the loader that prefetches samples.
