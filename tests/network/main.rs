//! Networks, optimizers and schedulers against torch.

#[path = "../support/mod.rs"]
mod support;

mod model;
mod optim;
mod precision;
