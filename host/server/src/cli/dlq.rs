//! `dlq list|show|redrive`: dead letters.

use super::Context;
use super::alert::{document, id, pages};
use super::exit::Failure;
use super::operate::{LISTED, Sent, Sums, comment, ids, operator, user};
use super::output::{Column, Format, milliseconds, plain, text};
use clap::Args;
use serde_json::{Value, json};

/// Which dead letters.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this source
    #[arg(long)]
    source: Option<String>,
    /// Only with this code
    #[arg(long)]
    code: Option<String>,
    /// At most so many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
}

/// One dead letter.
#[derive(Debug, Args)]
pub struct Show {
    /// Its id
    id: String,
}

/// Which dead letters are tried again, and what is said about it.
#[derive(Debug, Args)]
pub struct Redrive {
    /// Ids of dead letters; `-` reads them from stdin
    #[arg(value_name = "ID", required_unless_present_any = ["source", "code"], conflicts_with_all = ["source", "code", "limit"])]
    ids: Vec<String>,
    /// The oldest ones of this source
    #[arg(long)]
    source: Option<String>,
    /// The oldest ones with this code
    #[arg(long)]
    code: Option<String>,
    /// At most so many of them; the server takes 1 to 1000, and 100 without this
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only say what would be tried again
    #[arg(long)]
    dry_run: bool,
    /// Why
    #[arg(short = 'm', long, visible_alias = "message", value_parser = comment)]
    comment: Option<String>,
    /// Who says so; without it the name of the user who runs this
    #[arg(long, env = "ALERTMILL_OPERATOR", value_name = "NAME", value_parser = operator)]
    operator: Option<String>,
}

/// Letters of one request.
const LETTERS_MAX: usize = 1_000;

/// `dlq list`
pub async fn list(args: &List, context: &Context) -> Result<(), Failure> {
    let query: Vec<(&str, String)> =
        [("source", &args.source), ("code", &args.code)].into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value))).collect();
    let columns = [
        Column { head: "ID", cell: |row| text(row, "id") },
        Column { head: "RECEIVED", cell: |row| milliseconds(row, "received_at") },
        Column { head: "SOURCE", cell: |row| text(row, "source") },
        Column { head: "CODE", cell: |row| text(row, "code") },
        Column { head: "BYTES", cell: |row| text(row, "bytes") },
        Column { head: "DETAIL", cell: |row| text(row, "detail") },
    ];
    pages(context, "/api/v1/dead-letters", &query, args.limit, &columns, |row| text(row, "id")).await
}

/// `dlq show`
pub async fn show(args: &Show, context: &Context) -> Result<(), Failure> {
    let letter: Value = context.client.get_json(&format!("/api/v1/dead-letters/{}", id(&args.id)?)).await?;
    document(context, &letter, "id")
}

/// `dlq redrive`
pub async fn redrive(args: &Redrive, context: &Context) -> Result<(), Failure> {
    const PATH: &str = "/api/v1/dead-letters:redrive";
    let mut said = json!({ "dry_run": args.dry_run });
    let operator = args.operator.clone().or_else(user);
    for (name, value) in [("source", &args.source), ("code", &args.code), ("comment", &args.comment), ("operator", &operator)] {
        if let Some(value) = value {
            said[name] = json!(value);
        }
    }
    if let Some(limit) = args.limit {
        said["limit"] = json!(limit);
    }
    let bodies: Vec<Value> = match args.ids.is_empty() {
        true => vec![said],
        false => {
            let ids = ids(&args.ids, std::io::stdin())?;
            let body = |ids: &[String]| {
                let mut body = said.clone();
                body["ids"] = json!(ids);
                body
            };
            ids.chunks(LETTERS_MAX).map(body).collect()
        }
    };
    let sent = Sent::of(context, PATH, bodies.into_iter()).await;
    print(&sent.sums, &sent.items, context)?;
    let is_nothing = sent.items.is_empty();
    sent.end("letters")?;
    if is_nothing {
        context.say("no dead letter is of that source and code");
    }
    Ok(())
}

fn print(sums: &Sums, items: &[Value], context: &Context) -> Result<(), Failure> {
    for item in items.iter().filter(|item| item.get("problem").is_some()).take(LISTED) {
        context.say(&format!("{}: {}", plain(&text(item, "id")), plain(&text(item, "problem.detail"))));
    }
    let columns = [
        Column { head: "ID", cell: |row| text(row, "id") },
        Column { head: "RESULT", cell: |row| text(row, "status") },
        Column { head: "REASON", cell: |row| text(row, "reason") },
        Column { head: "NEW ID", cell: |row| text(row, "letters") },
    ];
    let mut out = context.output();
    let named: Vec<Value> = match out.format() {
        // What goes on in a pipe is what was done.
        Format::Name => items.iter().filter(|item| item.get("problem").is_none()).cloned().collect(),
        _ => items.to_vec(),
    };
    let mut whole = json!({ "ok": sums.ok, "failed": sums.failed, "items": items });
    if sums.pending > 0 {
        whole["pending"] = json!(sums.pending);
    }
    if out.format() != Format::Table || !context.quiet {
        out.rows(&whole, &named, &columns, |row| text(row, "id"))?;
    }
    out.finish()
}
