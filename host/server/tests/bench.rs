//! `bench --quick` through the built binary: its shape. Its figures depend on the machine and are not judged here.

use serde_json::Value;
use std::process::Command;

#[test]
fn quick_bench_gives_every_row_with_finite_figures() {
    let output = Command::new(env!("CARGO_BIN_EXE_alertmill")).args(["bench", "--quick", "--output", "json"]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let rows = answer["rows"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["path-embedded", "rule-enrich", "rule-dedupe", "rule-cold-start"]);
    for row in rows {
        for figure in ["ours", "reference", "ratio", "goal"] {
            let value = row[figure].as_f64().unwrap_or(f64::NAN);
            assert!(value.is_finite() && value > 0.0, "{figure} of {row}");
        }
        assert!(row["met"].is_boolean(), "{row}");
    }
}

#[test]
fn one_row_alone_as_a_table() {
    let output = Command::new(env!("CARGO_BIN_EXE_alertmill")).args(["bench", "--quick", "--row", "rule-dedupe"]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("NAME\t") && lines[1].starts_with("rule-dedupe\t"), "{text}");
}
