//! Variables of the environment that look like configuration and are none: one underscore where two are needed is an easy
//! slip, and a server that listens elsewhere than it was told is worth a word.

use super::load::ENVIRONMENT_PREFIX;
use super::model::Config;

/// Read by the command line and by this repository's tests.
const KNOWN: &[&str] = &["ALERTMILL_SERVER", "ALERTMILL_OPERATOR", "ALERTMILL_BIN", "ALERTMILL_KEEP", "ALERTMILL_RULES_DIST", "ALERTMILL_SEED"];
/// Set by tests, and by Kubernetes for a service that is called `alertmill`.
const KNOWN_BEGINNINGS: &[&str] = &[ENVIRONMENT_PREFIX, "ALERTMILL_TEST_", "ALERTMILL_SERVICE_", "ALERTMILL_PORT"];

/// One sentence for each name that is ignored, in their order.
pub fn ignored_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_ignored = |name: &String| {
        name.starts_with("ALERTMILL_") && !KNOWN.contains(&name.as_str()) && !KNOWN_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    };
    let mut ignored: Vec<String> = names.into_iter().filter(is_ignored).collect();
    ignored.sort();
    ignored.iter().map(|name| sentence(name)).collect()
}

fn sentence(name: &str) -> String {
    let meant = Config::sections().iter().flat_map(|s| s.keys.iter().map(|k| variable(s.path, k.name)).collect::<Vec<_>>()).find(|v| single(v) == single(name));
    match meant {
        Some(meant) => format!("the variable {name} is ignored; did you mean {meant}?"),
        None => format!("the variable {name} is ignored; keys are set by {ENVIRONMENT_PREFIX}SECTION__KEY, with two underscores between the parts"),
    }
}

fn variable(section: &str, key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}__{}", section.replace('.', "__"), key).to_uppercase()
}

/// With every underscore only once.
fn single(name: &str) -> String {
    name.replace("__", "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_underscore_too_few_is_named() {
        let names = ["PATH", "ALERTMILL_SERVER", "ALERTMILL__SERVER__LISTEN", "ALERTMILL_PORT_9280_TCP", "ALERTMILL_SERVER_LISTEN"];
        let more = ["ALERTMILL_DOORS_EVENTS_ENABLED", "ALERTMILL_LIMITS__BODY_DECODED", "ALERTMILL_X"];
        assert_eq!(
            ignored_variables(names.iter().chain(&more).map(|name| (*name).to_owned())),
            [
                "the variable ALERTMILL_DOORS_EVENTS_ENABLED is ignored; did you mean ALERTMILL__DOORS__EVENTS__ENABLED?",
                "the variable ALERTMILL_LIMITS__BODY_DECODED is ignored; did you mean ALERTMILL__LIMITS__BODY_DECODED?",
                "the variable ALERTMILL_SERVER_LISTEN is ignored; did you mean ALERTMILL__SERVER__LISTEN?",
                "the variable ALERTMILL_X is ignored; keys are set by ALERTMILL__SECTION__KEY, with two underscores between the parts",
            ]
        );
    }
}
