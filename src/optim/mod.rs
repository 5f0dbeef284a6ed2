//! Optimizers with readable state, and learning-rate schedulers.
//!
//! Both follow `torch.optim` number for number; the step itself is libtorch's
//! fused one.

mod optimizer;
mod scheduler;

pub use optimizer::{Algorithm, EPSILON, Moments, OPTIMIZER, Optimizer, OptimizerSpec};
pub use scheduler::{SCHEDULER_NAMES, Scheduler, SchedulerState};
