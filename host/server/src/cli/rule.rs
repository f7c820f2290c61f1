//! `rule list` and `rule resume` ask the server, `rule inspect` reads files and needs none.

use super::Context;
use super::alert::{document, items_of};
use super::exit::{Exit, Failure};
use super::output::{Column, Format, text};
use super::rule_change::path_of;
use crate::compile;
use crate::config::Rules;
use crate::rules_folder::{options, unneeded_in_words};
use alertmill_engine::{Engine, Grant, RuleInfo, RuleOptions};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A module.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The module, a `.wasm` component
    file: PathBuf,
    /// Also check what it is to be given: its options file (`NN-name.toml`), or its config alone as JSON
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also ask it about made-up rows, again, in another order, in halves and one by one: its answers may not differ. Not for
    /// rules that read tables
    #[arg(long)]
    probe: bool,
}

/// `rule list`
pub async fn list(context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "NAME", cell: |row| text(row, "name") },
        Column { head: "VERSION", cell: |row| text(row, "version") },
        Column { head: "STATE", cell: |row| text(row, "state") },
        Column { head: "ORDER", cell: |row| text(row, "order") },
        Column { head: "SOURCE", cell: |row| text(row, "source") },
        Column { head: "PINNED", cell: |row| if row["pinned"] == true { "pinned" } else { "" }.to_owned() },
        Column { head: "ETAG", cell: |row| text(row, "etag").replace('"', "") },
        Column { head: "GENERATION", cell: |row| text(row, "generation") },
        Column { head: "HOOKS", cell: |row| text(row, "hooks") },
        Column { head: "CALLS", cell: |row| text(row, "stats.calls") },
        Column { head: "ROWS", cell: |row| text(row, "stats.rows") },
        Column { head: "FAILURES", cell: |row| text(row, "stats.failures") },
        Column { head: "ALARMS", cell: |row| text(row, "alarms") },
        Column { head: "DEGRADED", cell: |row| text(row, "degraded") },
        Column { head: "DIGEST", cell: |row| text(row, "digest").chars().take(19).collect() },
        Column { head: "DETAIL", cell: |row| text(row, "detail") },
    ];
    let path = "/api/v1/rules";
    let mut answer: Value = context.client.get_json(path).await?;
    let mut out = context.output();
    if out.format() == Format::Json {
        out.json(&answer)?;
    } else {
        let rules = items_of(&mut answer, path)?;
        out.rows(&answer, &rules, &columns, |row| text(row, "name"))?;
    }
    out.finish()
}

/// What is done with a row that waits.
#[derive(Debug, Args)]
pub struct Resume {
    /// The rule that has halted it
    name: String,
    /// Ask the rule again, or do this instead
    #[arg(long = "as", value_name = "WHAT", value_parser = ["retry", "pass-through", "previous-version", "dead-letter"])]
    what: String,
    /// Do the same with all that comes, without asking the rule, until the rules change
    #[arg(long)]
    to_the_end: bool,
}

/// `rule resume`
pub async fn resume(args: &Resume, context: &Context) -> Result<(), Failure> {
    let path = format!("{}:resume", path_of(&args.name));
    let body = json!({ "as": args.what, "to_the_end": args.to_the_end });
    let answer = context.client.post(&path, &[("content-type", "application/json")], Bytes::from(body.to_string())).await?;
    if answer.status != 200 {
        return Err(answer.failure(&path));
    }
    let unreadable = |e: serde_json::Error| Failure::new(Exit::Bug, format!("{path} answered something unexpected: {e}; is it an Alertmill server?"));
    let mut answer: Value = serde_json::from_slice(&answer.body).map_err(unreadable)?;
    let columns = [
        Column { head: "RULE", cell: |row| text(row, "rule") },
        Column { head: "HOOK", cell: |row| text(row, "hook") },
        Column { head: "RECORD", cell: |row| text(row, "ordinal") },
        Column { head: "INDEX", cell: |row| text(row, "index") },
        Column { head: "KIND", cell: |row| text(row, "kind") },
        Column { head: "MESSAGE", cell: |row| text(row, "message") },
    ];
    let rows = items_of(&mut answer, &path)?;
    let mut out = context.output();
    out.rows(&answer, &rows, &columns, |row| text(row, "rule"))?;
    out.finish()
}

/// An engine for inspecting, which needs nothing but a module's own bytes, and compiles within the limits that a server has by default.
pub fn engine() -> Result<Engine, Failure> {
    engine_within(&Rules::default())
}

/// As [`engine`], within the limits of a configuration.
pub fn engine_within(rules: &Rules) -> Result<Engine, Failure> {
    Engine::with(|_: &str| Err("nothing is kept here".to_owned()), compile::compiler(rules), None).map_err(|e| Failure::new(Exit::Bug, e.to_string()))
}

/// A module's bytes.
pub fn read_module(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|e| Failure::of_file(file, &e))
}

/// `rule inspect`
pub fn inspect(args: &Inspect, context: &Context) -> Result<(), Failure> {
    let (shown, bytes) = (args.file.display(), read_module(&args.file)?);
    let refused = |refusal: alertmill_engine::Refusal| Failure::new(Exit::No, format!("{shown}: {refusal} ({})", refusal.code()));
    let (info, unneeded, options) = match &args.config {
        None => (engine()?.inspect(&bytes).map_err(refused)?, Vec::new(), with_all_grants(Value::Null)),
        Some(config) => inspect_with(&bytes, config, refused)?,
    };
    let difference = if args.probe { engine()?.probe(&bytes, &options, &[]).map_err(refused)? } else { None };
    let probed = match difference {
        None => Ok(()),
        Some(difference) => {
            Err(Failure::new(Exit::No, format!("{shown}: a rule answers for a row the same however it is asked; this one does not: {difference}")))
        }
    };
    let mut value = serde_json::to_value(&info).map_err(|e| Failure::new(Exit::Bug, e.to_string()))?;
    if args.config.is_some() {
        value["unneeded_grants"] = unneeded.iter().copied().collect();
    }
    if context.format != Format::Table {
        return document(context, &value, "name").and(probed);
    }
    let mut out = context.output();
    let first = ["name", "version", "hooks", "grants"];
    let rest = value.as_object().into_iter().flat_map(|members| members.keys()).map(String::as_str).filter(|key| !first.contains(key));
    for key in first.into_iter().chain(rest) {
        out.line(&format!("{key}: {}", on_one_line(&text(&value, key))))?;
    }
    if let Some(words) = unneeded_in_words(&unneeded) {
        out.line(&format!("warning: {words}"))?;
    }
    out.finish().and(probed)
}

/// The module together with what `file` says that it gets, and the grants that it does not need of that.
fn inspect_with(
    bytes: &[u8],
    file: &Path,
    refused: impl Fn(alertmill_engine::Refusal) -> Failure,
) -> Result<(RuleInfo, Vec<&'static str>, RuleOptions), Failure> {
    let shown = file.display();
    let unusable = |why: String| Failure::new(Exit::Usage, format!("{shown}: {why}"));
    let text = std::fs::read_to_string(file).map_err(|e| unusable(format!("it cannot be read: {e}")))?;
    if file.extension().is_some_and(|extension| extension == "toml") {
        let options = options::read(file).map_err(|(_, why)| unusable(why))?;
        let info = engine()?.inspect_with(bytes, &options).map_err(refused)?;
        let unneeded = info.unneeded_grants(&options.grants);
        return Ok((info, unneeded, options));
    }
    let config: Value = serde_json::from_str(&text).map_err(|e| unusable(format!("it is no JSON: {e}; an options file ends in .toml")))?;
    let options = with_all_grants(config);
    Ok((engine()?.inspect_with(bytes, &options).map_err(refused)?, Vec::new(), options))
}

/// Nothing is said of grants, so none is missing.
fn with_all_grants(config: Value) -> RuleOptions {
    RuleOptions { config, grants: vec![Grant::Log, Grant::Tables], ..RuleOptions::default() }
}

/// A schema is written over many lines; a table shows it on one.
fn on_one_line(text: &str) -> String {
    if !text.contains('\n') {
        return text.to_owned();
    }
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |json| json.to_string())
}
