//! File and environment -> [`Config`], with every mistake found, not only the first.

use super::check;
use super::keys::SectionDoc;
use super::model::Config;
use super::problem::{Place, Problem, Problems, nearest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Variables that start so are configuration.
pub const ENVIRONMENT_PREFIX: &str = "ALERTMILL__";

/// Sections of services that nothing is shipped to yet, and what they are called. Any key of them is refused.
pub(super) const NOT_BUILT: [(&str, &str); 3] = [("elasticsearch", "Elasticsearch"), ("redis", "Redis"), ("mysql", "MySQL")];
pub(super) const NOT_BUILT_REMEDY: &str = "remove the key; events, alerts and rules are kept in the data folder";

/// Where each value was set.
pub(super) type Places = BTreeMap<String, Place>;

/// Reads a file (or nothing but defaults) with the overrides of `environment` on top.
pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Problems> {
    let text = match file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|e| Problems(vec![unreadable(path, &e)]))?,
    };
    from_text(&text, file.unwrap_or(Path::new("alertmill.toml")), environment)
}

/// As [`load`], with the file's text at hand.
pub fn from_text(text: &str, path: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Problems> {
    let mut loading = Loading { sections: Config::sections(), problems: Vec::new(), places: Places::new(), values: toml::Table::new() };
    loading.file(text, path);
    let mut variables: Vec<(String, String)> = environment.into_iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        loading.variable(&name, &value);
    }
    loading.finish()
}

fn unreadable(path: &Path, e: &std::io::Error) -> Problem {
    Problem {
        place: Place::File { path: path.to_owned(), line: None },
        key: String::new(),
        what: format!("the config file cannot be read: {e}"),
        remedy: "give the path of a readable TOML file with --config, or none to run on defaults".to_owned(),
    }
}

struct Loading {
    sections: Vec<SectionDoc>,
    problems: Vec<Problem>,
    places: Places,
    values: toml::Table,
}

impl Loading {
    fn file(&mut self, text: &str, path: &Path) {
        let lines = Lines::of(text);
        let place = |offset: usize| Place::File { path: path.to_owned(), line: Some(lines.line(offset)) };
        match DeTable::parse(text) {
            Ok(table) => self.table("", table.get_ref(), &place),
            Err(e) => self.problems.push(Problem {
                place: place(e.span().map_or(0, |span| span.start)),
                key: String::new(),
                what: format!("this is not TOML: {}", e.message().trim()),
                remedy: "correct the line".to_owned(),
            }),
        }
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, place: &impl Fn(usize) -> Place) {
        for (name, value) in table {
            let key = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            let at = place(name.span().start);
            if name.get_ref().contains('.') {
                // Everywhere else a point means the section inside.
                let (what, remedy) = (format!("{:?} has a `.`, which names cannot hold", name.get_ref()), "write letters, digits, `_` or `-`".to_owned());
                self.problems.push(Problem { place: at, key, what, remedy });
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) if self.leads_to_section(&key) => {
                    self.places.insert(key.clone(), at);
                    insert(&mut self.values, &key, None);
                    self.table(&key, inner, place);
                }
                other => self.leaf(&key, to_value(other), at),
            }
        }
    }

    fn leads_to_section(&self, key: &str) -> bool {
        self.sections.iter().any(|s| follows(s.path, key))
    }

    fn leaf(&mut self, key: &str, value: Result<toml::Value, String>, place: Place) {
        let checked = match (value, self.key(key)) {
            (Ok(value), Ok(doc)) => (doc.check)(value.clone()).map(|()| value).map_err(|what| (what, format!("the default is {}", doc.default))),
            (Err(what), _) => Err((what, "write another value".to_owned())),
            (_, Err(unknown)) => Err(unknown),
        };
        match checked {
            Ok(value) => {
                insert(&mut self.values, key, Some(value));
                self.places.insert(key.to_owned(), place);
            }
            Err((what, remedy)) => self.problems.push(Problem { place, key: key.to_owned(), what, remedy }),
        }
    }

    /// The documentation of a key, or what is wrong with its name.
    fn key(&self, key: &str) -> Result<&super::keys::KeyDoc, (String, String)> {
        let (section_path, name) = key.rsplit_once('.').unwrap_or(("", key));
        let Some(section) = self.sections.iter().find(|s| is_section(s.path, section_path)) else {
            return Err(self.unknown_section(key));
        };
        let not_built = NOT_BUILT.iter().find(|(path, _)| *path == section_path);
        if let Some((_, service)) = not_built.filter(|_| section.keys.iter().all(|k| k.name != name)) {
            return Err((format!("{service} is not built in this version"), NOT_BUILT_REMEDY.to_owned()));
        }
        section.keys.iter().find(|k| k.name == name).ok_or_else(|| {
            let remedy = match nearest(name, section.keys.iter().map(|k| k.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", list(section.keys.iter().map(|k| k.name))),
            };
            ("unknown key".to_owned(), remedy)
        })
    }

    fn unknown_section(&self, key: &str) -> (String, String) {
        if self.leads_to_section(key) {
            return ("a section is expected here".to_owned(), format!("write `[{key}]`, and its keys below it"));
        }
        if let Some(section) = self.sections.iter().find(|s| s.keys.iter().any(|k| k.name == key)) {
            return ("this key belongs to a section".to_owned(), format!("write it below `[{}]`", section.path));
        }
        let near = (1..=key.split('.').count()).rev().find_map(|n| {
            let start: Vec<&str> = key.split('.').take(n).collect();
            nearest(&start.join("."), self.sections.iter().map(|s| s.path))
        });
        let remedy = match near {
            Some(near) => format!("did you mean `[{near}]`?"),
            None => format!("known sections: {}", list(self.sections.iter().map(|s| s.path))),
        };
        ("unknown section".to_owned(), remedy)
    }

    fn variable(&mut self, name: &str, text: &str) {
        let key = name[ENVIRONMENT_PREFIX.len()..].to_lowercase().replace("__", ".");
        let place = Place::Environment(name.to_owned());
        let doc = match self.key(&key) {
            Ok(doc) => doc,
            Err((what, remedy)) => return self.problems.push(Problem { place, key, what, remedy }),
        };
        let as_toml = format!("v = {text}").parse::<toml::Table>().ok().filter(|t| t.len() == 1).and_then(|mut t| t.remove("v"));
        let as_text = toml::Value::String(text.to_owned());
        let as_list = toml::Value::Array(text.split(',').map(|t| toml::Value::String(t.trim().to_owned())).collect());
        let fitting = as_toml.iter().chain([&as_text, &as_list]).find(|value| (doc.check)((*value).clone()).is_ok()).cloned();
        let value = fitting.unwrap_or_else(|| as_toml.unwrap_or(as_text));
        self.leaf(&key, Ok(value), place);
    }

    fn finish(mut self) -> Result<Config, Problems> {
        let config = match Config::deserialize(toml::Value::Table(self.values)) {
            Ok(mut config) => {
                check::check(&mut config, &self.places, &mut self.problems);
                Some(config)
            }
            Err(e) => {
                self.problems.push(Problem {
                    place: Place::Default,
                    key: String::new(),
                    what: e.message().trim().to_owned(),
                    remedy: "correct the value".to_owned(),
                });
                None
            }
        };
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(Problems(self.problems)),
        }
    }
}

/// Whether `key` is `path` or one of the sections above it.
fn follows(path: &str, key: &str) -> bool {
    let mut parts = path.split('.');
    key.split('.').all(|part| parts.next().is_some_and(|p| p == part || p == "NAME"))
}

fn is_section(path: &str, key: &str) -> bool {
    follows(path, key) && path.split('.').count() == key.split('.').count()
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Puts a value at a dotted path; `None` only makes the sections.
fn insert(values: &mut toml::Table, key: &str, value: Option<toml::Value>) {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    match (rest, value) {
        (None, Some(value)) => {
            values.insert(first.to_owned(), value);
        }
        (rest, value) => {
            let inner = values.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let (Some(rest), toml::Value::Table(inner)) = (rest, inner) {
                insert(inner, rest, value);
            }
        }
    }
}

fn to_value(value: &DeValue<'_>) -> Result<toml::Value, String> {
    Ok(match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(n) => {
            let digits = n.as_str();
            toml::Value::Integer(i64::from_str_radix(digits, n.radix()).map_err(|_| format!("number {digits} is too large"))?)
        }
        DeValue::Float(n) => toml::Value::Float(n.as_str().parse().map_err(|_| format!("{} is no number", n.as_str()))?),
        DeValue::Boolean(b) => toml::Value::Boolean(*b),
        DeValue::Datetime(d) => toml::Value::Datetime(*d),
        DeValue::Array(items) => toml::Value::Array(items.iter().map(|v| to_value(v.get_ref())).collect::<Result<_, _>>()?),
        DeValue::Table(_) => toml::Value::Table(toml::Table::new()),
    })
}

struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Lines(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect())
    }
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}
