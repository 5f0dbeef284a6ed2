//! One recipe a command.

pub mod make_training_data;
