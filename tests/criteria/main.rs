//! Losses and metrics against the numbers of those who define them.

mod cases;
mod check;
mod compact;
mod loss;
mod metric;
