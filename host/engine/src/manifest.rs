//! What a module says of itself, checked against what it exports and against core's table of fields.

use crate::condition::{PayloadField, When};
use crate::contracts;
use crate::interface::{Hook, Interface};
use crate::limits::{BATCH_ROWS_MAX, PAYLOADS_MAX};
use crate::options::Grant;
use crate::refusal::Refusal;
use crate::schema::Schema;
use alertmill_core::alert_fields::AlertField;
use alertmill_core::fields::{Field, RuleField};
use alertmill_core::value::Text;
use serde::Serialize;

const FIELDS_MAX: usize = 64;
const CONDITIONS_MAX: usize = 16;
/// Values that are looked up whole, of all conditions of a hook.
const WHOLE_VALUES_MAX: usize = 1_000;
/// Values that each are searched for in each text, of all conditions of a hook, and their bytes.
const PART_VALUES_MAX: usize = 64;
const PART_BYTES_MAX: usize = 4 << 10;
const TABLES_MAX: usize = 16;
const DESCRIPTION_BYTES_MAX: usize = 4 << 10;

/// What a module is: for `rule inspect`, the API and scanning `rules.d/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleInfo {
    /// From the manifest.
    #[serde(serialize_with = "as_text")]
    pub name: Text,
    /// From the manifest.
    #[serde(serialize_with = "as_text")]
    pub version: Text,
    /// From the manifest: what it is for, in words.
    pub description: String,
    /// SHA-256 of the file, 64 hex digits.
    #[serde(serialize_with = "as_text")]
    pub digest: Text,
    /// Size of the file, bytes.
    pub size_bytes: u64,
    /// Full names of what it imports; its permission list.
    pub imports: Vec<String>,
    /// Full names of what it exports.
    pub exports: Vec<String>,
    /// Grants that it needs.
    pub grants: Vec<&'static str>,
    /// Full names of the WASI imports that constants stand in for: they can do nothing, so they need no grant.
    pub stand_ins: Vec<String>,
    /// Grants that change something for it: a module that prints can do without `log` and gains by it.
    #[serde(skip)]
    pub useful_grants: Vec<Grant>,
    /// What each hook touches.
    pub hooks: Vec<HookInfo>,
    /// Tables that it may open.
    pub tables: Vec<String>,
    /// JSON schema of its config; empty means no config.
    pub config_schema: String,
}

impl RuleInfo {
    /// Of the grants that it was given, those that it does not need: power that nobody uses, to be taken back.
    pub fn unneeded_grants(&self, given: &[Grant]) -> Vec<&'static str> {
        let mut all: Vec<Grant> = given.iter().copied().filter(|grant| !self.useful_grants.contains(grant)).collect();
        all.sort();
        all.dedup();
        all.into_iter().map(Grant::name).collect()
    }
}

/// Core's text type has no serde of its own.
pub(crate) fn as_text<S: serde::Serializer>(text: &Text, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// What one hook of a module touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookInfo {
    /// `normalize`, `enrich-event`, `dedupe` or `enrich-alert`.
    pub hook: &'static str,
    /// Fields that it gets.
    pub reads: Vec<String>,
    /// Fields that it may change.
    pub writes: Vec<String>,
    /// Conditions in words; all must hold.
    pub when: Vec<String>,
    /// Largest batch wanted; 0 leaves it to the host.
    pub max_batch: u32,
}

/// What the engine runs of one hook over events or alerts.
#[derive(Clone, Debug)]
pub(crate) struct HookPlan<F> {
    /// One column each, in order.
    pub reads: Vec<F>,
    /// One column each, in order.
    pub writes: Vec<F>,
    /// `tags.*` was declared.
    pub writes_tags: bool,
    /// `drop` was declared.
    pub drops: bool,
    /// Which rows it is asked about.
    pub when: When<F>,
    /// Rows of one call.
    pub batch_rows: usize,
}

/// What the engine runs of the hook over payloads.
#[derive(Clone, Debug)]
pub(crate) struct NormalizePlan {
    /// Which payloads it is for.
    pub when: When<PayloadField>,
    /// Payloads of one call.
    pub batch_rows: usize,
}

/// What the engine runs of a module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    pub normalize: Option<NormalizePlan>,
    pub enrich: Option<HookPlan<Field>>,
    pub dedupe: Option<HookPlan<Field>>,
    pub enrich_alert: Option<HookPlan<AlertField>>,
}

/// Both forms of a checked manifest.
pub(crate) struct Checked {
    pub name: Text,
    pub version: Text,
    pub description: String,
    pub hooks: Vec<HookInfo>,
    pub tables: Vec<String>,
    pub config_schema: String,
    pub schema: Schema,
    pub plans: Plans,
}

/// Checks a manifest. `batch_rows` is the host's limit.
pub(crate) fn check(manifest: &contracts::Manifest, interface: &Interface, batch_rows: u32) -> Result<Checked, Refusal> {
    check_name(&manifest.name)?;
    check_version(&manifest.version)?;
    let mut checked = Checked {
        name: Text::new(&manifest.name),
        version: Text::new(&manifest.version),
        description: check_description(&manifest.description)?,
        hooks: Vec::new(),
        tables: check_tables(manifest)?,
        config_schema: manifest.config_schema.clone(),
        schema: Schema::parse(&manifest.config_schema).map_err(|why| Refusal::Manifest(format!("config-schema: {why}")))?,
        plans: Plans::default(),
    };
    for hook in &manifest.hooks {
        let name = hook_of(hook.hook);
        if !interface.hooks.iter().any(|(exported, _)| *exported == name) {
            let export = interface.contract.hook(name).map_or("such a hook", |export| export.interface);
            return refuse(format!("it names the hook `{}`, but the module does not export `{export}`", name.name()));
        }
        if checked.hooks.iter().any(|known| known.hook == name.name()) {
            return refuse(format!("it names the hook `{}` twice", name.name()));
        }
        match name {
            Hook::Normalize => checked.plans.normalize = Some(normalize_plan(hook, batch_rows)?),
            Hook::EnrichEvent => checked.plans.enrich = Some(plan(hook, name, batch_rows)?),
            Hook::Dedupe => checked.plans.dedupe = Some(plan(hook, name, batch_rows)?),
            Hook::EnrichAlert => checked.plans.enrich_alert = Some(plan(hook, name, batch_rows)?),
        }
        checked.hooks.push(info(hook, name));
    }
    if let Some((hook, export)) = interface.hooks.iter().find(|(hook, _)| !checked.hooks.iter().any(|h| h.hook == hook.name())) {
        return refuse(format!("the module exports `{export}`, but the manifest does not name the hook `{}`", hook.name()));
    }
    Ok(checked)
}

fn refuse<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal::Manifest(why))
}

const fn hook_of(hook: contracts::HookName) -> Hook {
    match hook {
        contracts::HookName::Normalize => Hook::Normalize,
        contracts::HookName::EnrichEvent => Hook::EnrichEvent,
        contracts::HookName::Dedupe => Hook::Dedupe,
        contracts::HookName::EnrichAlert => Hook::EnrichAlert,
    }
}

fn plan<F: RuleField>(hook: &contracts::HookManifest, name: Hook, batch_rows: u32) -> Result<HookPlan<F>, Refusal> {
    let at = name.name();
    if hook.reads.len() > FIELDS_MAX || hook.writes.len() > FIELDS_MAX {
        return refuse(format!("{at}: at most {FIELDS_MAX} fields may be read and as many written"));
    }
    let reads = hook.reads.iter().map(|field| F::parse_read(field).map_err(|e| Refusal::Manifest(format!("{at}: reads: {e}"))));
    let reads: Vec<F> = reads.collect::<Result<_, _>>()?;
    // Each would be copied into every batch once more.
    if let Some((i, _)) = reads.iter().enumerate().find(|(i, field)| reads[..*i].contains(field)) {
        return refuse(format!("{at}: reads: `{}` is named twice", hook.reads[i]));
    }
    let mut plan = HookPlan {
        reads,
        writes: Vec::new(),
        writes_tags: false,
        drops: false,
        when: conditions(hook, at, When::parse)?,
        batch_rows: rows_of_a_call(hook, batch_rows),
    };
    if name == Hook::Dedupe && !hook.writes.is_empty() {
        return refuse("dedupe: it answers keys and writes nothing; leave `writes` empty".to_owned());
    }
    for written in &hook.writes {
        let field = F::parse_write(written).map_err(|e| Refusal::Manifest(format!("{at}: writes: {e}")))?;
        if field.is_all_tags() {
            plan.writes_tags = true;
        } else if field.is_drop() {
            plan.drops = true;
        } else if plan.writes.contains(&field) {
            return refuse(format!("{at}: writes: `{written}` is named twice"));
        } else {
            plan.writes.push(field);
        }
    }
    Ok(plan)
}

fn rows_of_a_call(hook: &contracts::HookManifest, batch_rows: u32) -> usize {
    let wanted = if hook.max_batch == 0 { batch_rows } else { hook.max_batch };
    wanted.min(batch_rows).min(BATCH_ROWS_MAX) as usize
}

fn conditions<W>(hook: &contracts::HookManifest, at: &str, parse: impl FnOnce(&[contracts::Condition]) -> Result<W, String>) -> Result<W, Refusal> {
    if hook.when.len() > CONDITIONS_MAX {
        return refuse(format!("{at}: when: {} conditions, at most {CONDITIONS_MAX}", hook.when.len()));
    }
    let (parts, whole): (Vec<_>, Vec<_>) =
        hook.when.iter().partition(|c| matches!(c.op, contracts::Op::Prefix | contracts::Op::Suffix | contracts::Op::Contains));
    let count = |conditions: &[&contracts::Condition]| conditions.iter().map(|c| c.values.len()).sum::<usize>();
    if count(&whole) > WHOLE_VALUES_MAX {
        return refuse(format!("{at}: when: {} values, at most {WHOLE_VALUES_MAX} in all conditions together", count(&whole)));
    }
    let bytes: usize = parts.iter().flat_map(|c| &c.values).map(String::len).sum();
    if count(&parts) > PART_VALUES_MAX || bytes > PART_BYTES_MAX {
        let (count, max) = (count(&parts), PART_VALUES_MAX);
        return refuse(format!(
            "{at}: when: {count} values of {bytes} bytes for `prefix`, `suffix` and `contains`, at most {max} of {PART_BYTES_MAX} together"
        ));
    }
    parse(&hook.when).map_err(|why| Refusal::Manifest(format!("{at}: when: {why}")))
}

fn normalize_plan(hook: &contracts::HookManifest, batch_rows: u32) -> Result<NormalizePlan, Refusal> {
    if !hook.reads.is_empty() || !hook.writes.is_empty() {
        return refuse("normalize: it gets payloads and makes events; leave `reads` and `writes` empty".to_owned());
    }
    let when = conditions(hook, Hook::Normalize.name(), When::parse_payload)?;
    Ok(NormalizePlan { when, batch_rows: rows_of_a_call(hook, batch_rows).min(PAYLOADS_MAX) })
}

fn check_description(text: &str) -> Result<String, Refusal> {
    match text.len() <= DESCRIPTION_BYTES_MAX {
        true => Ok(crate::log::one_line(text)),
        false => refuse(format!("description has {} bytes, at most {DESCRIPTION_BYTES_MAX}", text.len())),
    }
}

fn info(hook: &contracts::HookManifest, name: Hook) -> HookInfo {
    HookInfo {
        hook: name.name(),
        reads: hook.reads.clone(),
        writes: hook.writes.clone(),
        when: hook.when.iter().map(crate::condition::in_words).collect(),
        max_batch: hook.max_batch,
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good { Ok(()) } else { refuse(format!("name `{}` has to be 1 to 64 of a-z, 0-9 and `-`, with no `-` at an end", shown(name))) }
}

fn check_version(version: &str) -> Result<(), Refusal> {
    let good = (1..=64).contains(&version.len())
        && version.starts_with(|c: char| c.is_ascii_digit())
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b));
    if good { Ok(()) } else { refuse(format!("version `{}` has to be like 1.2.0: a digit first, then letters, digits, `.`, `-`, `+`", shown(version))) }
}

fn check_tables(manifest: &contracts::Manifest) -> Result<Vec<String>, Refusal> {
    if manifest.tables.len() > TABLES_MAX {
        return refuse(format!("{} tables, at most {TABLES_MAX}", manifest.tables.len()));
    }
    match manifest.tables.iter().find(|t| t.is_empty() || t.len() > 64 || !t.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))) {
        None => Ok(manifest.tables.clone()),
        Some(table) => refuse(format!("table name `{}` has to be 1 to 64 letters, digits, `_`, `-` or `.`", shown(table))),
    }
}

/// A hostile name, short and without controls.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::{Condition, HookManifest, HookName, Op};

    fn hook(reads: &[&str], when: Vec<Condition>) -> HookManifest {
        let reads = reads.iter().map(|field| (*field).to_owned()).collect();
        HookManifest { hook: HookName::EnrichEvent, reads, writes: Vec::new(), when, max_batch: 0 }
    }

    fn many(op: Op, count: usize, bytes: usize) -> Condition {
        Condition { field: "description".to_owned(), op, values: (0..count).map(|i| format!("{i:0bytes$}")).collect() }
    }

    fn events(hook: &HookManifest) -> Result<HookPlan<Field>, Refusal> {
        plan(hook, Hook::EnrichEvent, 256)
    }

    #[track_caller]
    fn refused(hook: &HookManifest, says: &str) {
        let why = events(hook).map(|_| ()).expect_err("a refusal").to_string();
        assert!(why.contains(says), "{why}");
    }

    #[test]
    fn a_field_is_read_once() {
        refused(&hook(&["severity", "tags.a", "severity"], Vec::new()), "reads: `severity` is named twice");
        assert!(events(&hook(&["severity", "tags.a", "tags.b"], Vec::new())).is_ok());
    }

    /// Written out, so that a field which becomes writable shows here.
    #[test]
    fn m23_what_an_event_is_cannot_be_written() {
        use alertmill_core::fields::{KnownField, RESERVED_TAG_KEYS};
        const FIXED: [&str; 15] = [
            "uid",
            "bk_tenant_id",
            "event_id",
            "plugin_id",
            "source",
            "strategy_id",
            "data_type",
            "status",
            "dedupe_md5",
            "time",
            "anomaly_time",
            "bk_ingest_time",
            "bk_clean_time",
            "create_time",
            "received_at",
        ];
        let writes = |field: &str| HookManifest { writes: vec![field.to_owned()], ..hook(&[], Vec::new()) };
        for field in FIXED.into_iter().chain(["seed"]) {
            refused(&writes(field), &format!("writes: field `{field}` can be read but never written"));
            assert!(events(&hook(&[field], Vec::new())).is_ok(), "{field} can be read");
        }
        for field in KnownField::ALL {
            let taken = events(&writes(field.name())).is_ok();
            assert_eq!(taken, !FIXED.contains(&field.name()) && field.name() != "seed", "{}", field.name());
        }
        for key in RESERVED_TAG_KEYS {
            refused(&writes(&format!("tags.{key}")), "this name is reserved");
        }
        for field in ["id", "tags", "tags.", "extra_info", "extra_info.", "unknown", "Severity", "severity ", ""] {
            assert!(events(&writes(field)).is_err(), "`{field}` is no field that a rule may write");
        }
        assert!(plan::<Field>(&writes("severity"), Hook::Dedupe, 256).is_err(), "a dedupe rule writes nothing");
    }

    #[test]
    fn what_conditions_may_cost_is_bounded_for_all_of_a_hook() {
        let parts = |count: usize, bytes| hook(&[], vec![many(Op::Prefix, count / 2, bytes), many(Op::Contains, count - count / 2, bytes)]);
        assert!(events(&parts(64, 64)).is_ok());
        refused(&parts(65, 8), "65 values of 520 bytes for `prefix`, `suffix` and `contains`, at most 64 of 4096");
        refused(&parts(64, 65), "64 values of 4160 bytes");
        assert!(events(&hook(&[], vec![many(Op::AnyOf, 1_000, 8)])).is_ok());
        refused(&hook(&[], vec![many(Op::AnyOf, 600, 8), many(Op::NotEquals, 401, 8)]), "1001 values, at most 1000");
    }
}
