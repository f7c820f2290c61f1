//! Differences that are meant: where docs/semantics.md, Differences, says that Alertmill does better than upstream. Each is
//! listed with its path, upstream's value and ours, so that nothing else can hide behind a listed vector.

use super::Problem;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value as Json;

/// The list, compiled in: it belongs to this version's behaviour.
const LIST: &str = include_str!("../../../../tests/conformance/differences.toml");

/// All vectors that are meant to differ.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    #[serde(default)]
    vector: Vec<ListedVector>,
}

/// One vector that is meant to differ.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedVector {
    /// `suite/name`.
    pub name: String,
    /// Row of docs/semantics.md, Differences.
    pub row: u32,
    /// Why, in a sentence.
    pub why: String,
    /// All paths that differ.
    pub differs: Vec<ListedDifference>,
}

/// One path that is meant to differ.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedDifference {
    /// As the runner prints it.
    pub path: String,
    /// Upstream's value as JSON text; left out where it has none.
    pub theirs: Option<String>,
    /// Our value as JSON text; left out where we have none.
    pub ours: Option<String>,
}

impl Listed {
    /// The list of this version.
    pub fn built_in() -> Result<Listed> {
        Listed::parse(LIST).context("tests/conformance/differences.toml")
    }

    /// Reads a list.
    pub fn parse(text: &str) -> Result<Listed> {
        let listed: Listed = toml::from_str(text)?;
        for vector in &listed.vector {
            let twice = listed.vector.iter().filter(|other| other.name == vector.name).count() > 1;
            anyhow::ensure!(!twice, "{} is listed twice", vector.name);
            anyhow::ensure!(vector.row > 0 && !vector.why.trim().is_empty(), "{} has no row or reason", vector.name);
            anyhow::ensure!(!vector.differs.is_empty(), "{} lists no path", vector.name);
        }
        Ok(listed)
    }

    /// What is listed for a vector.
    pub fn of(&self, name: &str) -> Option<&ListedVector> {
        self.vector.iter().find(|vector| vector.name == name)
    }

    /// Names of all listed vectors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.vector.iter().map(|vector| vector.name.as_str())
    }
}

impl ListedVector {
    /// The first way in which the problems are not exactly those listed.
    pub fn other_than_listed(&self, problems: &[Problem]) -> Option<String> {
        for problem in problems {
            let Problem::Differs(difference) = problem else { return Some(problem.to_string()) };
            let as_listed = self.differs.iter().any(|listed| {
                listed.path == difference.path
                    && json(&listed.theirs) == Some(difference.expected.clone())
                    && json(&listed.ours) == Some(difference.got.clone())
            });
            if !as_listed {
                return Some(difference.to_string());
            }
        }
        let missing = self.differs.iter().find(|listed| !problems.iter().any(|p| matches!(p, Problem::Differs(d) if d.path == listed.path)));
        missing.map(|listed| format!("{} does not differ any more", listed.path))
    }
}

/// The problems of a vector as an entry of the list, without row and reason. Something other than a difference cannot be
/// listed and becomes a comment.
pub fn entry(name: &str, problems: &[Problem]) -> String {
    let mut out = format!("[[vector]]\nname = \"{name}\"\nrow = 0\nwhy = \"\"\n");
    for problem in problems {
        match problem {
            Problem::Cannot(why) => out.push_str(&format!("# {why}\n")),
            Problem::Differs(difference) => {
                out.push_str(&format!("[[vector.differs]]\npath = {}\n", quoted(&difference.path)));
                for (field, value) in [("theirs", &difference.expected), ("ours", &difference.got)] {
                    if let Some(value) = value {
                        out.push_str(&format!("{field} = {}\n", quoted(&value.to_string())));
                    }
                }
            }
        }
    }
    out.push('\n');
    out
}

/// The text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The value of a listed JSON text: `Some(None)` for one left out, `None` for one that is not JSON.
fn json(text: &Option<String>) -> Option<Option<Json>> {
    match text {
        Some(text) => serde_json::from_str(text).ok().map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::compare::Difference;
    use serde_json::json;

    fn problems() -> Vec<Problem> {
        let differs = |path: &str, expected: Option<Json>, got: Option<Json>| Problem::Differs(Difference { path: path.to_owned(), expected, got });
        vec![
            differs("steps[0].alerts[0].status", Some(json!("CLOSED")), Some(json!("it's \"open\""))),
            differs("steps[0].logs[1]", None, Some(json!({"a": [1, null]}))),
        ]
    }

    fn listed(problems: &[Problem]) -> Listed {
        let text = entry("builder/x", problems).replace("row = 0", "row = 54").replace("why = \"\"", "why = \"better\"");
        Listed::parse(&text).unwrap()
    }

    #[test]
    fn what_is_printed_for_the_list_matches_when_read_back() {
        assert_eq!(listed(&problems()).of("builder/x").unwrap().other_than_listed(&problems()), None);
    }

    #[test]
    fn nothing_else_hides_behind_a_listed_vector() {
        let listed = listed(&problems());
        let entry = listed.of("builder/x").unwrap();
        let changed = |change: fn(&mut Vec<Problem>)| {
            let mut problems = problems();
            change(&mut problems);
            entry.other_than_listed(&problems)
        };
        assert!(changed(|p| p.push(Problem::Cannot("op not built: x".to_owned()))).is_some());
        assert!(changed(|p| p.truncate(1)).is_some_and(|why| why.contains("does not differ any more")));
        assert!(changed(|p| edit(p, |d| d.got = Some(json!("else")))).is_some());
        assert!(changed(|p| edit(p, |d| d.got = None)).is_some());
        assert!(changed(|p| edit(p, |d| d.expected = Some(json!("else")))).is_some());
        assert!(changed(|p| edit(p, |d| d.path.push('x'))).is_some());
    }

    fn edit(problems: &mut [Problem], change: fn(&mut Difference)) {
        if let Problem::Differs(difference) = &mut problems[0] {
            change(difference);
        }
    }

    #[test]
    fn a_list_without_row_reason_or_paths_is_refused() {
        let entry = |row: &str, why: &str, differs: &str| format!("[[vector]]\nname = \"a/b\"\nrow = {row}\nwhy = \"{why}\"\n{differs}\n");
        let differs = "[[vector.differs]]\npath = \"x\"\n";
        assert!(Listed::parse(&entry("3", "y", differs)).is_ok());
        assert!(Listed::parse(&entry("0", "y", differs)).is_err());
        assert!(Listed::parse(&entry("3", " ", differs)).is_err());
        assert!(Listed::parse(&entry("3", "y", "differs = []")).is_err());
        assert!(Listed::parse(&format!("{0}{0}", entry("3", "y", differs))).is_err());
    }
}
