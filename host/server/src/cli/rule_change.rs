//! `rule activate|rollback|pin|unpin|deactivate|configure|remove|quarantine|release`: what an operator does to a rule that the
//! server runs. Each says which state of the rule it means when `--if-version` does; a rollback always does.

use super::Context;
use super::alert::document;
use super::client::Answer;
use super::exit::{Exit, Failure};
use super::operate::{comment, operator, user};
use super::output::{Column, text};
use crate::rules_folder::options;
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Who does it, why, and on which condition.
#[derive(Debug, Default, Args)]
pub struct How {
    /// Only if the rule is as it was under this ETag (`rule list` shows it), such as g7
    #[arg(long, value_name = "ETAG")]
    pub if_version: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Why; it is in the history
    #[arg(short = 'm', long, visible_alias = "message", value_parser = comment)]
    pub comment: Option<String>,
    /// Who says so; without it the name of the user who runs this
    #[arg(long, env = "ALERTMILL_OPERATOR", value_name = "NAME", value_parser = operator)]
    pub operator: Option<String>,
}

/// A rule.
#[derive(Debug, Args)]
pub struct Name {
    /// Its name
    name: String,
    #[command(flatten)]
    how: How,
}

/// A rule and one of its versions.
#[derive(Debug, Args)]
pub struct Activate {
    /// The rule's name
    name: String,
    /// A digest, at least 12 digits of one, or a version text; without it the newest version
    version: Option<String>,
    #[command(flatten)]
    with: With,
    /// Also when its version is lower than the highest that ran
    #[arg(long)]
    allow_downgrade: bool,
    #[command(flatten)]
    how: How,
}

/// Place and options.
#[derive(Debug, Default, Args)]
pub struct With {
    /// Its place among the others; without it as it is, and 50 for a new one
    #[arg(long, value_name = "N")]
    pub order: Option<u32>,
    /// Options file (TOML, as NN-name.toml in the rules folder); without it as they are
    #[arg(long, value_name = "FILE")]
    pub options: Option<PathBuf>,
}

/// A rule that is to stay.
#[derive(Debug, Args)]
pub struct Pin {
    /// The rule's name
    name: String,
    /// A digest, at least 12 digits of one, or a version text, which is activated first; without it what runs
    version: Option<String>,
    #[command(flatten)]
    how: How,
}

/// Place and options of a rule.
#[derive(Debug, Args)]
pub struct Configure {
    /// The rule's name
    name: String,
    #[command(flatten)]
    with: With,
    #[command(flatten)]
    how: How,
}

/// A rule, or one of its versions.
#[derive(Debug, Args)]
pub struct Remove {
    /// The rule's name
    name: String,
    /// Only this version of it, which does not run
    version: Option<String>,
    #[command(flatten)]
    how: How,
}

/// What is done to a rule by its name alone.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// The version before runs again.
    Rollback,
    /// It may change again.
    Unpin,
    /// It does not run.
    Deactivate,
    /// It is not called.
    Quarantine,
    /// It is called again.
    Release,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Rollback => "rollback",
            Verb::Unpin => "unpin",
            Verb::Deactivate => "deactivate",
            Verb::Quarantine => "quarantine",
            Verb::Release => "release",
        }
    }
}

/// `rule activate`
pub async fn activate(args: &Activate, context: &Context) -> Result<(), Failure> {
    let version = match &args.version {
        Some(version) => version.clone(),
        None => newest(&args.name, context).await?,
    };
    activate_version(&args.name, &version, &args.with, args.allow_downgrade, &args.how, context).await
}

/// Activates a version, also for `rule push`.
pub async fn activate_version(name: &str, version: &str, with: &With, allow_downgrade: bool, how: &How, context: &Context) -> Result<(), Failure> {
    let mut body = with.body()?;
    if allow_downgrade {
        body["allow_downgrade"] = json!(true);
    }
    let path = format!("{}/versions/{}:activate", path_of(name), encoded(version));
    change(&path, body, how, how.condition(), context).await
}

/// `rule rollback|unpin|deactivate|quarantine|release`
pub async fn by_name(verb: Verb, args: &Name, context: &Context) -> Result<(), Failure> {
    let mut condition = args.how.condition();
    if matches!(verb, Verb::Rollback) && condition.is_none() {
        let slot: Value = context.client.get_json(&path_of(&args.name)).await?;
        condition = Some(text(&slot, "etag"));
    }
    change(&format!("{}:{}", path_of(&args.name), verb.name()), json!({}), &args.how, condition, context).await
}

/// `rule pin`
pub async fn pin(args: &Pin, context: &Context) -> Result<(), Failure> {
    let body = args.version.as_ref().map_or(json!({}), |version| json!({ "version": version }));
    change(&format!("{}:pin", path_of(&args.name)), body, &args.how, args.how.condition(), context).await
}

/// `rule configure`
pub async fn configure(args: &Configure, context: &Context) -> Result<(), Failure> {
    change(&format!("{}:configure", path_of(&args.name)), args.with.body()?, &args.how, args.how.condition(), context).await
}

/// `rule remove`
pub async fn remove(args: &Remove, context: &Context) -> Result<(), Failure> {
    if args.version.is_some() && args.how.if_version.is_some() {
        return Err(Failure::new(Exit::Usage, "--if-version is of the rule, not of a version of it; leave it out"));
    }
    let path = match &args.version {
        None => path_of(&args.name),
        Some(version) => format!("{}/versions/{}", path_of(&args.name), encoded(version)),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in args.how.said() {
        query.append_pair(name, &value);
    }
    if args.how.dry_run {
        query.append_pair("dry_run", "true");
    }
    let path = format!("{path}?{}", query.finish());
    let condition = args.how.condition();
    let headers: Vec<(&str, &str)> = condition.iter().map(|tag| ("if-match", tag.as_str())).collect();
    let answer = context.client.send(Method::DELETE, &path, &headers, Bytes::new()).await?;
    show(&answer, &path, context)
}

async fn newest(name: &str, context: &Context) -> Result<String, Failure> {
    let path = format!("{}/versions?limit=1", path_of(name));
    let answer: Value = context.client.get_json(&path).await?;
    match answer["items"][0]["digest"].as_str() {
        Some(digest) => Ok(digest.to_owned()),
        None => Err(Failure::new(Exit::NotFound, format!("rule {name:?} has no version that was uploaded; `rule push` brings one"))),
    }
}

async fn change(path: &str, mut body: Value, how: &How, condition: Option<String>, context: &Context) -> Result<(), Failure> {
    for (name, value) in how.said() {
        body[name] = json!(value);
    }
    if how.dry_run {
        body["dry_run"] = json!(true);
    }
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(condition.iter().map(|tag| ("if-match", tag.as_str())));
    let answer = context.client.post(path, &headers, Bytes::from(body.to_string())).await?;
    show(&answer, path, context)
}

/// Prints what was done, or would be.
fn show(answer: &Answer, path: &str, context: &Context) -> Result<(), Failure> {
    if answer.status == 412 && answer.may_be_done {
        let why = "the first answer was lost, and the rule was changed since, perhaps by this very command; look at it with `rule list` and `rule history`";
        return Err(Failure::new(Exit::Conflict, why));
    }
    if !matches!(answer.status, 200..=299) {
        return Err(answer.failure(path));
    }
    let unreadable = |e: serde_json::Error| Failure::new(Exit::Bug, format!("{path} answered something unexpected: {e}; is it an Alertmill server?"));
    let done: Value = serde_json::from_slice(&answer.body).map_err(unreadable)?;
    if let Some(would) = done.get("would") {
        return document(context, would, "generation");
    }
    match done.get("status") {
        Some(_) => document(context, &done, "digest")?,
        None => changed(&done, context)?,
    }
    match answer.status {
        202 => Err(Failure::new(Exit::Later, "the change is on disk, and the pipeline has not come to it yet; look again later")),
        _ => Ok(()),
    }
}

/// Prints what a rule is now.
fn changed(done: &Value, context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "RULE", cell: |row| text(row, "rule") },
        Column { head: "ACTION", cell: |row| text(row, "action") },
        Column { head: "CHANGED", cell: |row| text(row, "changed") },
        Column { head: "VERSION", cell: |row| text(row, "version") },
        Column { head: "STATE", cell: |row| text(row, "state") },
        Column { head: "GENERATION", cell: |row| text(row, "generation") },
        Column { head: "ETAG", cell: |row| text(row, "etag").replace('"', "") },
    ];
    let mut out = context.output();
    out.rows(done, std::slice::from_ref(done), &columns, |row| text(row, "rule"))?;
    out.finish()
}

/// The rule's path.
pub fn path_of(name: &str) -> String {
    format!("/api/v1/rules/{}", encoded(name))
}

/// A segment of a path: what has a meaning in paths is escaped, so that a slip asks for nothing else.
pub fn encoded(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'+');
    segment.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl With {
    /// Whether anything is said.
    pub fn is_said(&self) -> bool {
        self.order.is_some() || self.options.is_some()
    }

    /// The members of a command; reads the options file.
    pub fn body(&self) -> Result<Value, Failure> {
        let mut body = json!({});
        if let Some(order) = self.order {
            body["order"] = json!(order);
        }
        if let Some(file) = &self.options {
            body["options"] = read_options(file)?;
        }
        Ok(body)
    }
}

fn read_options(file: &Path) -> Result<Value, Failure> {
    if !file.exists() {
        return Err(Failure::new(Exit::NotFound, format!("there is no file {}", file.display())));
    }
    let wrong = |why: String| Failure::new(Exit::Usage, format!("{}: {why}", file.display()));
    let options = options::read(file).map_err(|(_, why)| wrong(why))?;
    serde_json::to_value(options).map_err(|e| wrong(e.to_string()))
}

impl How {
    /// `If-Match`, for a tag with or without its quotes and letter.
    pub fn condition(&self) -> Option<String> {
        let tag = self.if_version.as_deref()?.trim_matches('"');
        Some(if tag.bytes().all(|b| b.is_ascii_digit()) { format!("\"g{tag}\"") } else { format!("\"{tag}\"") })
    }

    /// What the history remembers.
    pub fn said(&self) -> impl Iterator<Item = (&'static str, String)> {
        let operator = self.operator.clone().or_else(user);
        [("operator", operator), ("comment", self.comment.clone())].into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_written_shortly() {
        for given in ["7", "g7", "\"g7\""] {
            let how = How { if_version: Some(given.to_owned()), ..How::default() };
            assert_eq!(how.condition().as_deref(), Some("\"g7\""), "{given}");
        }
    }

    #[test]
    fn a_name_cannot_become_another_path() {
        assert_eq!(path_of("../alerts?x=1"), "/api/v1/rules/..%2Falerts%3Fx%3D1");
        assert_eq!(encoded("sha256:0a1b"), "sha256:0a1b");
    }
}
