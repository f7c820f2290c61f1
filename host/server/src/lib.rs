//! The binary's parts: configuration, doors, API, telemetry, command line. What goes together is put together in `serve`.

pub mod api;
pub mod bench;
pub mod cli;
pub mod compile;
pub mod config;
pub mod conformance;
pub mod demo;
pub mod doors;
pub mod http;
pub mod oci;
pub mod outgoing;
pub mod rules;
pub mod rules_folder;
pub mod serve;
pub mod signature;
pub mod tables;
pub mod telemetry;
