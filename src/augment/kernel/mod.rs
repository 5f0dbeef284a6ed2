//! Resampling and filtering kernels, one boundary rule a definition.
