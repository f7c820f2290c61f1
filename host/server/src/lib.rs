//! The binary's parts: configuration, doors, API, telemetry, command line. What goes together is put together in `serve`.

pub mod api;
pub mod config;
pub mod conformance;
pub mod http;
pub mod telemetry;
