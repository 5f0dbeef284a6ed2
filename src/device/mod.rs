//! Which device, samples to tensors, precision, kinds of failure.
