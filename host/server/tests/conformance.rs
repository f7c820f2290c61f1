//! The recorded vectors, in CI. `tests/conformance/README.md` says how the lists are kept.

use alertmill::conformance::listed::Listed;
use alertmill::conformance::vector::{Step, Vector, read_all};
use alertmill::conformance::{ConformanceArgs, Fingerprint, Verdict, execute, judge};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance")
}

fn args(suite: Option<&str>, fingerprint: Fingerprint) -> ConformanceArgs {
    ConformanceArgs { dir: dir(), fingerprint, suite: suite.map(str::to_owned), list_passing: None, all: false, as_list: false }
}

/// Names that pass now and names that have to, one a line.
fn passing_list() -> BTreeSet<String> {
    let text = std::fs::read_to_string(dir().join("passing.txt")).expect("tests/conformance/passing.txt");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn event_clean_passes_whole_under_both_algorithms() {
    for fingerprint in [Fingerprint::BkMonitor, Fingerprint::Keyed] {
        let summary = execute(&args(Some("event-clean"), fingerprint)).unwrap();
        let failed: Vec<String> = summary.failed().map(|(name, problems)| format!("{name}: {}", problems[0])).collect();
        assert!(failed.is_empty(), "{fingerprint:?}: {failed:#?}");
        assert_eq!((summary.passed().count(), summary.listed()), (44, 0));
    }
}

#[test]
fn the_passing_list_only_grows() {
    let summary = execute(&args(None, Fingerprint::BkMonitor)).unwrap();
    let passes: BTreeSet<String> = summary.passed().map(str::to_owned).collect();
    let listed = passing_list();
    let lost: Vec<_> = listed.difference(&passes).collect();
    let new: Vec<_> = passes.difference(&listed).collect();
    assert!(lost.is_empty(), "these passed before and fail now: {lost:#?}");
    assert!(new.is_empty(), "these pass now: add them to tests/conformance/passing.txt (conformance --list-passing writes it): {new:#?}");
}

#[test]
fn every_listed_difference_is_still_one() {
    let names: Vec<String> = Listed::built_in().unwrap().names().map(str::to_owned).collect();
    let summary = execute(&args(None, Fingerprint::BkMonitor)).unwrap();
    for name in names {
        let verdict = summary.verdicts.iter().find(|(other, _)| *other == name).map(|(_, verdict)| verdict);
        assert_eq!(verdict, Some(&Verdict::Listed), "{name}");
    }
}

/// Parts and fields of `expect` that are not compared, as `tests/conformance/README.md` has them.
fn is_compared(path: &[String]) -> bool {
    let field = path.get(2).map(String::as_str);
    match path[0].as_str() {
        "alert_docs" | "check_tasks" | "retry_events" | "signals" | "batch_error" | "error" => false,
        "redis" => path.get(1).is_some_and(|part| part == "qos"),
        "events_dropped" => !matches!(field, Some("error" | "saved")),
        "events_saved" => field != Some("_index"),
        "alerts" => field != Some("_snapshot"),
        "derived" => field != Some("fingerprint_error"),
        _ => true,
    }
}

/// Paths of all leaves under `value`.
fn leaves(value: &Json, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Json)> = match value {
        Json::Object(fields) => fields.iter().map(|(key, field)| (key.clone(), field)).collect(),
        Json::Array(list) => list.iter().enumerate().map(|(i, element)| (i.to_string(), element)).collect(),
        _ => Vec::new(),
    };
    if children.is_empty() {
        out.push(path.clone());
    }
    for (name, child) in children {
        path.push(name);
        leaves(child, path, out);
        path.pop();
    }
}

/// Changes the leaf at `path` into something else.
fn alter(step: &mut Step, path: &[String]) {
    let mut value = step.expect.get_mut(&path[0]).unwrap();
    for name in &path[1..] {
        value = match value {
            Json::Object(fields) => fields.get_mut(name).unwrap(),
            Json::Array(list) => &mut list[name.parse::<usize>().unwrap()],
            _ => unreachable!(),
        };
    }
    *value = match &*value {
        Json::Null => Json::from(0),
        Json::Bool(b) => Json::from(!b),
        Json::Number(n) => n.as_i64().map_or_else(|| Json::from(n.as_f64().unwrap() * 2.0 + 1.0), |n| Json::from(n + 1)),
        Json::String(text) => Json::from(format!("{text}x")),
        Json::Array(_) => Json::from(vec![0]),
        Json::Object(_) => serde_json::json!({ "x": 0 }),
    };
}

/// A runner that cannot fail proves nothing: with any one expected value changed, every passing vector must fail, and every
/// listed one must no longer count as differing as listed.
#[test]
fn a_vector_with_one_value_altered_fails() {
    let listed = Listed::built_in().unwrap();
    let passing = passing_list();
    let (mut vectors, mut alterations) = (0, 0);
    for vector in read_all(&dir(), None).unwrap() {
        let name = vector.full_name();
        if !passing.contains(&name) && listed.of(&name).is_none() {
            continue;
        }
        vectors += 1;
        for at in 0..vector.steps.len() {
            let mut paths = Vec::new();
            for (part, value) in &vector.steps[at].expect {
                leaves(value, &mut vec![part.clone()], &mut paths);
            }
            for path in paths.into_iter().filter(|path| is_compared(path)) {
                alterations += 1;
                let mut altered: Vector = vector.clone();
                alter(&mut altered.steps[at], &path);
                let verdict = judge(&altered, Fingerprint::BkMonitor, &listed);
                assert!(matches!(verdict, Verdict::Failed(_)), "{name} steps[{at}] {path:?}: {verdict:?}");
            }
        }
    }
    assert!(vectors >= 44 && alterations > 1_000, "{vectors} vectors, {alterations} alterations");
}

/// What is left out of `expect`, or is in it beyond what we do, shows as well.
#[test]
fn a_vector_with_one_value_removed_or_added_fails() {
    let listed = Listed::built_in().unwrap();
    let vectors = read_all(&dir(), Some("event-clean")).unwrap();
    for vector in vectors.iter().filter(|vector| !vector.steps.is_empty()) {
        for part in ["events_saved", "derived", "events_dropped"] {
            let mut longer = vector.clone();
            let list = longer.steps[0].expect[part].as_array_mut().unwrap();
            list.push(serde_json::json!({ "event_id": "more" }));
            assert!(matches!(judge(&longer, Fingerprint::BkMonitor, &listed), Verdict::Failed(_)), "{} {part}", vector.name);
            let mut shorter = vector.clone();
            if shorter.steps[0].expect[part].as_array_mut().unwrap().pop().is_some() {
                assert!(matches!(judge(&shorter, Fingerprint::BkMonitor, &listed), Verdict::Failed(_)), "{} {part}", vector.name);
            }
        }
        let mut unknown = vector.clone();
        unknown.steps[0].expect.insert("something_new".to_owned(), Json::Null);
        assert!(matches!(judge(&unknown, Fingerprint::BkMonitor, &listed), Verdict::Failed(_)), "{}", vector.name);
    }
}

#[test]
fn an_empty_folder_or_an_unknown_suite_is_an_error() {
    let nothing = ConformanceArgs { dir: dir().join("event-clean"), ..args(None, Fingerprint::BkMonitor) };
    assert!(execute(&nothing).unwrap_err().to_string().contains("no vectors"));
    assert!(execute(&args(Some("no-such-suite"), Fingerprint::BkMonitor)).is_err());
}
