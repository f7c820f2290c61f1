//! The log, on stderr.

use crate::config::Log;
use crate::config::types::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Reads `log.level`.
pub fn parse_level(text: &str) -> Result<EnvFilter, String> {
    let bare = |part: &str| part.trim().parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    match text.split(',').find(|part| !part.contains('=') && !bare(part)) {
        // The filter would take the word for a target and switch everything of it on.
        Some(word) => Err(format!("{word:?} is not a level")),
        None => EnvFilter::try_new(text).map_err(|e| e.to_string()),
    }
}

/// Starts the log; a second call changes nothing. Colours only on a terminal and without `NO_COLOR`.
pub fn init(config: &Log) -> Result<(), String> {
    let filter = parse_level(&config.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only another log that was set up first makes this fail, and that one is then used.
    let _ = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            builder.with_ansi(colours).try_init()
        }
    };
    Ok(())
}
