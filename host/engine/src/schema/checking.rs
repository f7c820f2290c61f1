//! Holds a config against a schema: each thing that does not fit with its place and what would.

use super::{Count, DEPTH_MAX, Node, Rules, Schema, Type, cut, is_plain, shown};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What one config may cost.
const STEPS_MAX: u32 = 100_000;
/// What an operator is told at once.
const SLIPS_MAX: usize = 10;

impl Schema {
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

pub(super) fn same(a: &Value, b: &Value) -> bool {
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

fn shown_value(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(all) => format!("a list of {}", all.len()),
        Value::Object(_) => "an object".to_owned(),
        value => value.to_string(),
    }
}
