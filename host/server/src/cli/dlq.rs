//! `dlq list|show`: dead letters.

use super::Context;
use super::alert::{document, id, pages};
use super::exit::Failure;
use super::output::{Column, milliseconds, text};
use clap::Args;
use serde_json::Value;

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
