//! One metric a file.
