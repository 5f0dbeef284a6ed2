//! One recipe a command.
