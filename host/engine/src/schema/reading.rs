//! From a schema's text to what can be checked; whatever is not known here is refused with its place.

use super::checking::same;
use super::{DEPTH_MAX, Node, Rules, Schema, Type, is_plain, shown};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// Of the schema's own text.
pub(super) const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Keywords that say nothing about which values are good.
pub(super) const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
];

impl Schema {
    /// From what the manifest says; empty means that the module takes no config. `Err` says what this host cannot check.
    pub fn parse(text: &str) -> Result<Schema, String> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("it has {} bytes, at most {SCHEMA_BYTES_MAX}", text.len()));
        }
        if text.is_empty() {
            return Ok(Schema { root: None, definitions: BTreeMap::new() });
        }
        let value: Value = serde_json::from_str(text).map_err(|e| format!("it is no JSON: {e}"))?;
        let Value::Object(object) = &value else { return Err("it is JSON but no object".to_owned()) };
        let mut definitions = BTreeMap::new();
        for keyword in ["$defs", "definitions"] {
            let Some(known) = object.get(keyword) else { continue };
            for (name, schema) in members(known, &at("", keyword))? {
                definitions.insert(format!("#/{keyword}/{name}"), Node::parse(schema, &at(keyword, name), 1)?);
            }
        }
        let schema = Schema { root: Some(Node::parse(&value, "", 0)?), definitions };
        schema.nodes().try_for_each(|node| schema.knows_what_it_names(node))?;
        Ok(schema)
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.root.iter().chain(self.definitions.values())
    }

    fn knows_what_it_names(&self, node: &Node) -> Result<(), String> {
        let Node::Rules(rules) = node else { return Ok(()) };
        match &rules.refers {
            Some(name) if self.named(name).is_none() => return Err(format!("`$ref` names {}, which is not there", shown(name))),
            _ => {}
        }
        rules.within().try_for_each(|inner| self.knows_what_it_names(inner))
    }
}

impl Node {
    /// `path` is for words.
    fn parse(value: &Value, path: &str, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(format!("schemas are nested deeper than {DEPTH_MAX} levels"));
        }
        match value {
            Value::Bool(all) => Ok(Node::All(*all)),
            Value::Object(object) => Rules::parse(object, path, depth).map(|rules| Node::Rules(Box::new(rules))),
            _ => Err(wrong(path, "has to be a schema: an object, true or false")),
        }
    }
}

impl Rules {
    fn parse(object: &Map<String, Value>, path: &str, depth: usize) -> Result<Rules, String> {
        let mut rules = Rules::default();
        for (keyword, value) in object {
            let here = at(path, keyword);
            rules.take(keyword, value, &here, depth)?;
        }
        if let Some(condition) = object.get("if") {
            let part = |keyword: &str| object.get(keyword).map_or(Ok(Node::All(true)), |node| Node::parse(node, &at(path, keyword), depth + 1));
            rules.condition = Some((Node::parse(condition, &at(path, "if"), depth + 1)?, part("then")?, part("else")?));
        }
        Ok(rules)
    }

    fn take(&mut self, keyword: &str, value: &Value, here: &str, depth: usize) -> Result<(), String> {
        let node = |value: &Value| Node::parse(value, here, depth + 1);
        let nodes = || -> Result<Vec<Node>, String> { list(value, here)?.iter().map(node).collect() };
        match keyword {
            "type" => self.types = Some(types(value, here)?),
            "enum" => self.allow(list(value, here)?.clone()),
            "const" => self.allow(vec![value.clone()]),
            "$ref" => self.refers = Some(reference(value, here)?),
            "properties" => {
                for (name, schema) in members(value, here)? {
                    self.properties.insert(name.clone(), Node::parse(schema, &at(here, name), depth + 1)?);
                }
            }
            "required" => self.required = texts(value, here)?,
            "additionalProperties" => self.other_properties = Some(node(value)?),
            "propertyNames" => self.names = Some(node(value)?),
            "minProperties" => self.members.least = Some(whole(value, here)?),
            "maxProperties" => self.members.most = Some(whole(value, here)?),
            "prefixItems" => self.first_items = nodes()?,
            "items" if value.is_array() => return Err(wrong(here, "is a list; what each place holds is said by `prefixItems`")),
            "items" => self.items = Some(node(value)?),
            "minItems" => self.entries.least = Some(whole(value, here)?),
            "maxItems" => self.entries.most = Some(whole(value, here)?),
            "uniqueItems" => self.unique = value.as_bool().ok_or_else(|| wrong(here, "has to be true or false"))?,
            "minLength" => self.characters.least = Some(whole(value, here)?),
            "maxLength" => self.characters.most = Some(whole(value, here)?),
            "minimum" => self.minimum = Some(number(value, here)?),
            "maximum" => self.maximum = Some(number(value, here)?),
            "exclusiveMinimum" => self.above = Some(number(value, here)?),
            "exclusiveMaximum" => self.below = Some(number(value, here)?),
            "multipleOf" => {
                let wanted = || wrong(here, "has to be a whole number above 0; others are not checked by this host");
                self.multiple_of = Some(value.as_u64().filter(|n| *n > 0).ok_or_else(wanted)?);
            }
            "allOf" => self.all_of = nodes()?,
            "anyOf" => self.any_of = nodes()?,
            "oneOf" => self.one_of = nodes()?,
            "not" => self.not = Some(node(value)?),
            // Read together, by whoever called.
            "if" | "then" | "else" => {}
            "$defs" | "definitions" if depth == 0 => {}
            "$defs" | "definitions" => return Err(wrong(here, "has to stand at the top of the schema")),
            known if ANNOTATIONS.contains(&known) || known.starts_with("x-") => {}
            _ => return Err(format!("{} uses the keyword {}, which this host does not check", place(here, keyword), shown(keyword))),
        }
        Ok(())
    }

    /// `enum` and `const` may stand side by side; both have to hold.
    fn allow(&mut self, values: Vec<Value>) {
        self.allowed = Some(match self.allowed.take() {
            None => values,
            Some(known) => known.into_iter().filter(|value| values.iter().any(|other| same(value, other))).collect(),
        });
    }

    fn within(&self) -> impl Iterator<Item = &Node> {
        let several = self.properties.values().chain(&self.first_items).chain(&self.all_of).chain(&self.any_of).chain(&self.one_of);
        let single = [&self.other_properties, &self.names, &self.items, &self.not].into_iter().flatten();
        several.chain(single).chain(self.condition.iter().flat_map(|(a, b, c)| [a, b, c]))
    }
}

fn types(value: &Value, here: &str) -> Result<Vec<Type>, String> {
    let one = |value: &Value| match value.as_str() {
        Some("null") => Ok(Type::Null),
        Some("boolean") => Ok(Type::Boolean),
        Some("integer") => Ok(Type::Integer),
        Some("number") => Ok(Type::Number),
        Some("string") => Ok(Type::String),
        Some("array") => Ok(Type::Array),
        Some("object") => Ok(Type::Object),
        _ => Err(wrong(here, "has to be of null, boolean, integer, number, string, array, object")),
    };
    match value {
        Value::Array(all) if !all.is_empty() => all.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn reference(value: &Value, here: &str) -> Result<String, String> {
    let inside = |name: &&str| *name == "#" || ["#/$defs/", "#/definitions/"].iter().any(|defs| name.strip_prefix(defs).is_some_and(|n| !n.contains('/')));
    let wanted = || wrong(here, "can be `#` or `#/$defs/NAME` only; other documents are not fetched");
    value.as_str().filter(inside).map(|name| name.replace("~1", "/").replace("~0", "~")).ok_or_else(wanted)
}

fn members<'a>(value: &'a Value, here: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| wrong(here, "has to be an object"))
}

fn list<'a>(value: &'a Value, here: &str) -> Result<&'a Vec<Value>, String> {
    value.as_array().filter(|all| !all.is_empty()).ok_or_else(|| wrong(here, "has to be a list with an entry at least"))
}

fn texts(value: &Value, here: &str) -> Result<Vec<String>, String> {
    let all = value.as_array().and_then(|all| all.iter().map(|text| text.as_str().map(str::to_owned)).collect());
    all.ok_or_else(|| wrong(here, "has to be a list of texts"))
}

fn whole(value: &Value, here: &str) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| wrong(here, "has to be a whole number, 0 or more"))
}

fn number(value: &Value, here: &str) -> Result<Number, String> {
    value.as_number().cloned().ok_or_else(|| wrong(here, "has to be a number"))
}

fn wrong(here: &str, why: &str) -> String {
    format!("{} {why}", if here.is_empty() { "it" } else { here })
}

/// Where a keyword stands, for words.
fn place(here: &str, keyword: &str) -> String {
    let above = here.strip_suffix(keyword).unwrap_or(here).trim_end_matches('.');
    if above.is_empty() { "it".to_owned() } else { above.to_owned() }
}

fn at(path: &str, key: &str) -> String {
    let key = if is_plain(key) { key.to_owned() } else { shown(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
