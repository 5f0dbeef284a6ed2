//! Networks, optimizers and schedulers against torch.

#[path = "../support/mod.rs"]
mod support;

mod export;
mod model;
mod optim;
mod precision;
