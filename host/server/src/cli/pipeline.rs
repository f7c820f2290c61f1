//! `pipeline storage`.

use super::Context;
use super::exit::Failure;
use super::output::{Column, text};
use serde_json::Value;

fn pairs(row: &Value, key: &str) -> String {
    let pairs = row[key].as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

/// `pipeline storage`
pub async fn storage(context: &Context) -> Result<(), Failure> {
    let report: Value = context.client.get_json("/api/v1/pipeline/storage").await?;
    let rows = report["families"].as_array().cloned().unwrap_or_default();
    let columns = [
        Column { head: "FAMILY", cell: |row| text(row, "name") },
        Column { head: "BYTES", cell: |row| text(row, "bytes") },
        Column { head: "COUNT", cell: |row| text(row, "count") },
        Column { head: "BOUNDS", cell: |row| pairs(row, "bounds") },
        Column { head: "REMOVED", cell: |row| pairs(row, "removed") },
    ];
    let mut out = context.output();
    out.rows(&report, &rows, &columns, |row| text(row, "name"))?;
    out.finish()?;
    let damages = report["damages"].as_array().map_or(0, Vec::len);
    if damages > 0 {
        context.say(&format!("{damages} damaged files were set aside; `alertmill pipeline storage -o json` says what was in them"));
    }
    Ok(())
}
