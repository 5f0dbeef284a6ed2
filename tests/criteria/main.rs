//! Losses and metrics against the numbers of the libraries that define them.

mod cases;
mod check;
mod compact;
mod loss;
mod metric;
mod parts;
mod regions;
