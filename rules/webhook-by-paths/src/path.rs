//! Paths into a JSON body.

use serde_json::Value;

/// Where a value is: `alerts`, `labels.host`, `results.0.name`. A dot that is part of a key is written `\.`, and a path that begins with `$.` is
/// one into the whole body, wherever the event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    from_body: bool,
    keys: Vec<String>,
    /// As the config has it, for messages.
    pub text: String,
}

impl Path {
    /// Reads it; `Err` says what is wrong with it.
    pub fn parse(text: &str) -> Result<Path, String> {
        let (from_body, rest) = match text.strip_prefix("$.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut keys = vec![String::new()];
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            let key = keys.last_mut().expect("it begins with one");
            match c {
                '.' => keys.push(String::new()),
                '\\' => key.push(chars.next().ok_or_else(|| format!("the path `{text}` ends in `\\`"))?),
                c => key.push(c),
            }
        }
        match keys.iter().any(String::is_empty) {
            true => Err(format!("the path `{text}` has an empty key")),
            false => Ok(Path { from_body, keys, text: text.to_string() }),
        }
    }

    /// The value there, if it is there and no `null`.
    pub fn find<'a>(&self, body: &'a Value, event: &'a Value) -> Option<&'a Value> {
        let start = if self.from_body { body } else { event };
        let end = self.keys.iter().try_fold(start, |value, key| match value {
            Value::Object(members) => members.get(key),
            Value::Array(entries) => entries.get(key.parse::<usize>().ok()?),
            _ => None,
        });
        end.filter(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_through_objects_and_lists() {
        let body = json!({ "alerts": [{ "labels": { "a.b": 1, "n": null } }], "top": "t", "$": { "x": 2 } });
        let event = &body["alerts"][0];
        let find = |path: &str| Path::parse(path).unwrap().find(&body, event).cloned();
        assert_eq!(find("labels.a\\.b"), Some(json!(1)));
        assert_eq!(find("$.top"), Some(json!("t")));
        assert_eq!(find("$.alerts.0.labels.a\\.b"), Some(json!(1)));
        for nothing in ["labels.n", "labels.a.b", "top", "$.alerts.1", "$.alerts.-1", "$.top.t", "x"] {
            assert_eq!(find(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn paths_that_lead_nowhere_are_refused() {
        for (path, says) in [("", "empty key"), ("$.", "empty key"), ("a..b", "empty key"), ("a.", "empty key"), ("a\\", "ends in")] {
            assert!(Path::parse(path).unwrap_err().contains(says), "{path}");
        }
    }
}
