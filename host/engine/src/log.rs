//! The import `log`: lines of a rule go to the host's own log, under its name, no faster than its share.

use crate::contracts::LogLevel;
use alertmill_core::value::Text;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Longest line, bytes; the rest is cut.
const LINE_BYTES_MAX: usize = 4096;
/// What a line costs beside its text, so that empty lines are not free.
const LINE_BYTES_MIN: u64 = 64;

/// Writes the lines of one rule; shared by its instances, however they are bound.
pub(crate) struct LogGate {
    rule: Text,
    version: Text,
    bucket: Mutex<Bucket>,
    dropped: AtomicU64,
}

/// What was written and is not yet forgotten.
struct Bucket {
    bytes: u64,
    drained: Instant,
}

impl LogGate {
    pub fn new(rule: Text, version: Text) -> LogGate {
        let bucket = Mutex::new(Bucket { bytes: 0, drained: Instant::now() });
        LogGate { rule, version, bucket, dropped: AtomicU64::new(0) }
    }

    /// Lines that were over the limit.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes a line if the share of its binding has room for it.
    pub fn write(&self, level: LogLevel, message: &str, bytes_per_second: u64) {
        if !self.admit(message.len().min(LINE_BYTES_MAX) as u64 + LINE_BYTES_MIN, bytes_per_second, Instant::now()) {
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

    fn admit(&self, cost: u64, bytes_per_second: u64, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let drained = now.saturating_duration_since(bucket.drained).as_millis() as u64 * bytes_per_second / 1_000;
        if drained > 0 {
            bucket.bytes = bucket.bytes.saturating_sub(drained);
            bucket.drained = now;
        }
        let admitted = bucket.bytes + cost <= bytes_per_second;
        if admitted {
            bucket.bytes += cost;
        }
        admitted
    }
}

/// As much of a message as a line can take, and a little more so that the cut shows.
pub(crate) fn head(message: &str) -> &str {
    &message[..message.floor_char_boundary(LINE_BYTES_MAX + 8)]
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
    fn m34_a_hostile_text_becomes_one_harmless_line() {
        assert_eq!(one_line("a\n\u{1b}[31mred\u{202e}x\tü"), "a\\n\\u{1b}[31mred\\u{202e}x\\tü");
        assert!(one_line(&"x".repeat(1 << 20)).len() <= LINE_BYTES_MAX + 3);
    }

    #[test]
    fn a_head_gives_the_same_line() {
        for character in ["x", "ü", "磁", "𝄞", "\n", "\u{202e}"] {
            for start in 0..4 {
                for bytes in LINE_BYTES_MAX - 8..LINE_BYTES_MAX + 16 {
                    let text = ["x".repeat(start), character.repeat(bytes / character.len())].concat();
                    assert_eq!(one_line(head(&text)), one_line(&text), "{start} and {character:?} to {bytes} bytes");
                }
            }
        }
        assert!(head(&"x".repeat(1 << 20)).len() <= LINE_BYTES_MAX + 8);
    }

    #[test]
    fn the_share_fills_again_with_time_and_never_beyond_a_second() {
        let gate = LogGate::new("r".into(), "1".into());
        let start = Instant::now();
        assert!(gate.admit(900, 1_000, start));
        assert!(!gate.admit(900, 1_000, start));
        assert!(gate.admit(900, 1_000, start + Duration::from_millis(850)));
        let late = start + Duration::from_secs(100);
        assert!(gate.admit(1_000, 1_000, late));
        assert!(!gate.admit(64, 1_000, late));
        assert!(gate.admit(64, 2_000, late), "another binding with a larger share");
    }
}
