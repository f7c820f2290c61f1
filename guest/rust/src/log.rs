//! Lines for the operator. Calling any of these makes the module import `log`, a permission that must be granted.

use crate::bindings::alertmill::rules::log::{self, Level};

/// For whoever looks for a mistake in the rule.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something is not as it should be.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something failed.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// From now on the text of a panic is logged before the module stops. Call it in `new`.
///
/// This is a choice and not the default because an import is a permission: a rule that never logs would otherwise be refused
/// wherever `log` is not granted.
pub fn panics() {
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}

#[cfg(target_arch = "wasm32")]
fn write(level: Level, message: &str) {
    log::write(level, message);
}

/// Unit tests run without a host.
#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    let _: fn(Level, &str) = log::write;
    eprintln!("{level:?}: {message}");
}
