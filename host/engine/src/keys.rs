//! Answers of the dedupe hook: one per row, checked, then written on the rows.

use crate::contracts::DedupeKey;
use crate::failure::{CallFailure, FailureKind};
use crate::limits::DEDUPE_KEY_BYTES_MAX;
use crate::patch::Applied;
use alertmill_core::row::{DedupeAnswer, DedupeRule, Row};
use alertmill_core::value::Text;
use std::sync::Arc;

/// As many answers as rows.
pub(crate) fn check(keys: &[DedupeKey], rows: usize) -> Result<(), CallFailure> {
    match keys.len() == rows {
        true => Ok(()),
        false => Err(CallFailure::new(FailureKind::Arity, format!("{} answers for {rows} rows", keys.len()))),
    }
}

/// What the answers hold, bytes.
pub(crate) fn bytes_of(keys: &[DedupeKey]) -> usize {
    let of_text = |key: &DedupeKey| match key {
        DedupeKey::Key(text) => text.len(),
        DedupeKey::Error(text) => text.len(),
        DedupeKey::Default | DedupeKey::Unique => 0,
    };
    size_of_val(keys) + keys.iter().map(of_text).sum::<usize>()
}

/// Writes the answers; a key that cannot be one fails its row alone.
pub(crate) fn apply(keys: Vec<DedupeKey>, rule: &Arc<DedupeRule>, rows: &mut [Row], chosen: &[u32]) -> Applied {
    let mut applied = Applied::default();
    for (at, (key, index)) in keys.into_iter().zip(chosen).enumerate() {
        let answer = match key {
            DedupeKey::Default => continue,
            DedupeKey::Unique => DedupeAnswer::Unique,
            DedupeKey::Error(message) => {
                applied.failed.push((at as u32, CallFailure::by_rule(&message)));
                continue;
            }
            DedupeKey::Key(key) if (1..=DEDUPE_KEY_BYTES_MAX).contains(&key.len()) => DedupeAnswer::Key(Text::from(key)),
            DedupeKey::Key(key) => {
                let why = format!("a key of {} bytes; it may have 1 to {DEDUPE_KEY_BYTES_MAX}", key.len());
                applied.failed.push((at as u32, CallFailure::new(FailureKind::PatchInvalid, why)));
                continue;
            }
        };
        let row = &mut rows[*index as usize];
        row.dedupe = answer;
        row.dedupe_rule = Some(rule.clone());
        applied.changed += 1;
    }
    applied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_for_each_row_or_none_counts() {
        for (answers, rows) in [(0, 1), (2, 1), (1, 0)] {
            let keys: Vec<DedupeKey> = (0..answers).map(|_| DedupeKey::Unique).collect();
            let failure = check(&keys, rows).unwrap_err();
            assert_eq!((failure.kind, failure.message), (FailureKind::Arity, format!("{answers} answers for {rows} rows")));
        }
        assert!(check(&[DedupeKey::Default], 1).is_ok());
    }
}
