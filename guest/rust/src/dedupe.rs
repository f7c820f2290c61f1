//! Rules that decide which events belong to the same alert.

use crate::When;
use crate::bindings::alertmill::rules::types::Batch;
use crate::glue::dedupe_rule::DedupeKey;
use crate::glue::lifecycle;
use crate::manifest::Hook;
use crate::row::Row;

/// What a dedupe rule says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: later rules, and then the event's own dedupe keys, decide.
    Default,
    /// Events with the same key are one alert.
    Key,
    /// Never merged with another.
    Unique,
}

/// A rule that makes dedupe keys.
///
/// ```
/// use alertmill_rule::prelude::*;
///
/// reads! { struct Event { host: Text = "tags.host" } }
///
/// struct ByHost;
///
/// impl Dedupe for ByHost {
///     type Row<'a> = Event<'a>;
///     fn new(_config: &str) -> Result<Self, String> {
///         Ok(ByHost)
///     }
///     fn key(&self, event: &Event, key: &mut String) -> Result<Answer, String> {
///         let Some(host) = event.host else { return Ok(Answer::Default) };
///         key.push_str(host);
///         Ok(Answer::Key)
///     }
/// }
///
/// export!(dedupe: ByHost);
/// # fn main() {}
/// ```
pub trait Dedupe: Sized {
    /// What it reads, made by [`reads!`](crate::reads).
    type Row<'a>: Row<'a>;
    /// Rows that it is for; the host keeps all others to itself.
    const WHEN: &'static [When] = &[];
    /// JSON schema of the config; empty means that there is none.
    const CONFIG_SCHEMA: &'static str = "";

    /// Called once, with the JSON configured for the rule. `Err` is shown to the operator, and the version does not start.
    fn new(config: &str) -> Result<Self, String>;

    /// Called for each row, with an empty `key` to write to; the text counts only with [`Answer::Key`]. The host adds tenant,
    /// strategy and the rule's name. `Err`: the rule could not judge this row, and its failure policy decides.
    fn key(&self, row: &Self::Row<'_>, key: &mut String) -> Result<Answer, String>;
}

/// A [`Dedupe`] rule behind its export.
pub struct DedupeHook<R> {
    rule: R,
}

impl<R: Dedupe> DedupeHook<R> {
    /// The rule with its config.
    pub fn new(config: &str) -> Result<Self, String> {
        Ok(DedupeHook { rule: R::new(config)? })
    }

    /// Its part of the manifest.
    pub fn describe(hook: lifecycle::Hook) -> Hook {
        Hook::new(hook, R::Row::FIELDS, &[], R::WHEN, R::CONFIG_SCHEMA)
    }

    /// Answers for a batch.
    pub fn run(&self, batch: Batch) -> Vec<DedupeKey> {
        let mut columns = match R::Row::open(&batch.columns) {
            Ok(columns) => columns,
            Err(message) => return (0..batch.rows).map(|_| DedupeKey::Error(message.clone())).collect(),
        };
        let mut key = String::with_capacity(256);
        let mut answers = Vec::with_capacity(batch.rows as usize);
        for row in 0..batch.rows {
            key.clear();
            answers.push(match self.rule.key(&R::Row::next(&mut columns, row), &mut key) {
                Ok(Answer::Default) => DedupeKey::Default,
                // A copy of the right size is cheaper than a string that is grown and then shrunk to cross.
                Ok(Answer::Key) => DedupeKey::Key(key.as_str().to_owned()),
                Ok(Answer::Unique) => DedupeKey::Unique,
                Err(message) => DedupeKey::Error(message),
            });
        }
        answers
    }
}
