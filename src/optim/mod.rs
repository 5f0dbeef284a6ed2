//! Optimizers and learning-rate schedulers, one a file.
//!
//! Both follow `torch.optim` number for number. [`OPTIMIZERS`] and [`SCHEDULERS`] list
//! what a configuration can name. An optimizer is an [`Algorithm`]: it says which
//! tensors it keeps of a parameter and how a step changes them; [`Optimizer`] holds
//! these tensors, counts steps and turns everything into the named values of torch's
//! `state_dict()` and back. A scheduler is a [`Schedule`]: it changes the optimizer's
//! [`Rates`] after every validation.

mod optimizer;
mod optimizers;
mod scheduler;
mod schedulers;
mod state;

pub use optimizer::{Algorithm, Optimizer, OptimizerEntry, OptimizerSpec, Update};
pub use optimizers::OPTIMIZERS;
pub use scheduler::{Schedule, Scheduler, SchedulerEntry};
pub use schedulers::SCHEDULERS;
pub use state::{OptimizerState, ParameterTensors, Rates, Setting, Settings};
