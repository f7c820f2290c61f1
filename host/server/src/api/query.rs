//! Query strings, read strictly: a parameter that is not known is an error, so that a slip of a filter never shows too much.

use crate::config::nearest;
use crate::http::{Problem, ProblemCode};
use axum::http::Uri;

/// The parameters of a request.
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// 400 for one parameter, which the problem names as `?name`.
pub fn bad_parameter(name: &str, detail: impl Into<String>) -> Problem {
    ProblemCode::Parameter.problem(detail).at(format!("?{name}"))
}

impl Query {
    /// Reads the query string; only parameters of `known` may be there.
    pub fn read(uri: &Uri, known: &[&str]) -> Result<Query, Problem> {
        let text = uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Query { pairs }),
            Some((name, _)) => Err(unknown(name, known)),
        }
    }

    /// The only value of a parameter; empty counts as not given.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.pairs.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(bad_parameter(name, format!("`{name}` is given twice; give it once"))),
            (value, None) => Ok(value.filter(|v| !v.is_empty())),
        }
    }

    /// All values of a parameter that may be repeated or hold a comma list.
    pub fn many<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.pairs.iter().filter(move |(n, _)| n == name);
        values.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|v| !v.is_empty())
    }

    /// `limit`: 1 to 1000, 50 when it is not given.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.one("limit")? {
            None => Ok(50),
            Some(text) => match text.parse() {
                Ok(n @ 1..=1_000) => Ok(n),
                _ => Err(bad_parameter("limit", format!("{text:?} is no limit; write a number from 1 to 1000"))),
            },
        }
    }
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let list = known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
    let remedy = match (nearest(name, known.iter().copied()), known.is_empty()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, false) => format!("known here: {list}"),
        (None, true) => "this route takes none".to_owned(),
    };
    ProblemCode::UnknownParameter.problem(format!("unknown query parameter `{name}`; {remedy}")).at(format!("?{name}"))
}
