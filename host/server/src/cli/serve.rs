//! `serve`: configuration and log, then the server itself.

use super::exit::{Exit, Failure};
use crate::config::{self, Config};
use clap::Args;
use std::path::PathBuf;

/// How to serve.
#[derive(Debug, Args)]
pub struct Serve {
    /// The config file; without it, the defaults and the environment
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Loads the configuration, starts the log and calls `run`, which serves until it is asked to stop.
pub fn serve(args: &Serve, run: impl FnOnce(Config) -> anyhow::Result<()>) -> Result<Exit, Failure> {
    let config = config::load(args.config.as_deref(), std::env::vars())
        .map_err(|problems| Failure::new(Exit::No, format!("the configuration has mistakes\n{problems}")))?;
    crate::telemetry::log::init(&config.log).map_err(|why| Failure::new(Exit::No, format!("log.level: {why}")))?;
    run(config).map(|()| Exit::Done).map_err(|e| Failure::new(Exit::Unreachable, format!("{e:#}")))
}
