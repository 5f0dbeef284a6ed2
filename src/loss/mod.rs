//! One criterion a file.
