//! The training loop and its policies.
