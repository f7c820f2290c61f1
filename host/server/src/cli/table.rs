//! `table list|show|refresh`: look-up tables.

use super::Context;
use super::alert::{document, items_of};
use super::exit::{Exit, Failure};
use super::output::{Column, Format, text};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/tables";

/// One table.
#[derive(Debug, Args)]
pub struct Show {
    /// Its name
    name: String,
    /// Show the row of this key instead
    #[arg(long)]
    key: Option<String>,
}

/// Which tables.
#[derive(Debug, Args)]
pub struct Refresh {
    /// Its name
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// All tables
    #[arg(long)]
    all: bool,
}

/// `table list`
pub async fn list(context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "NAME", cell: |row| text(row, "name") },
        Column { head: "ROWS", cell: |row| text(row, "rows") },
        Column { head: "BYTES", cell: |row| text(row, "bytes") },
        Column { head: "GENERATION", cell: |row| text(row, "generation") },
        Column { head: "AGE_S", cell: |row| text(row, "age_s") },
        Column { head: "STALE", cell: |row| text(row, "stale") },
        Column { head: "HITS", cell: |row| text(row, "hits") },
        Column { head: "MISSES", cell: |row| text(row, "misses") },
        Column { head: "DIGEST", cell: |row| text(row, "digest").chars().take(19).collect() },
        Column { head: "SOURCE", cell: |row| text(row, "source") },
        Column { head: "PROBLEM", cell: |row| text(row, "problem.message") },
    ];
    let mut answer: Value = context.client.get_json(PATH).await?;
    let mut out = context.output();
    if out.format() == Format::Json {
        out.json(&answer)?;
    } else {
        let rows = items_of(&mut answer, PATH)?;
        out.rows(&answer, &rows, &columns, |row| text(row, "name"))?;
    }
    out.finish()
}

/// `table show`
pub async fn show(args: &Show, context: &Context) -> Result<(), Failure> {
    let path = path_of(&args.name)?;
    let Some(key) = &args.key else {
        return document(context, &context.client.get_json(&path).await?, "name");
    };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("key", key).finish();
    document(context, &context.client.get_json(&format!("{path}/rows?{query}")).await?, "key")
}

/// `table refresh`
pub async fn refresh(args: &Refresh, context: &Context) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        let done = refresh_one(name, context).await?;
        return print(&[done], context);
    }
    let mut answer: Value = context.client.get_json(PATH).await?;
    let names: Vec<String> = items_of(&mut answer, PATH)?.iter().map(|row| text(row, "name")).collect();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for name in &names {
        match refresh_one(name, context).await {
            Ok(row) => done.push(row),
            Err(failure) => failed.push(failure),
        }
    }
    print(&done, context)?;
    for failure in &failed {
        eprintln!("alertmill: {}", super::output::plain_lines(&failure.message));
    }
    match failed.first() {
        None => Ok(()),
        Some(_) if !done.is_empty() => Err(Failure::silent(Exit::Partial)),
        Some(first) => Err(Failure::silent(first.exit)),
    }
}

async fn refresh_one(name: &str, context: &Context) -> Result<Value, Failure> {
    let path = format!("{}:refresh", path_of(name)?);
    let answer = context.client.post(&path, &[("content-type", "application/json")], Bytes::new()).await?;
    match answer.status {
        200..=299 => serde_json::from_slice(&answer.body).map_err(|e| Failure::new(Exit::Bug, format!("{path} answered something unexpected: {e}"))),
        _ => Err(answer.failure(&path)),
    }
}

fn print(rows: &[Value], context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "NAME", cell: |row| text(row, "name") },
        Column { head: "CHANGED", cell: |row| text(row, "changed") },
        Column { head: "GENERATION", cell: |row| text(row, "generation") },
        Column { head: "DIGEST", cell: |row| text(row, "digest").chars().take(19).collect() },
    ];
    let mut out = context.output();
    out.rows(&json!({ "items": rows }), rows, &columns, |row| text(row, "name"))?;
    out.finish()
}

/// A table's path; what can be no name is not asked for.
fn path_of(name: &str) -> Result<String, Failure> {
    if (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
        return Ok(format!("{PATH}/{name}"));
    }
    Err(Failure::new(Exit::NotFound, format!("{name:?} is no name of a table; `alertmill table list` shows them")))
}
