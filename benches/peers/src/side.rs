//! What every side does, and how answers are compared.

use anyhow::Result;
use bench_logic::samples::Sample;
use std::collections::BTreeMap;

/// Which of the bench rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// R1: three fields read, a look-up, four tags, maybe the severity.
    Enrich,
    /// R2: a key of three fields.
    Dedupe,
}

/// One way to run a rule. Events are handed over outside the measured time, in the form that suits the side best.
pub trait Side {
    /// What it is, with its version.
    fn name(&self) -> String;
    /// How it is used, for whoever judges whether that is fair.
    fn idiom(&self) -> &'static str;
    /// Takes events in place of the last ones. Not measured.
    fn load(&mut self, events: &[Sample]);
    /// Judges them. Measured.
    fn run(&mut self) -> Result<()>;
    /// What came out, an answer for each event.
    fn answers(&mut self) -> Result<Vec<Answer>>;
}

/// What a rule made of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// R1: the event's severity and tags afterwards.
    Enriched { severity: i64, tags: BTreeMap<String, String> },
    /// R2.
    Key(String),
}

impl Answer {
    /// Of an event that R1 has been at.
    pub fn enriched(event: &Sample) -> Answer {
        Answer::Enriched { severity: event.severity, tags: event.tags.iter().cloned().collect() }
    }
}

/// As core writes a tag: in place of one of that key, else at the end.
pub fn set_tag(event: &mut Sample, key: &str, value: String) {
    match event.tags.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = value,
        None => event.tags.push((key.to_owned(), value)),
    }
}

/// The value of a tag.
pub fn tag<'a>(event: &'a Sample, key: &str) -> Option<&'a str> {
    event.tags.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}
