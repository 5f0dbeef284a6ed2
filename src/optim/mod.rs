//! Optimizers with readable state, schedulers.
