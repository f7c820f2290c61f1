//! `when`: which rows a hook is asked about. The host decides it on text forms, so that rows a rule does not care for
//! never cross.

use crate::contract::{self, Op};
use alertmill_core::fields::Field;
use alertmill_core::row::Row;

/// All conditions of a hook.
#[derive(Clone, Debug, Default)]
pub(crate) struct When(Vec<Condition>);

#[derive(Clone, Debug)]
struct Condition {
    field: Field,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    AnyOf(Vec<String>),
    NoneOf(Vec<String>),
    Prefix(Vec<String>),
    Contains(Vec<String>),
    Exists,
}

impl When {
    pub fn parse(conditions: &[contract::Condition]) -> Result<When, String> {
        conditions.iter().map(Condition::parse).collect::<Result<_, _>>().map(When)
    }

    /// Whether the hook is asked about this row.
    pub fn holds(&self, row: &Row) -> bool {
        self.0.iter().all(|condition| condition.holds(row))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Condition {
    fn parse(condition: &contract::Condition) -> Result<Condition, String> {
        let field = Field::parse_read(&condition.field).map_err(|e| e.to_string())?;
        let values = condition.values.clone();
        let count = |wanted: bool, words: &str| if wanted { Ok(()) } else { Err(format!("`{}`: {words}", condition.field)) };
        let test = match condition.op {
            Op::Equals => {
                count(values.len() == 1, "`equals` takes one value; use `any-of` for several")?;
                Test::AnyOf(values)
            }
            Op::NotEquals => {
                count(!values.is_empty(), "`not-equals` takes a value")?;
                Test::NoneOf(values)
            }
            Op::AnyOf => {
                count(!values.is_empty(), "`any-of` takes at least one value")?;
                Test::AnyOf(values)
            }
            Op::Prefix => {
                count(!values.is_empty(), "`prefix` takes a value")?;
                Test::Prefix(values)
            }
            Op::Contains => {
                count(!values.is_empty(), "`contains` takes a value")?;
                Test::Contains(values)
            }
            Op::Exists => {
                count(values.is_empty(), "`exists` takes no value")?;
                Test::Exists
            }
        };
        Ok(Condition { field, test })
    }

    fn holds(&self, row: &Row) -> bool {
        let text = self.field.text(row);
        let Some(text) = text else { return matches!(self.test, Test::NoneOf(_)) };
        match &self.test {
            Test::AnyOf(values) => values.iter().any(|v| *v == text),
            Test::NoneOf(values) => values.iter().all(|v| *v != text),
            Test::Prefix(values) => values.iter().any(|v| text.starts_with(v.as_str())),
            Test::Contains(values) => values.iter().any(|v| text.contains(v.as_str())),
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
