//! The import `log`: lines of a rule go to the host's own log, under its name, no faster than its share.

use crate::contract::LogLevel;
use alertmill_core::value::Text;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Longest line, bytes; the rest is cut.
const LINE_BYTES_MAX: usize = 4096;
/// What a line costs beside its text, so that empty lines are not free.
const LINE_BYTES_MIN: u64 = 64;

/// Writes the lines of one rule; shared by its instances.
pub(crate) struct LogGate {
    rule: Text,
    version: Text,
    bytes_per_second: u64,
    bucket: Mutex<Bucket>,
    dropped: AtomicU64,
}

struct Bucket {
    left: u64,
    filled: Instant,
}

impl LogGate {
    pub fn new(rule: Text, version: Text, bytes_per_second: u64) -> LogGate {
        let bucket = Mutex::new(Bucket { left: bytes_per_second, filled: Instant::now() });
        LogGate { rule, version, bytes_per_second, bucket, dropped: AtomicU64::new(0) }
    }

    /// Lines that were over the limit.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub fn write(&self, level: LogLevel, message: &str) {
        if !self.admit(message.len().min(LINE_BYTES_MAX) as u64 + LINE_BYTES_MIN, Instant::now()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (rule, version, message) = (self.rule.as_str(), self.version.as_str(), one_line(message));
        match level {
            LogLevel::Debug => tracing::debug!(target: "alertmill::rule", rule, version, "{message}"),
            LogLevel::Info => tracing::info!(target: "alertmill::rule", rule, version, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "alertmill::rule", rule, version, "{message}"),
            LogLevel::Error => tracing::error!(target: "alertmill::rule", rule, version, "{message}"),
        }
    }

    fn admit(&self, cost: u64, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(bucket.filled).as_millis() as u64 * self.bytes_per_second / 1_000;
        if gained > 0 {
            bucket.left = (bucket.left + gained).min(self.bytes_per_second);
            bucket.filled = now;
        }
        let admitted = bucket.left >= cost;
        if admitted {
            bucket.left -= cost;
        }
        admitted
    }
}

/// A hostile text as one harmless line of bounded length: controls, line breaks and characters that turn the reading
/// direction are escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LINE_BYTES_MAX));
    for c in text.chars() {
        if line.len() >= LINE_BYTES_MAX {
            line.push('…');
            break;
        }
        match c {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => line.extend(c.escape_unicode()),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_hostile_text_becomes_one_harmless_line() {
        assert_eq!(one_line("a\n\u{1b}[31mred\u{202e}x\tü"), "a\\n\\u{1b}[31mred\\u{202e}x\\tü");
        assert!(one_line(&"x".repeat(1 << 20)).len() <= LINE_BYTES_MAX + 3);
    }

    #[test]
    fn the_share_fills_again_with_time_and_never_beyond_a_second() {
        let gate = LogGate::new("r".into(), "1".into(), 1_000);
        let start = Instant::now();
        assert!(gate.admit(900, start));
        assert!(!gate.admit(900, start));
        assert!(gate.admit(900, start + Duration::from_millis(850)));
        let late = start + Duration::from_secs(100);
        assert!(gate.admit(1_000, late));
        assert!(!gate.admit(64, late));
    }
}
