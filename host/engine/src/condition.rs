//! `when`: which rows a hook is asked about. The host decides it on text forms, so that rows a rule does not care for
//! never cross.

use crate::contract::{self, Op};
use alertmill_core::fields::Field;
use alertmill_core::row::Row;

/// All conditions of a hook, by field: a field is made into text once, however many conditions it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct When(Vec<(Field, Vec<Test>)>);

#[derive(Clone, Debug)]
enum Test {
    /// Sorted.
    AnyOf(Vec<String>),
    /// Sorted.
    NoneOf(Vec<String>),
    Prefix(Vec<String>),
    Contains(Vec<String>),
    Exists,
}

impl When {
    pub fn parse(conditions: &[contract::Condition]) -> Result<When, String> {
        let mut fields: Vec<(Field, Vec<Test>)> = Vec::new();
        for condition in conditions {
            let field = Field::parse_read(&condition.field).map_err(|e| e.to_string())?;
            let test = Test::parse(condition)?;
            match fields.iter_mut().find(|(known, _)| *known == field) {
                Some((_, tests)) => tests.push(test),
                None => fields.push((field, vec![test])),
            }
        }
        Ok(When(fields))
    }

    /// Whether the hook is asked about this row.
    pub fn holds(&self, row: &Row) -> bool {
        self.0.iter().all(|(field, tests)| {
            let text = field.text(row);
            tests.iter().all(|test| test.holds(text.as_deref()))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Test {
    fn parse(condition: &contract::Condition) -> Result<Test, String> {
        let mut values = condition.values.clone();
        let count = |wanted: bool, words: &str| if wanted { Ok(()) } else { Err(format!("`{}`: {words}", condition.field)) };
        match condition.op {
            Op::Equals => count(values.len() == 1, "`equals` takes one value; use `any-of` for several")?,
            Op::NotEquals => count(!values.is_empty(), "`not-equals` takes a value")?,
            Op::AnyOf => count(!values.is_empty(), "`any-of` takes at least one value")?,
            Op::Prefix => count(!values.is_empty(), "`prefix` takes a value")?,
            Op::Contains => count(!values.is_empty(), "`contains` takes a value")?,
            Op::Exists => count(values.is_empty(), "`exists` takes no value")?,
        }
        values.sort_unstable();
        Ok(match condition.op {
            Op::Equals | Op::AnyOf => Test::AnyOf(values),
            Op::NotEquals => Test::NoneOf(values),
            Op::Prefix => Test::Prefix(values),
            Op::Contains => Test::Contains(values),
            Op::Exists => Test::Exists,
        })
    }

    fn holds(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return matches!(self, Test::NoneOf(_)) };
        let among = |values: &[String]| values.binary_search_by(|value| value.as_str().cmp(text)).is_ok();
        match self {
            Test::AnyOf(values) => among(values),
            Test::NoneOf(values) => !among(values),
            Test::Prefix(values) => values.iter().any(|value| text.starts_with(value.as_str())),
            Test::Contains(values) => values.iter().any(|value| text.contains(value.as_str())),
            Test::Exists => true,
        }
    }
}

/// For `rule inspect`: `tags.env any-of ["prod","stage"]`.
pub(crate) fn in_words(condition: &contract::Condition) -> String {
    let op = match condition.op {
        Op::Equals => "equals",
        Op::NotEquals => "not-equals",
        Op::AnyOf => "any-of",
        Op::Prefix => "prefix",
        Op::Contains => "contains",
        Op::Exists => return format!("{} exists", condition.field),
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
    use alertmill_core::value::Value;

    fn condition(field: &str, op: Op, values: &[&str]) -> contract::Condition {
        contract::Condition { field: field.to_owned(), op, values: values.iter().map(|v| (*v).to_owned()).collect() }
    }

    fn row() -> Row {
        Row {
            event: Event { severity: Value::Int(2), tags: vec![Tag::new("env", "stage"), Tag::new("env", "prod-1")], ..Event::default() },
            source: "web".into(),
            received_at_ms: 5,
            ordinal: 0,
            index: 0,
            seed: 0,
            dedupe: Default::default(),
            dedupe_rule: Default::default(),
            fingerprint: Default::default(),
            dropped: None,
            severity_by_rule: false,
            failures: Vec::new(),
            lasting: None,
            uid_if_reopened: None,
        }
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
            ("tags.env", Op::Contains, &["od-"], true),
            ("tags.env", Op::Exists, &[], true),
            ("severity", Op::Equals, &["2"], true),
            ("received_at", Op::Equals, &["5"], true),
            ("source", Op::Prefix, &["web"], true),
        ] {
            let when = When::parse(&[condition(field, op, values)]).unwrap();
            assert_eq!(when.holds(&row()), holds, "{field} {op:?} {values:?}");
        }
    }

    #[test]
    fn a_missing_field_satisfies_only_not_equals() {
        let values = |op| if op == Op::Exists { &[][..] } else { &[""][..] };
        for op in [Op::Equals, Op::NotEquals, Op::AnyOf, Op::Prefix, Op::Contains, Op::Exists] {
            let when = When::parse(&[condition("tags.none", op, values(op))]).unwrap();
            assert_eq!(when.holds(&row()), op == Op::NotEquals, "{op:?}");
        }
    }

    #[test]
    fn all_must_hold_and_nonsense_is_refused() {
        let yes = condition("tags.env", Op::Exists, &[]);
        let no = condition("tags.none", Op::Exists, &[]);
        assert!(!When::parse(&[yes.clone(), no]).unwrap().holds(&row()));
        assert!(When::parse(&[]).unwrap().holds(&row()));
        for bad in [
            condition("nope", Op::Exists, &[]),
            condition("drop", Op::Exists, &[]),
            condition("source", Op::Equals, &["a", "b"]),
            condition("source", Op::AnyOf, &[]),
        ] {
            assert!(When::parse(&[yes.clone(), bad]).is_err());
        }
        assert_eq!(in_words(&condition("tags.env", Op::AnyOf, &["a", "b"])), "tags.env any-of [\"a\", \"b\"]");
    }
}
