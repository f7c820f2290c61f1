//! The schema that a module declares for its config, and whether a config fits it: before `init` sees one.
//!
//! A part of JSON Schema 2020-12: all that says which values are good without patterns or other documents. What is not
//! known here is refused with the module, so that nothing which looks like a check is none. `default` is an annotation:
//! `init` gets exactly what the operator wrote.

use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Of the schema's own text.
const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Of schemas within schemas, and of values within values with every reference followed.
const DEPTH_MAX: usize = 32;
/// What one config may cost.
const STEPS_MAX: u32 = 100_000;
/// What an operator is told at once.
const SLIPS_MAX: usize = 10;
/// Of a value, a key or a list of allowed values.
const SHOWN_CHARS_MAX: usize = 160;

/// Keywords that say nothing about which values are good.
const ANNOTATIONS: [&str; 12] = [
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

/// A schema that can be checked whole.
#[derive(Debug)]
pub(crate) struct Schema {
    /// `None`: the module takes no config.
    root: Option<Node>,
    /// By the reference that names them: `#`, `#/$defs/NAME`.
    definitions: BTreeMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    /// `true` or `false`.
    All(bool),
    Rules(Box<Rules>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// Least and most of a length or count.
#[derive(Debug, Default)]
struct Count {
    least: Option<u64>,
    most: Option<u64>,
}

#[derive(Debug, Default)]
struct Rules {
    types: Option<Vec<Type>>,
    allowed: Option<Vec<Value>>,
    refers: Option<String>,
    // Objects.
    properties: BTreeMap<String, Node>,
    required: Vec<String>,
    other_properties: Option<Node>,
    names: Option<Node>,
    members: Count,
    // Arrays.
    first_items: Vec<Node>,
    items: Option<Node>,
    entries: Count,
    unique: bool,
    // Texts.
    characters: Count,
    // Numbers.
    minimum: Option<Number>,
    maximum: Option<Number>,
    above: Option<Number>,
    below: Option<Number>,
    multiple_of: Option<u64>,
    // Schemas for the same value.
    all_of: Vec<Node>,
    any_of: Vec<Node>,
    one_of: Vec<Node>,
    not: Option<Node>,
    condition: Option<(Node, Node, Node)>,
}

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

    fn named(&self, reference: &str) -> Option<&Node> {
        if reference == "#" { self.root.as_ref() } else { self.definitions.get(reference) }
    }

    /// Whether a config fits; none at all is taken for an empty one. `Err` says where it does not and what would fit.
    pub fn check(&self, config: &Value) -> Result<(), String> {
        let none = Value::Object(Map::new());
        let config = if config.is_null() { &none } else { config };
        let Some(root) = &self.root else {
            return if *config == none { Ok(()) } else { Err("the module takes no config; take it out of the rule's options".to_owned()) };
        };
        let mut check = Check { schema: self, steps_left: STEPS_MAX };
        let mut slips = Vec::new();
        match check.node(root, config, &Path::Root, 0, &mut slips) {
            Err(Unchecked) => Err(format!("it cannot be checked in {STEPS_MAX} steps and {DEPTH_MAX} levels; make it smaller")),
            Ok(()) if slips.is_empty() => Ok(()),
            Ok(()) => Err(in_words(&slips)),
        }
    }
}

// Reading a schema.

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

// Checking a config.

/// Too deep or too long.
struct Unchecked;

/// Where in the config, from the inside out.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Entry(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Path::Root => out.push_str("config"),
            Path::Key(above, key) => {
                above.write(out);
                if is_plain(key) {
                    out.push('.');
                    out.push_str(key);
                } else {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "[{}]", shown(key));
                }
            }
            Path::Entry(above, index) => {
                above.write(out);
                let _ = write!(out, "[{index}]");
            }
        }
    }

    fn slip(&self, why: String) -> Slip {
        let mut path = String::new();
        self.write(&mut path);
        Slip { path, why }
    }
}

/// One thing that does not fit.
struct Slip {
    path: String,
    why: String,
}

struct Check<'a> {
    schema: &'a Schema,
    steps_left: u32,
}

impl Check<'_> {
    fn step(&mut self) -> Result<(), Unchecked> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(Unchecked)?;
        Ok(())
    }

    fn node(&mut self, node: &Node, value: &Value, path: &Path, depth: usize, slips: &mut Vec<Slip>) -> Result<(), Unchecked> {
        self.step()?;
        if depth > DEPTH_MAX {
            return Err(Unchecked);
        }
        let rules = match node {
            Node::All(true) => return Ok(()),
            Node::All(false) => {
                slips.push(path.slip("nothing is allowed here".to_owned()));
                return Ok(());
            }
            Node::Rules(rules) => rules,
        };
        if let Some(types) = &rules.types
            && !types.iter().any(|ty| is(value, *ty))
        {
            // What else is said of a value of another type would only repeat it.
            let names: Vec<&str> = types.iter().map(|ty| type_name(*ty)).collect();
            slips.push(path.slip(format!("is {}; allowed: {}", shown_value(value), names.join(" or "))));
            return Ok(());
        }
        if let Some(node) = rules.refers.as_ref().and_then(|name| self.schema.named(name)) {
            self.node(node, value, path, depth + 1, slips)?;
        }
        if let Some(allowed) = &rules.allowed {
            self.allowed(allowed, value, path, slips)?;
        }
        match value {
            Value::Object(object) => self.object(rules, object, path, depth, slips)?,
            Value::Array(array) => self.array(rules, array, path, depth, slips)?,
            Value::String(text) => count(&rules.characters, text.chars().count(), "character", path, slips),
            Value::Number(number) => bounds(rules, number, path, slips),
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(rules, value, path, depth, slips)
    }

    fn allowed(&mut self, allowed: &[Value], value: &Value, path: &Path, slips: &mut Vec<Slip>) -> Result<(), Unchecked> {
        for known in allowed {
            self.step()?;
            if same(known, value) {
                return Ok(());
            }
        }
        let all: Vec<String> = allowed.iter().map(shown_value).collect();
        slips.push(path.slip(format!("is {}; allowed: {}", shown_value(value), cut(&all.join(", ")))));
        Ok(())
    }

    fn object(&mut self, rules: &Rules, object: &Map<String, Value>, path: &Path, depth: usize, slips: &mut Vec<Slip>) -> Result<(), Unchecked> {
        for name in &rules.required {
            self.step()?;
            if !object.contains_key(name) {
                slips.push(Path::Key(path, name).slip("is missing".to_owned()));
            }
        }
        count(&rules.members, object.len(), "member", path, slips);
        for (key, value) in object {
            let here = Path::Key(path, key);
            if let Some(names) = &rules.names {
                let before = slips.len();
                self.node(names, &Value::String(key.clone()), &here, depth + 1, slips)?;
                slips[before..].iter_mut().for_each(|slip| slip.why.insert_str(0, "its name "));
            }
            match (rules.properties.get(key), &rules.other_properties) {
                (Some(node), _) => self.node(node, value, &here, depth + 1, slips)?,
                (None, Some(Node::All(false))) => {
                    self.step()?;
                    slips.push(here.slip(unknown_key(key, &rules.properties)));
                }
                (None, Some(node)) => self.node(node, value, &here, depth + 1, slips)?,
                (None, None) => self.step()?,
            }
        }
        Ok(())
    }

    fn array(&mut self, rules: &Rules, array: &[Value], path: &Path, depth: usize, slips: &mut Vec<Slip>) -> Result<(), Unchecked> {
        count(&rules.entries, array.len(), "entr", path, slips);
        for (i, value) in array.iter().enumerate() {
            let here = Path::Entry(path, i);
            match rules.first_items.get(i).or(rules.items.as_ref()) {
                Some(node) => self.node(node, value, &here, depth + 1, slips)?,
                None => self.step()?,
            }
            if rules.unique {
                for known in &array[..i] {
                    self.step()?;
                    if same(known, value) {
                        slips.push(here.slip(format!("is {}, which is there before; each may be there once", shown_value(value))));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn combined(&mut self, rules: &Rules, value: &Value, path: &Path, depth: usize, slips: &mut Vec<Slip>) -> Result<(), Unchecked> {
        for node in &rules.all_of {
            self.node(node, value, path, depth + 1, slips)?;
        }
        if !rules.any_of.is_empty() {
            let (fit, nearest) = self.of_several(&rules.any_of, value, path, depth)?;
            if fit == 0 {
                slips.extend(nearest);
            }
        }
        if !rules.one_of.is_empty() {
            let (fit, nearest) = self.of_several(&rules.one_of, value, path, depth)?;
            match fit {
                0 => slips.extend(nearest),
                1 => {}
                fit => slips.push(path.slip(format!("is {}, which fits {fit} forms where it may fit only one", shown_value(value)))),
            }
        }
        if let Some(not) = &rules.not
            && self.fits(not, value, path, depth)?
        {
            slips.push(path.slip(format!("is {}, which is ruled out", shown_value(value))));
        }
        if let Some((condition, then, otherwise)) = &rules.condition {
            let node = if self.fits(condition, value, path, depth)? { then } else { otherwise };
            self.node(node, value, path, depth + 1, slips)?;
        }
        Ok(())
    }

    fn fits(&mut self, node: &Node, value: &Value, path: &Path, depth: usize) -> Result<bool, Unchecked> {
        let mut slips = Vec::new();
        self.node(node, value, path, depth + 1, &mut slips)?;
        Ok(slips.is_empty())
    }

    /// How many of these a value fits, and what the one says that it is nearest to: the one that finds fault deepest within it.
    fn of_several(&mut self, nodes: &[Node], value: &Value, path: &Path, depth: usize) -> Result<(usize, Vec<Slip>), Unchecked> {
        let (mut fit, mut nearest): (usize, Option<Vec<Slip>>) = (0, None);
        let far = |slips: &[Slip]| (slips.first().map_or(0, |slip| slip.path.len()), std::cmp::Reverse(slips.len()));
        for node in nodes {
            let mut slips = Vec::new();
            self.node(node, value, path, depth + 1, &mut slips)?;
            if slips.is_empty() {
                fit += 1;
            } else if nearest.as_ref().is_none_or(|known| far(&slips) > far(known)) {
                nearest = Some(slips);
            }
        }
        Ok((fit, nearest.unwrap_or_default()))
    }
}

fn count(allowed: &Count, found: usize, what: &str, path: &Path, slips: &mut Vec<Slip>) {
    let said = |n: u64| match (what, n) {
        ("entr", 1) => "1 entry".to_owned(),
        ("entr", n) => format!("{n} entries"),
        (what, 1) => format!("1 {what}"),
        (what, n) => format!("{n} {what}s"),
    };
    let found = found as u64;
    if let Some(least) = allowed.least.filter(|least| found < *least) {
        slips.push(path.slip(format!("has {}; allowed: {} or more", said(found), said(least))));
    }
    if let Some(most) = allowed.most.filter(|most| found > *most) {
        slips.push(path.slip(format!("has {}; allowed: {} or fewer", said(found), said(most))));
    }
}

fn bounds(rules: &Rules, number: &Number, path: &Path, slips: &mut Vec<Slip>) {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let mut bound = |limit: &Option<Number>, good: &[std::cmp::Ordering], words: &str| {
        if let Some(limit) = limit
            && !good.contains(&order(number, limit))
        {
            slips.push(path.slip(format!("is {number}; allowed: {}", words.replace('N', &limit.to_string()))));
        }
    };
    bound(&rules.minimum, &[Equal, Greater], "N or more");
    bound(&rules.maximum, &[Equal, Less], "N or less");
    bound(&rules.above, &[Greater], "more than N");
    bound(&rules.below, &[Less], "less than N");
    if let Some(n) = rules.multiple_of
        && as_integer(number).is_none_or(|number| number % i128::from(n) != 0)
    {
        slips.push(path.slip(format!("is {number}; allowed: multiples of {n}")));
    }
}

fn is(value: &Value, ty: Type) -> bool {
    match (value, ty) {
        (Value::Null, Type::Null)
        | (Value::Bool(_), Type::Boolean)
        | (Value::Number(_), Type::Number)
        | (Value::String(_), Type::String)
        | (Value::Array(_), Type::Array)
        | (Value::Object(_), Type::Object) => true,
        (Value::Number(number), Type::Integer) => as_integer(number).is_some(),
        _ => false,
    }
}

const fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Null => "null",
        Type::Boolean => "true or false",
        Type::Integer => "a whole number",
        Type::Number => "a number",
        Type::String => "a text",
        Type::Array => "a list",
        Type::Object => "an object",
    }
}

/// `1.0` is the same number as `1`.
fn as_integer(number: &Number) -> Option<i128> {
    let whole = |n: f64| (n.fract() == 0.0 && n.abs() < 1e18).then_some(n as i128);
    number.as_i128().or_else(|| number.as_f64().and_then(whole))
}

fn order(a: &Number, b: &Number) -> std::cmp::Ordering {
    match (as_integer(a), as_integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order(a, b).is_eq(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b))),
        (a, b) => a == b,
    }
}

fn unknown_key(key: &str, known: &BTreeMap<String, Node>) -> String {
    if let Some(near) = crate::options::nearest(key, known.keys().map(String::as_str)) {
        return format!("is no known key; did you mean `{near}`?");
    }
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    if known.is_empty() { "is no known key; none is allowed here".to_owned() } else { format!("is no known key; known here: {}", cut(&known.join(", "))) }
}

fn in_words(slips: &[Slip]) -> String {
    let mut words: Vec<String> = slips.iter().take(SLIPS_MAX).map(|slip| format!("`{}` {}", cut(&slip.path), slip.why)).collect();
    if slips.len() > SLIPS_MAX {
        words.push(format!("and {} more", slips.len() - SLIPS_MAX));
    }
    words.join("; ")
}

/// Keys that need no quotes in a path.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.len() <= 64 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-$".contains(&b))
}

/// A hostile text, quoted.
fn shown(text: &str) -> String {
    format!("\"{}\"", cut(text).escape_debug())
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(all) => format!("a list of {}", all.len()),
        Value::Object(_) => "an object".to_owned(),
        value => value.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
