//! What a module says about itself, put together from its hooks.

use crate::bindings::exports::alertmill::rules::lifecycle::{Condition, HookManifest, Manifest, Op};

/// A condition that the host checks before a row crosses at all: the cheapest work is that of rows that never come. All of a
/// rule's conditions must hold; a missing field satisfies only [`When::NotEquals`], [`When::NoneOf`] and [`When::Missing`].
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// The field has this text.
    Equals(&'static str, &'static str),
    /// The field is missing or has another text.
    NotEquals(&'static str, &'static str),
    /// The field has one of these texts.
    AnyOf(&'static str, &'static [&'static str]),
    /// The field is missing or has none of these texts.
    NoneOf(&'static str, &'static [&'static str]),
    /// The field begins with this text.
    Prefix(&'static str, &'static str),
    /// The field ends with this text.
    Suffix(&'static str, &'static str),
    /// The field contains this text.
    Contains(&'static str, &'static str),
    /// The field is there.
    Exists(&'static str),
    /// The field is not there.
    Missing(&'static str),
}

impl When {
    fn condition(&self) -> Condition {
        let (field, op, values): (_, _, &[&str]) = match self {
            When::Equals(field, value) => (field, Op::Equals, &[value]),
            When::NotEquals(field, value) => (field, Op::NotEquals, &[value]),
            When::AnyOf(field, values) => (field, Op::AnyOf, values),
            When::NoneOf(field, values) => (field, Op::NoneOf, values),
            When::Suffix(field, value) => (field, Op::Suffix, &[value]),
            When::Prefix(field, value) => (field, Op::Prefix, &[value]),
            When::Contains(field, value) => (field, Op::Contains, &[value]),
            When::Exists(field) => (field, Op::Exists, &[]),
            When::Missing(field) => (field, Op::Missing, &[]),
        };
        Condition { field: field.to_string(), op, values: owned(values) }
    }
}

/// One hook's part of the manifest.
pub struct Hook {
    pub(crate) manifest: HookManifest,
    pub(crate) table: Option<&'static str>,
    pub(crate) config_schema: &'static str,
}

impl Hook {
    pub(crate) fn new(hook: crate::glue::lifecycle::Hook, reads: &[&str], writes: &[&str], when: &[When], config_schema: &'static str) -> Self {
        let when = when.iter().map(When::condition).collect();
        // 0: the host knows better than the rule which batch size pays.
        let manifest = HookManifest { hook, reads: owned(reads), writes: owned(writes), when, max_batch: 0 };
        Hook { manifest, table: None, config_schema }
    }
}

/// The manifest of a module with these hooks.
pub fn manifest(name: &str, version: &str, description: &str, hooks: Vec<Hook>) -> Manifest {
    let mut tables: Vec<String> = hooks.iter().filter_map(|hook| hook.table).map(str::to_string).collect();
    // Two hooks may read one table.
    tables.sort();
    tables.dedup();
    let config_schema = hooks.iter().map(|hook| hook.config_schema).find(|schema| !schema.is_empty());
    Manifest {
        name: name.to_string(),
        version: version.to_string(),
        description: description.to_string(),
        tables,
        config_schema: config_schema.unwrap_or("").to_string(),
        hooks: hooks.into_iter().map(|hook| hook.manifest).collect(),
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}
