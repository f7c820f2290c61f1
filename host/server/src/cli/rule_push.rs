//! `rule push`, `rule versions`, `rule history`, `rule pull`: versions to the server and back.

use super::Context;
use super::alert::{document, pages};
use super::artifact::RegistryArgs;
use super::exit::{Exit, Failure};
use super::output::{Column, Format, milliseconds, text};
use super::rule::{engine, read_module};
use super::rule_change::{How, With, activate_version, encoded, path_of};
use super::sign::{read_named_signature, read_signature};
use crate::oci::{Reference, fetch};
use crate::signature;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A module for the server.
#[derive(Debug, Args)]
pub struct Push {
    /// The module: a file, `oci:DIR[:TAG]`, or `oci://HOST/REPO[:TAG][@sha256:..]`
    from: String,
    /// Its signature; without it, what lies beside the file with `.sig` added, or comes with the artifact
    #[arg(long, value_name = "FILE")]
    sig: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Also make it the version that runs
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    with: With,
    #[command(flatten)]
    how: How,
}

/// Which versions.
#[derive(Debug, Args)]
pub struct Versions {
    /// The rule's name
    name: String,
    /// At most so many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
}

/// Whose history.
#[derive(Debug, Args)]
pub struct History {
    /// Only of this rule or table
    name: Option<String>,
    /// At most so many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
}

/// A version to fetch.
#[derive(Debug, Args)]
pub struct Pull {
    /// The rule's name
    name: String,
    /// A digest, at least 12 digits of one, or a version text
    version: String,
    /// Where it goes; it must not be there
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    to: PathBuf,
}

/// `rule push`
pub async fn push(args: &Push, context: &Context) -> Result<(), Failure> {
    if !args.activate && (args.with.is_said() || args.how.if_version.is_some()) {
        return Err(Failure::new(Exit::Usage, "--order, --options and --if-version say how a version is to run: add --activate"));
    }
    // Options that are wrong are said before anything is sent.
    args.with.body()?;
    let (bytes, mut signature, source) = if Reference::is_meant(&args.from) {
        let fetched = fetch(&Reference::parse(&args.from)?, &args.registry.access()?).await?;
        (fetched.module, fetched.signature, Some(fetched.source))
    } else {
        let file = Path::new(&args.from);
        (Bytes::from(read_module(file)?), read_signature(&signature::beside(file))?, None)
    };
    if let Some(file) = &args.sig {
        signature = Some(read_named_signature(file)?);
    }
    let shown = &args.from;
    let refused = |why: alertmill_engine::Refusal| Failure::new(Exit::No, format!("{shown}: {why} ({})", why.code()));
    // The name is the module's own; what is refused here needs no server.
    let info = engine()?.inspect(&bytes).map_err(refused)?;
    let (path, digest) = (format!("{}/versions", path_of(&info.name)), format!("sha256:{}", info.digest));
    // A server that has it with this signature is sent nothing: this may be run after each build.
    let answer = context.client.send(Method::GET, &format!("{path}/{digest}"), &[], Bytes::new()).await?;
    let known: Option<Value> = match answer.status {
        200 => Some(parsed(&answer.body, &path)?),
        404 => None,
        _ => return Err(answer.failure(&path)),
    };
    let is_signed_so = |row: &Value| signature.as_ref().is_none_or(|file| row["signature"] == format!("sha256:{}", alertmill_stores::modules::digest(file)));
    let row = match known.filter(is_signed_so) {
        Some(row) => row,
        None => upload(args, &path, (bytes, signature, source), context).await?,
    };
    // What is not there yet cannot be activated for a trial: then the upload's is all.
    if args.activate && (!args.how.dry_run || answer.status == 200) {
        context.say(&format!("{} {} is on the server as {digest}", info.name, info.version));
        return activate_version(&info.name, &digest, &args.with, false, &args.how, context).await;
    }
    document(context, row.get("would").unwrap_or(&row), "digest")
}

async fn upload(args: &Push, path: &str, module: (Bytes, Option<Vec<u8>>, Option<String>), context: &Context) -> Result<Value, Failure> {
    let (bytes, signature, source) = module;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in args.how.said() {
        query.append_pair(name, &value);
    }
    if args.how.dry_run {
        query.append_pair("dry_run", "true");
    }
    if let Some(source) = &source {
        query.append_pair("source", source);
    }
    let target = format!("{path}?{}", query.finish());
    let signature = signature.map(|bytes| BASE64.encode(bytes));
    let mut headers = vec![("content-type", "application/wasm")];
    headers.extend(signature.iter().map(|text| ("x-alertmill-signature", text.as_str())));
    let answer = context.client.post(&target, &headers, bytes).await?;
    match answer.status {
        200 | 201 => parsed(&answer.body, path),
        202 => Err(Failure::new(Exit::Later, "the version is on disk, and the pipeline has not come to it yet; push it again later")),
        _ => Err(answer.failure(path)),
    }
}

fn parsed(body: &[u8], path: &str) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|e| Failure::new(Exit::Bug, format!("{path} answered something unexpected: {e}; is it an Alertmill server?")))
}

/// `rule versions`
pub async fn versions(args: &Versions, context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "VERSION", cell: |row| text(row, "version") },
        Column { head: "STATE", cell: |row| text(row, "state") },
        Column { head: "DIGEST", cell: |row| short(row, "digest") },
        Column { head: "BYTES", cell: |row| text(row, "size_bytes") },
        Column { head: "UPLOADED", cell: |row| milliseconds(row, "uploaded_at") },
        Column { head: "SOURCE", cell: |row| text(row, "source") },
        Column { head: "SIGNER", cell: |row| text(row, "signer") },
        Column { head: "OPERATOR", cell: |row| text(row, "operator") },
        Column { head: "COMMENT", cell: |row| text(row, "comment") },
    ];
    pages(context, &format!("{}/versions", path_of(&args.name)), &[], args.limit, &columns, |row| text(row, "digest")).await
}

/// `rule history`
pub async fn history(args: &History, context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "SEQ", cell: |row| text(row, "seq") },
        Column { head: "AT", cell: |row| milliseconds(row, "at") },
        Column { head: "ACTION", cell: |row| text(row, "action") },
        Column { head: "RULE", cell: |row| text(row, "object") },
        Column { head: "FROM", cell: |row| short(row, "from") },
        Column { head: "TO", cell: |row| short(row, "to") },
        Column { head: "GENERATION", cell: |row| text(row, "generation") },
        Column { head: "OPERATOR", cell: |row| text(row, "operator") },
        Column { head: "ADDRESS", cell: |row| text(row, "address") },
        Column { head: "COMMENT", cell: |row| text(row, "comment") },
    ];
    let query: Vec<(&str, String)> = args.name.iter().map(|name| ("rule", name.clone())).collect();
    pages(context, "/api/v1/rules:history", &query, args.limit, &columns, |row| text(row, "seq")).await
}

/// Enough of a digest to name it.
fn short(row: &Value, key: &str) -> String {
    text(row, key).chars().take(19).collect()
}

/// `rule pull`
pub async fn pull(args: &Pull, context: &Context) -> Result<(), Failure> {
    let bytes = context.client.get(&format!("{}/versions/{}/module", path_of(&args.name), encoded(&args.version))).await?;
    write_new(&args.to, &bytes)?;
    context.say(&format!("{}: {} bytes, sha256:{}", args.to.display(), bytes.len(), alertmill_stores::modules::digest(&bytes)));
    if context.format == Format::Name {
        let mut out = context.output();
        out.line(&args.to.display().to_string())?;
        return out.finish();
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let write = || std::fs::File::create_new(path)?.write_all(bytes);
    write().map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(Exit::Conflict, format!("{} is there already; name another file", path.display())),
        _ => Failure::new(Exit::Usage, format!("{} cannot be written: {e}", path.display())),
    })
}
