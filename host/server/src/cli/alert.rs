//! `alert list|get|events|logs`.

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{Column, Format, seconds, text};
use clap::Args;
use serde_json::{Value, json};

const PAGE_MAX: u64 = 1_000;

/// Which alerts.
#[derive(Debug, Args)]
pub struct List {
    /// Only in this status; may be repeated or a comma list
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = ["ABNORMAL", "RECOVERED", "CLOSED"], ignore_case = true)]
    status: Vec<String>,
    /// Only of this severity: 1 (fatal), 2 (warning), 3 (reminder); may be repeated or a comma list
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = super::event::severity)]
    severity: Vec<u8>,
    /// Only those that were open within this time, such as 15m, 6h, 7d
    #[arg(long, value_name = "DURATION", conflicts_with = "from", value_parser = duration)]
    since: Option<String>,
    /// Only those that were open at or after this time: RFC 3339, epoch milliseconds, now-6h
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only those that had begun by this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// At most so many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
}

fn duration(text: &str) -> Result<String, String> {
    match crate::api::time::duration_ms(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write a number and s, m, h, d or w, such as 6h".to_owned()),
    }
}

/// One alert.
#[derive(Debug, Args)]
pub struct One {
    /// Its id
    id: String,
}

/// Something of one alert.
#[derive(Debug, Args)]
pub struct Part {
    /// The alert's id
    id: String,
    /// At most so many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
}

/// `alert list`
pub async fn list(args: &List, context: &Context) -> Result<(), Failure> {
    let mut query = Vec::new();
    query.extend(args.status.iter().map(|status| ("status", status.to_ascii_uppercase())));
    query.extend(args.severity.iter().map(|severity| ("severity", severity.to_string())));
    let since = args.since.as_ref().map(|since| format!("now-{since}"));
    query.extend(since.or(args.from.clone()).map(|from| ("from", from)));
    query.extend(args.to.clone().map(|to| ("to", to)));
    let columns = [
        Column { head: "SEV", cell: |row| severity(row).to_owned() },
        Column { head: "ID", cell: |row| text(row, "id") },
        Column { head: "NAME", cell: |row| text(row, "alert_name") },
        Column { head: "STATUS", cell: |row| text(row, "status") },
        Column { head: "ACK", cell: |row| text(row, "ack_operator") },
        Column { head: "EVENTS", cell: |row| text(row, "event_count") },
        Column { head: "BEGAN", cell: |row| seconds(row, "begin_time") },
        Column { head: "LATEST", cell: |row| seconds(row, "latest_time") },
    ];
    pages(context, "/api/v1/alerts", &query, args.limit, &columns, |row| text(row, "id")).await
}

fn severity(row: &Value) -> &'static str {
    match row.get("severity").and_then(Value::as_u64) {
        Some(1) => "FATAL",
        Some(2) => "WARNING",
        Some(3) => "REMINDER",
        _ => "",
    }
}

/// `alert get`
pub async fn get(args: &One, context: &Context) -> Result<(), Failure> {
    let alert: Value = context.client.get_json(&format!("/api/v1/alerts/{}", id(&args.id)?)).await?;
    document(context, &alert, "id")
}

/// `alert events`
pub async fn events(args: &Part, context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "TIME", cell: |row| row.get("event").map_or_else(String::new, |event| seconds(event, "time")) },
        Column { head: "ROLE", cell: |row| text(row, "role") },
        Column { head: "STATUS", cell: |row| text(row, "event.status") },
        Column { head: "SEV", cell: |row| text(row, "event.severity") },
        Column { head: "EVENT_ID", cell: |row| text(row, "event.event_id") },
        Column { head: "DESCRIPTION", cell: |row| text(row, "event.description") },
    ];
    let path = format!("/api/v1/alerts/{}/events", id(&args.id)?);
    pages(context, &path, &[], args.limit, &columns, |row| text(row, "event.id")).await
}

/// `alert logs`
pub async fn logs(args: &Part, context: &Context) -> Result<(), Failure> {
    let columns = [
        Column { head: "TIME", cell: |row| seconds(row, "create_time") },
        Column { head: "OPERATION", cell: |row| text(row, "op_type") },
        Column { head: "OPERATOR", cell: |row| text(row, "operator") },
        Column { head: "DESCRIPTION", cell: |row| text(row, "description") },
    ];
    let path = format!("/api/v1/alerts/{}/logs", id(&args.id)?);
    pages(context, &path, &[], args.limit, &columns, |row| text(row, "op_type")).await
}

/// An id as a part of a path.
pub fn id(text: &str) -> Result<&str, Failure> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text);
    }
    Err(Failure::new(Exit::NotFound, format!("{text:?} is no id; ids are digits, as `alert list` and `dlq list` show them")))
}

/// One document: as it is, or its members one a line.
pub fn document(context: &Context, document: &Value, name: &str) -> Result<(), Failure> {
    let mut out = context.output();
    match out.format() {
        Format::Json => out.json(document)?,
        Format::Ndjson => out.bytes(format!("{document}\n").as_bytes())?,
        Format::Name => out.line(&text(document, name))?,
        Format::Table => {
            for key in document.as_object().into_iter().flat_map(|members| members.keys()) {
                out.line(&format!("{key}: {}", text(document, key)))?;
            }
        }
    }
    out.finish()
}

/// Takes the items out of a list's answer.
pub fn items_of(answer: &mut Value, path: &str) -> Result<Vec<Value>, Failure> {
    match answer.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(Failure::new(Exit::Bug, format!("{path} answered without items; is it an Alertmill server?"))),
    }
}

/// A list over as many pages as it takes.
pub async fn pages(context: &Context, path: &str, query: &[(&str, String)], limit: u64, columns: &[Column], name: fn(&Value) -> String) -> Result<(), Failure> {
    let wanted = if limit == 0 { u64::MAX } else { limit };
    let (mut items, mut cursor, mut whole) = (Vec::new(), None::<String>, json!({}));
    let mut out = context.output();
    let mut seen = 0;
    loop {
        let mut parameters = form_urlencoded::Serializer::new(String::new());
        parameters.extend_pairs(query.iter().map(|(name, value)| (*name, value.as_str())));
        parameters.append_pair("limit", &(wanted - seen).min(PAGE_MAX).to_string());
        if let Some(cursor) = &cursor {
            parameters.append_pair("cursor", cursor);
        }
        let mut page: Value = context.client.get_json(&format!("{path}?{}", parameters.finish())).await?;
        let rows = items_of(&mut page, path)?;
        seen += rows.len() as u64;
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        let is_last = cursor.is_none() || seen >= wanted || rows.is_empty();
        whole["next_cursor"] = json!(cursor);
        if let Some(total) = page.get("total") {
            whole["total"] = total.clone();
        }
        if out.format() == Format::Ndjson {
            // Lines go out page by page, so that a long list needs no memory.
            out.rows(&Value::Null, &rows, columns, name)?;
        } else {
            items.extend(rows);
        }
        if is_last {
            break;
        }
    }
    if out.format() == Format::Json {
        whole["items"] = Value::Array(std::mem::take(&mut items));
    }
    let is_table = out.format() == Format::Table;
    if out.format() != Format::Ndjson {
        out.rows(&whole, &items, columns, name)?;
    }
    out.finish()?;
    if is_table && cursor.is_some() {
        let total = whole.pointer("/total/value").map_or_else(String::new, |total| format!(" of {total}"));
        context.say(&format!("{seen}{total} shown; --limit 0 shows all"));
    }
    Ok(())
}
