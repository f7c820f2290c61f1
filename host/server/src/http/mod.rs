//! What all HTTP routes share.

pub mod problem;
