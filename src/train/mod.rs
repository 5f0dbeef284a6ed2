//! The training loop and its policies.

pub mod tensorboard;
