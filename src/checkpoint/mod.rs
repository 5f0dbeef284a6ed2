//! The `.pytorch` format, read and written.
