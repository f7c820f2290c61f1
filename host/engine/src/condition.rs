//! `when`: which rows a hook is asked about. The host decides it on text forms, so that rows a rule does not care for
//! never cross.

use crate::contracts::{self, Op};
use alertmill_core::fields::RuleField;
use alertmill_core::payload::Payload;
use alertmill_core::value::Text;
use std::borrow::Cow;

/// All conditions of a hook, by field: a field is made into text once, however many conditions it has.
#[derive(Clone, Debug)]
pub(crate) struct When<F>(Vec<(F, Vec<Test>)>);

/// What conditions of a normalize hook may name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PayloadField {
    Source,
    ContentType,
    Header(Text),
}

#[derive(Clone, Debug)]
enum Test {
    /// Sorted.
    AnyOf(Vec<String>),
    /// Sorted.
    NoneOf(Vec<String>),
    Prefix(Vec<String>),
    Suffix(Vec<String>),
    Contains(Vec<String>),
    Exists,
    Missing,
}

impl<F: RuleField> When<F> {
    pub fn parse(conditions: &[contracts::Condition]) -> Result<When<F>, String> {
        When::parse_fields(conditions, |name| F::parse_read(name).map_err(|e| e.to_string()))
    }

    /// Whether the hook is asked about this row.
    pub fn holds(&self, row: &F::Row) -> bool {
        self.0.iter().all(|(field, tests)| Test::all_hold(tests, field.text(row)))
    }
}

impl When<PayloadField> {
    pub fn parse_payload(conditions: &[contracts::Condition]) -> Result<When<PayloadField>, String> {
        When::parse_fields(conditions, |name| {
            let header = |name: &str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
            match (name, name.strip_prefix("headers.")) {
                ("source", _) => Ok(PayloadField::Source),
                ("content_type", _) => Ok(PayloadField::ContentType),
                (_, Some(name)) if header(name) => Ok(PayloadField::Header(Text::new(name))),
                _ => Err(format!("`{name}` is not known of payloads; `source`, `content_type` and `headers.NAME`, in lower case, are")),
            }
        })
    }

    /// Whether the hook is for this payload.
    pub fn holds_for(&self, payload: &Payload) -> bool {
        self.0.iter().all(|(field, tests)| {
            let text = match field {
                PayloadField::Source => Some(&payload.source),
                PayloadField::ContentType => Some(&payload.content_type).filter(|said| !said.is_empty()),
                PayloadField::Header(name) => payload.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            };
            Test::all_hold(tests, text.map(|text| Cow::Borrowed(text.as_str())))
        })
    }
}

impl<F: PartialEq> When<F> {
    fn parse_fields(conditions: &[contracts::Condition], parse: impl Fn(&str) -> Result<F, String>) -> Result<When<F>, String> {
        let mut fields: Vec<(F, Vec<Test>)> = Vec::new();
        for condition in conditions {
            let field = parse(&condition.field)?;
            let test = Test::parse(condition)?;
            match fields.iter_mut().find(|(known, _)| *known == field) {
                Some((_, tests)) => tests.push(test),
                None => fields.push((field, vec![test])),
            }
        }
        Ok(When(fields))
    }
}

impl Test {
    fn parse(condition: &contracts::Condition) -> Result<Test, String> {
        let mut values = condition.values.clone();
        let count = |wanted: bool, words: &str| if wanted { Ok(()) } else { Err(format!("`{}`: {words}", condition.field)) };
        match condition.op {
            Op::Equals => count(values.len() == 1, "`equals` takes one value; use `any-of` for several")?,
            Op::NotEquals => count(!values.is_empty(), "`not-equals` takes a value")?,
            Op::AnyOf => count(!values.is_empty(), "`any-of` takes at least one value")?,
            Op::NoneOf => count(!values.is_empty(), "`none-of` takes at least one value")?,
            Op::Suffix => count(!values.is_empty(), "`suffix` takes a value")?,
            Op::Missing => count(values.is_empty(), "`missing` takes no value")?,
            Op::Prefix => count(!values.is_empty(), "`prefix` takes a value")?,
            Op::Contains => count(!values.is_empty(), "`contains` takes a value")?,
            Op::Exists => count(values.is_empty(), "`exists` takes no value")?,
        }
        values.sort_unstable();
        Ok(match condition.op {
            Op::Equals | Op::AnyOf => Test::AnyOf(values),
            Op::NotEquals | Op::NoneOf => Test::NoneOf(values),
            Op::Prefix => Test::Prefix(values),
            Op::Suffix => Test::Suffix(values),
            Op::Missing => Test::Missing,
            Op::Contains => Test::Contains(values),
            Op::Exists => Test::Exists,
        })
    }

    fn all_hold(tests: &[Test], text: Option<Cow<'_, str>>) -> bool {
        tests.iter().all(|test| test.holds(text.as_deref()))
    }

    fn holds(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return matches!(self, Test::NoneOf(_) | Test::Missing) };
        let among = |values: &[String]| values.binary_search_by(|value| value.as_str().cmp(text)).is_ok();
        match self {
            Test::AnyOf(values) => among(values),
            Test::NoneOf(values) => !among(values),
            Test::Prefix(values) => values.iter().any(|value| text.starts_with(value.as_str())),
            Test::Contains(values) => values.iter().any(|value| text.contains(value.as_str())),
            Test::Suffix(values) => values.iter().any(|value| text.ends_with(value.as_str())),
            Test::Exists => true,
            Test::Missing => false,
        }
    }
}

/// For `rule inspect`: `tags.env any-of ["prod","stage"]`.
pub(crate) fn in_words(condition: &contracts::Condition) -> String {
    let op = match condition.op {
        Op::Equals => "equals",
        Op::NotEquals => "not-equals",
        Op::AnyOf => "any-of",
        Op::Prefix => "prefix",
        Op::Contains => "contains",
        Op::NoneOf => "none-of",
        Op::Suffix => "suffix",
        Op::Exists => return format!("{} exists", condition.field),
        Op::Missing => return format!("{} is missing", condition.field),
    };
    match condition.values.as_slice() {
        [one] => format!("{} {op} {one:?}", condition.field),
        many => format!("{} {op} {many:?}", condition.field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::event::{Event, Tag};
    use alertmill_core::fields::Field;
    use alertmill_core::row::Row;
    use alertmill_core::value::Value;
    use alertmill_core::verdict::Place;

    fn condition(field: &str, op: Op, values: &[&str]) -> contracts::Condition {
        contracts::Condition { field: field.to_owned(), op, values: values.iter().map(|v| (*v).to_owned()).collect() }
    }

    fn row() -> Row {
        let event = Event { severity: Value::Int(2), tags: vec![Tag::new("env", "stage"), Tag::new("env", "prod-1")], ..Event::default() };
        Row::new(event, "web".into(), 5, Place { ordinal: 0, index: 0 }, 0)
    }

    #[test]
    fn conditions_are_on_text_forms_and_the_last_of_repeated_tags() {
        for (field, op, values, holds) in [
            ("tags.env", Op::Equals, &["prod-1"][..], true),
            ("tags.env", Op::Equals, &["stage"], false),
            ("tags.env", Op::NotEquals, &["stage"], true),
            ("tags.env", Op::AnyOf, &["a", "prod-1"], true),
            ("tags.env", Op::AnyOf, &["z", "prod-1", "a", "b"], true),
            ("tags.env", Op::NotEquals, &["z", "prod-1", "a"], false),
            ("tags.env", Op::Prefix, &["prod"], true),
            ("tags.env", Op::NoneOf, &["z", "a"], true),
            ("tags.env", Op::NoneOf, &["z", "prod-1"], false),
            ("tags.env", Op::Suffix, &["-1"], true),
            ("tags.env", Op::Suffix, &["prod", "-2"], false),
            ("tags.env", Op::Missing, &[], false),
            ("tags.env", Op::Contains, &["od-"], true),
            ("tags.env", Op::Exists, &[], true),
            ("severity", Op::Equals, &["2"], true),
            ("received_at", Op::Equals, &["5"], true),
            ("source", Op::Prefix, &["web"], true),
        ] {
            let when = When::<Field>::parse(&[condition(field, op, values)]).unwrap();
            assert_eq!(when.holds(&row()), holds, "{field} {op:?} {values:?}");
        }
    }

    #[test]
    fn a_missing_field_satisfies_only_what_wants_no_text() {
        let values = |op| if matches!(op, Op::Exists | Op::Missing) { &[][..] } else { &[""][..] };
        for op in [Op::Equals, Op::NotEquals, Op::AnyOf, Op::NoneOf, Op::Prefix, Op::Suffix, Op::Contains, Op::Exists, Op::Missing] {
            let when = When::<Field>::parse(&[condition("tags.none", op, values(op))]).unwrap();
            assert_eq!(when.holds(&row()), matches!(op, Op::NotEquals | Op::NoneOf | Op::Missing), "{op:?}");
        }
    }

    #[test]
    fn payloads_have_a_source_a_type_and_headers() {
        let payload = Payload {
            ordinal: 1,
            tenant: "system".into(),
            source: "zabbix".into(),
            content_type: Text::default(),
            headers: vec![("x-team".into(), "web".into())],
            received_at_ms: 0,
            body: (*b"{}").into(),
        };
        for (field, op, values, holds) in [
            ("source", Op::Equals, &["zabbix"][..], true),
            ("source", Op::NoneOf, &["zabbix"], false),
            ("content_type", Op::Missing, &[], true),
            ("content_type", Op::Equals, &[""], false),
            ("headers.x-team", Op::AnyOf, &["db", "web"], true),
            ("headers.x-other", Op::Exists, &[], false),
        ] {
            assert_eq!(When::parse_payload(&[condition(field, op, values)]).unwrap().holds_for(&payload), holds, "{field} {op:?} {values:?}");
        }
        for unknown in ["body", "headers.", "headers.X-Team", "severity"] {
            assert!(When::parse_payload(&[condition(unknown, Op::Exists, &[])]).unwrap_err().contains(unknown));
        }
    }

    #[test]
    fn all_must_hold_and_nonsense_is_refused() {
        let yes = condition("tags.env", Op::Exists, &[]);
        let no = condition("tags.none", Op::Exists, &[]);
        assert!(!When::<Field>::parse(&[yes.clone(), no]).unwrap().holds(&row()));
        assert!(When::<Field>::parse(&[]).unwrap().holds(&row()));
        for bad in [
            condition("nope", Op::Exists, &[]),
            condition("drop", Op::Exists, &[]),
            condition("source", Op::Equals, &["a", "b"]),
            condition("source", Op::AnyOf, &[]),
            condition("source", Op::NoneOf, &[]),
            condition("source", Op::Suffix, &[]),
            condition("source", Op::Missing, &["a"]),
        ] {
            assert!(When::<Field>::parse(&[yes.clone(), bad]).is_err());
        }
        assert_eq!(in_words(&condition("tags.env", Op::AnyOf, &["a", "b"])), "tags.env any-of [\"a\", \"b\"]");
    }
}
