//! Words for severities, as they are in use.

const FATAL: &[&str] =
    &["alert", "blocker", "crit", "critical", "disaster", "emerg", "emergency", "fatal", "p0", "p1", "page", "panic", "sev0", "sev1", "urgent"];
const WARNING: &[&str] = &["average", "err", "error", "high", "major", "medium", "moderate", "p2", "sev2", "warn", "warning"];
const REMIND: &[&str] = &[
    "debug",
    "info",
    "information",
    "informational",
    "low",
    "minor",
    "none",
    "notice",
    "notification",
    "ok",
    "p3",
    "p4",
    "p5",
    "remind",
    "sev3",
    "sev4",
    "sev5",
    "trivial",
    "verbose",
];

/// 1 fatal, 2 warning, 3 remind; `None` for a word that means nothing here. Bare numbers count as in bk-monitor, with
/// 0 as bad as 1 and everything from 3 to 9 a reminder.
pub fn severity_of(word: &str) -> Option<i64> {
    let is_in = |words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    match word.as_bytes() {
        [b'0' | b'1'] => Some(1),
        [b'2'] => Some(2),
        [b'3'..=b'9'] => Some(3),
        _ if is_in(FATAL) => Some(1),
        _ if is_in(WARNING) => Some(2),
        _ if is_in(REMIND) => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_one_thing() {
        let mut all: Vec<&str> = [FATAL, WARNING, REMIND].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn case_does_not_matter_and_unknown_words_do_not_count() {
        assert_eq!(severity_of("CRITICAL"), Some(1));
        assert_eq!(severity_of("P3"), Some(3));
        assert_eq!(severity_of("10"), None);
        assert_eq!(severity_of(""), None);
    }
}
