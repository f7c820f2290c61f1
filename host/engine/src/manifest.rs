//! What a module says of itself, checked against what it exports and against core's table of fields.

use crate::condition::When;
use crate::contract;
use crate::interface::{Hook, Interface};
use crate::limits::BATCH_ROWS_MAX;
use crate::options::Grant;
use crate::refusal::Refusal;
use crate::schema::Schema;
use alertmill_core::fields::{Field, FieldType};
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

/// What a module is: for `rule inspect`, the API and scanning `rules.d/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleInfo {
    /// From the manifest.
    #[serde(serialize_with = "as_text")]
    pub name: Text,
    /// From the manifest.
    #[serde(serialize_with = "as_text")]
    pub version: Text,
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

/// What the engine runs of one hook.
#[derive(Clone, Debug)]
pub(crate) struct HookPlan {
    /// One column each, in order.
    pub reads: Vec<Field>,
    /// One column each, in order.
    pub writes: Vec<Field>,
    /// `tags.*` was declared.
    pub writes_tags: bool,
    /// `drop` was declared.
    pub drops: bool,
    /// Which rows it is asked about.
    pub when: When,
    /// Rows of one call.
    pub batch_rows: usize,
}

/// Both forms of a checked manifest.
pub(crate) struct Checked {
    pub name: Text,
    pub version: Text,
    pub hooks: Vec<HookInfo>,
    pub tables: Vec<String>,
    pub config_schema: String,
    pub schema: Schema,
    pub enrich: Option<HookPlan>,
    pub dedupe: Option<HookPlan>,
}

/// Checks a manifest. `batch_rows` is the host's limit.
pub(crate) fn check(manifest: &contract::Manifest, interface: &Interface, batch_rows: u32) -> Result<Checked, Refusal> {
    check_name(&manifest.name)?;
    check_version(&manifest.version)?;
    let mut checked = Checked {
        name: Text::new(&manifest.name),
        version: Text::new(&manifest.version),
        hooks: Vec::new(),
        tables: check_tables(manifest)?,
        config_schema: manifest.config_schema.clone(),
        schema: Schema::parse(&manifest.config_schema).map_err(|why| Refusal::Manifest(format!("config-schema: {why}")))?,
        enrich: None,
        dedupe: None,
    };
    for hook in &manifest.hooks {
        let name = hook_of(hook.hook);
        if !interface.hooks.iter().any(|(exported, _)| *exported == name) {
            return refuse(format!("it names the hook `{}`, but the module does not export `{}`", name.name(), name.interface()));
        }
        if checked.hooks.iter().any(|known| known.hook == name.name()) {
            return refuse(format!("it names the hook `{}` twice", name.name()));
        }
        match name {
            Hook::EnrichEvent => checked.enrich = Some(plan(hook, name, batch_rows)?),
            Hook::Dedupe => checked.dedupe = Some(plan(hook, name, batch_rows)?),
            Hook::Normalize => check_normalize(hook)?,
            Hook::EnrichAlert => {}
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

const fn hook_of(hook: contract::HookName) -> Hook {
    match hook {
        contract::HookName::Normalize => Hook::Normalize,
        contract::HookName::EnrichEvent => Hook::EnrichEvent,
        contract::HookName::Dedupe => Hook::Dedupe,
        contract::HookName::EnrichAlert => Hook::EnrichAlert,
    }
}

fn plan(hook: &contract::HookManifest, name: Hook, batch_rows: u32) -> Result<HookPlan, Refusal> {
    let at = name.name();
    if hook.reads.len() > FIELDS_MAX || hook.writes.len() > FIELDS_MAX {
        return refuse(format!("{at}: at most {FIELDS_MAX} fields may be read and as many written"));
    }
    let reads = hook.reads.iter().map(|field| Field::parse_read(field).map_err(|e| Refusal::Manifest(format!("{at}: reads: {e}"))));
    let reads: Vec<Field> = reads.collect::<Result<_, _>>()?;
    // Each would be copied into every batch once more.
    if let Some((i, _)) = reads.iter().enumerate().find(|(i, field)| reads[..*i].contains(field)) {
        return refuse(format!("{at}: reads: `{}` is named twice", hook.reads[i]));
    }
    let mut plan = HookPlan {
        reads,
        writes: Vec::new(),
        writes_tags: false,
        drops: false,
        when: conditions(hook, at)?,
        batch_rows: match hook.max_batch {
            0 => batch_rows,
            n => n.min(batch_rows).min(BATCH_ROWS_MAX),
        } as usize,
    };
    if name == Hook::Dedupe && !hook.writes.is_empty() {
        return refuse("dedupe: it answers keys and writes nothing; leave `writes` empty".to_owned());
    }
    for written in &hook.writes {
        let field = Field::parse_write(written).map_err(|e| Refusal::Manifest(format!("{at}: writes: {e}")))?;
        match field {
            Field::AllTags => plan.writes_tags = true,
            Field::Drop => plan.drops = true,
            field if plan.writes.contains(&field) => return refuse(format!("{at}: writes: `{written}` is named twice")),
            field => plan.writes.push(field),
        }
    }
    Ok(plan)
}

fn conditions(hook: &contract::HookManifest, at: &str) -> Result<When, Refusal> {
    if hook.when.len() > CONDITIONS_MAX {
        return refuse(format!("{at}: when: {} conditions, at most {CONDITIONS_MAX}", hook.when.len()));
    }
    let (parts, whole): (Vec<_>, Vec<_>) = hook.when.iter().partition(|c| matches!(c.op, contract::Op::Prefix | contract::Op::Contains));
    let count = |conditions: &[&contract::Condition]| conditions.iter().map(|c| c.values.len()).sum::<usize>();
    if count(&whole) > WHOLE_VALUES_MAX {
        return refuse(format!("{at}: when: {} values, at most {WHOLE_VALUES_MAX} in all conditions together", count(&whole)));
    }
    let bytes: usize = parts.iter().flat_map(|c| &c.values).map(String::len).sum();
    if count(&parts) > PART_VALUES_MAX || bytes > PART_BYTES_MAX {
        let (count, max) = (count(&parts), PART_VALUES_MAX);
        return refuse(format!("{at}: when: {count} values of {bytes} bytes for `prefix` and `contains`, at most {max} of {PART_BYTES_MAX} together"));
    }
    When::parse(&hook.when).map_err(|why| Refusal::Manifest(format!("{at}: when: {why}")))
}

fn check_normalize(hook: &contract::HookManifest) -> Result<(), Refusal> {
    if !hook.reads.is_empty() || !hook.writes.is_empty() {
        return refuse("normalize: it gets payloads and makes events; leave `reads` and `writes` empty".to_owned());
    }
    match hook.when.iter().find(|c| c.field != "source" && c.field != "content_type") {
        None => Ok(()),
        Some(c) => refuse(format!("normalize: when: `{}` is not known for payloads; `source` and `content_type` are", c.field)),
    }
}

fn info(hook: &contract::HookManifest, name: Hook) -> HookInfo {
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

fn check_tables(manifest: &contract::Manifest) -> Result<Vec<String>, Refusal> {
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

impl HookPlan {
    /// Whether a write column of this field is of integers.
    pub fn is_integer(field: &Field) -> bool {
        field.kind() == FieldType::Integer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Condition, HookManifest, HookName, Op};

    fn hook(reads: &[&str], when: Vec<Condition>) -> HookManifest {
        let reads = reads.iter().map(|field| (*field).to_owned()).collect();
        HookManifest { hook: HookName::EnrichEvent, reads, writes: Vec::new(), when, max_batch: 0 }
    }

    fn many(op: Op, count: usize, bytes: usize) -> Condition {
        Condition { field: "description".to_owned(), op, values: (0..count).map(|i| format!("{i:0bytes$}")).collect() }
    }

    #[track_caller]
    fn refused(hook: &HookManifest, says: &str) {
        let why = plan(hook, Hook::EnrichEvent, 256).map(|_| ()).expect_err("a refusal").to_string();
        assert!(why.contains(says), "{why}");
    }

    #[test]
    fn a_field_is_read_once() {
        refused(&hook(&["severity", "tags.a", "severity"], Vec::new()), "reads: `severity` is named twice");
        assert!(plan(&hook(&["severity", "tags.a", "tags.b"], Vec::new()), Hook::EnrichEvent, 256).is_ok());
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
            assert!(plan(&hook(&[field], Vec::new()), Hook::EnrichEvent, 256).is_ok(), "{field} can be read");
        }
        for field in KnownField::ALL {
            let taken = plan(&writes(field.name()), Hook::EnrichEvent, 256).is_ok();
            assert_eq!(taken, !FIXED.contains(&field.name()) && field.name() != "seed", "{}", field.name());
        }
        for key in RESERVED_TAG_KEYS {
            refused(&writes(&format!("tags.{key}")), "this name is reserved");
        }
        for field in ["id", "tags", "tags.", "extra_info", "extra_info.", "unknown", "Severity", "severity ", ""] {
            assert!(plan(&writes(field), Hook::EnrichEvent, 256).is_err(), "`{field}` is no field that a rule may write");
        }
        assert!(plan(&writes("severity"), Hook::Dedupe, 256).is_err(), "a dedupe rule writes nothing");
    }

    #[test]
    fn what_conditions_may_cost_is_bounded_for_all_of_a_hook() {
        let parts = |count: usize, bytes| hook(&[], vec![many(Op::Prefix, count / 2, bytes), many(Op::Contains, count - count / 2, bytes)]);
        assert!(plan(&parts(64, 64), Hook::EnrichEvent, 256).is_ok());
        refused(&parts(65, 8), "65 values of 520 bytes for `prefix` and `contains`, at most 64 of 4096");
        refused(&parts(64, 65), "64 values of 4160 bytes");
        assert!(plan(&hook(&[], vec![many(Op::AnyOf, 1_000, 8)]), Hook::EnrichEvent, 256).is_ok());
        refused(&hook(&[], vec![many(Op::AnyOf, 600, 8), many(Op::NotEquals, 401, 8)]), "1001 values, at most 1000");
    }
}
