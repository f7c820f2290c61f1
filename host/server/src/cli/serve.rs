//! `serve`: configuration and log, then the server itself.

use super::Context;
use super::exit::{Exit, Failure};
use crate::config::{self, Config};
use clap::Args;
use std::path::{Path, PathBuf};

/// How to serve.
#[derive(Debug, Args)]
pub struct Serve {
    /// The config file; without it, the defaults and the environment
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Loads the configuration, says which one it is, starts the log and calls `run`, which serves until it is asked to stop.
pub fn serve(args: &Serve, context: &Context, run: impl FnOnce(Config) -> anyhow::Result<()>) -> Result<Exit, Failure> {
    say_what_is_ignored(args.config.as_deref(), context);
    let config = config::load(args.config.as_deref(), std::env::vars())
        .map_err(|problems| Failure::new(Exit::No, format!("the configuration has mistakes\n{problems}")))?;
    crate::telemetry::log::init(&config.log).map_err(|why| Failure::new(Exit::No, format!("log.level: {why}")))?;
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let file = args.config.as_deref().map_or_else(|| "none (defaults and environment)".to_owned(), whole);
    context.say(&format!("alertmill: config file {file}; data folder {}; rules folder {}", whole(&config.data.dir), whole(&config.rules.dir)));
    run(config).map(|()| Exit::Done).map_err(|e| Failure::new(Exit::Unreachable, format!("{e:#}")))
}

/// The file that people expect to be read, and variables that look like configuration and are none.
pub fn say_what_is_ignored(file: Option<&Path>, context: &Context) {
    let usual = "alertmill.toml";
    if file.is_none() && Path::new(usual).exists() {
        context.say(&format!("alertmill: ./{usual} is not read; pass --config {usual}"));
    }
    for ignored in config::ignored_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        context.say(&format!("alertmill: {ignored}"));
    }
}
