//! What is found wrong from shapes alone.
