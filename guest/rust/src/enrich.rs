//! Rules that change events or new alerts.

use crate::When;
use crate::bindings::alertmill::rules::types::{Batch, Output, Patches, RowError};
use crate::glue::lifecycle;
use crate::manifest::Hook;
use crate::patch::Change;
use crate::row::Row;
use std::cell::RefCell;

/// A rule that looks at a row and changes it. Exported as `enrich` it sees events, as `alert` new alerts, whose fields are others: those of
/// the event that opened the alert are `event.NAME`.
///
/// ```
/// use alertmill_rule::prelude::*;
///
/// reads! { struct Alert { name: Text = "alert_name", env: Text = "tags.env", cause: Text = "event.description" } }
/// writes! { struct Change { severity: Integer = "severity", labels: Text = "labels" } }
///
/// /// Whatever happens in the test environment is a reminder, for as long as the alert is open.
/// struct TestsRemind;
///
/// impl Enrich for TestsRemind {
///     type Row<'a> = Alert<'a>;
///     type Change = Change;
///     const WHEN: &'static [When] = &[When::Equals("tags.env", "test")];
///     fn new(_config: &str) -> Result<Self, String> {
///         Ok(TestsRemind)
///     }
///     fn enrich(&self, _alert: &Alert, change: &mut Change) -> Result<(), String> {
///         change.severity.set(3);
///         change.labels.set(r#"["test"]"#);
///         Ok(())
///     }
/// }
///
/// export!(alert: TestsRemind);
/// # fn main() {}
/// ```
pub trait Enrich: Sized {
    /// What it reads, made by [`reads!`](crate::reads).
    type Row<'a>: Row<'a>;
    /// What it writes, made by [`writes!`](crate::writes).
    type Change: Change;
    /// Rows that it is for; the host keeps all others to itself.
    const WHEN: &'static [When] = &[];
    /// JSON schema of the config; empty means that there is none.
    const CONFIG_SCHEMA: &'static str = "";

    /// Called once, with the JSON configured for the rule. `Err` is shown to the operator, and the version does not start.
    fn new(config: &str) -> Result<Self, String>;

    /// Called for each row. The answer must depend on the row and the config only. `Err`: the rule could not judge this row;
    /// what was set is forgotten, and the rule's failure policy decides.
    fn enrich(&self, row: &Self::Row<'_>, change: &mut Self::Change) -> Result<(), String>;
}

/// An [`Enrich`] rule behind its export.
pub struct EnrichHook<R: Enrich> {
    rule: R,
    change: RefCell<R::Change>,
}

impl<R: Enrich> EnrichHook<R> {
    /// The rule with its config.
    pub fn new(config: &str) -> Result<Self, String> {
        Ok(EnrichHook { rule: R::new(config)?, change: RefCell::default() })
    }

    /// Its part of the manifest.
    pub fn describe(hook: lifecycle::Hook) -> Hook {
        Hook::new(hook, R::Row::FIELDS, R::Change::FIELDS, R::WHEN, R::CONFIG_SCHEMA)
    }

    /// Judges a batch.
    pub fn run(&self, batch: Batch) -> Output {
        let mut columns = match R::Row::open(&batch.columns) {
            Ok(columns) => columns,
            Err(message) => return refuse(batch.rows, &message),
        };
        let mut results = Results::new(batch.rows, &self.change);
        for row in 0..batch.rows {
            let values = R::Row::next(&mut columns, row);
            results.add(row, |change| self.rule.enrich(&values, change));
        }
        results.finish()
    }
}

/// Gathers the answers of a batch.
pub(crate) struct Results<'a, C> {
    change: std::cell::RefMut<'a, C>,
    rows: Vec<u32>,
    errors: Vec<RowError>,
}

impl<'a, C: Change> Results<'a, C> {
    pub(crate) fn new(rows: u32, change: &'a RefCell<C>) -> Self {
        Results { change: change.borrow_mut(), rows: Vec::with_capacity(rows as usize), errors: Vec::new() }
    }

    #[inline]
    pub(crate) fn add(&mut self, row: u32, judge: impl FnOnce(&mut C) -> Result<(), String>) {
        match judge(&mut self.change) {
            Ok(()) if self.change.is_set() => {
                self.change.keep(self.rows.len() as u32, row);
                self.rows.push(row);
            }
            Ok(()) => {}
            Err(message) => {
                self.change.undo();
                self.errors.push(RowError { row, message });
            }
        }
    }

    pub(crate) fn finish(mut self) -> Output {
        let mut patches =
            Patches { rows: self.rows, columns: Vec::with_capacity(C::FIELDS.len()), more_tags: Vec::new(), removed_tags: Vec::new(), drops: Vec::new() };
        self.change.take(&mut patches);
        Output { patches, errors: self.errors }
    }
}

/// No row could be judged: the host did not keep to the manifest.
pub(crate) fn refuse(rows: u32, message: &str) -> Output {
    let errors = (0..rows).map(|row| RowError { row, message: message.to_string() }).collect();
    let patches = Patches { rows: vec![], columns: vec![], more_tags: vec![], removed_tags: vec![], drops: vec![] };
    Output { patches, errors }
}
