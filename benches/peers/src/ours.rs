//! The rule as it runs in Alertmill, and the same lines in native code.

use crate::rule_rows::{self, Hosts, chain, hosts, r1, r2};
use crate::side::{Answer, Rule, Side};
use alertmill_core::row::{DedupeAnswer, Row};
use alertmill_core::rules::{RuleChain, RuleTally};
use alertmill_core::value::Value;
use anyhow::{Result, bail, ensure};
use bench_logic::samples::Sample;

/// The whole way through the engine: columns into the module, its look-ups, its patches checked and written on the rows.
pub struct Engine {
    rule: Rule,
    /// Events in a call.
    batch: usize,
    chain: Box<dyn RuleChain>,
    rows: Vec<Row>,
    tally: Vec<RuleTally>,
}

impl Engine {
    pub fn new(rule: Rule, batch: usize) -> Result<Engine> {
        Ok(Engine { rule, batch, chain: chain()?, rows: Vec::new(), tally: Vec::new() })
    }
}

impl Side for Engine {
    fn name(&self) -> String {
        format!("Alertmill, {}", if self.batch == 1 { "one event a call".to_owned() } else { format!("batches of {}", self.batch) })
    }

    fn idiom(&self) -> &'static str {
        "a component in Rust; the table is the host's"
    }

    fn load(&mut self, events: &[Sample]) {
        self.rows = events.iter().map(rule_rows::row).collect();
    }

    fn run(&mut self) -> Result<()> {
        for rows in self.rows.chunks_mut(self.batch) {
            match self.rule {
                Rule::Enrich => self.chain.enrich_events(rows, &mut self.tally)?,
                Rule::Dedupe => self.chain.dedupe(rows, &mut self.tally)?,
            }
        }
        Ok(())
    }

    fn answers(&mut self) -> Result<Vec<Answer>> {
        ensure!(self.tally.iter().all(|rule| rule.failed == 0), "a rule failed: {:?}", self.tally);
        self.rows.iter().map(|row| answer(self.rule, row)).collect()
    }
}

/// The same lines, compiled into this program.
pub struct Native {
    rule: Rule,
    hosts: Hosts,
    rows: Vec<Row>,
}

impl Native {
    pub fn new(rule: Rule) -> Native {
        Native { rule, hosts: hosts(), rows: Vec::new() }
    }
}

impl Side for Native {
    fn name(&self) -> String {
        "native Rust".to_owned()
    }

    fn idiom(&self) -> &'static str {
        "the same lines, compiled in; no wall between rule and host"
    }

    fn load(&mut self, events: &[Sample]) {
        self.rows = events.iter().map(rule_rows::row).collect();
    }

    fn run(&mut self) -> Result<()> {
        match self.rule {
            Rule::Enrich => self.rows.iter_mut().for_each(|row| r1(row, &self.hosts)),
            Rule::Dedupe => self.rows.iter_mut().for_each(r2),
        }
        Ok(())
    }

    fn answers(&mut self) -> Result<Vec<Answer>> {
        self.rows.iter().map(|row| answer(self.rule, row)).collect()
    }
}

fn answer(rule: Rule, row: &Row) -> Result<Answer> {
    let text = |value: &Value| value.as_text().unwrap_or_default().to_owned();
    Ok(match (rule, &row.dedupe) {
        (Rule::Enrich, _) => Answer::Enriched {
            severity: i64::from(row.event.severity_level()),
            tags: row.event.tags.iter().map(|tag| (tag.key.to_string(), text(&tag.value))).collect(),
        },
        (Rule::Dedupe, DedupeAnswer::Key(key)) => Answer::Key(key.to_string()),
        (Rule::Dedupe, other) => bail!("no key but {other:?}"),
    })
}
