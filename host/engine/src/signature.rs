//! Types of functions in words, so that what a module has can be held against what the host has and both can be shown.

use std::collections::HashMap;
use wasmparser::component_types::{ComponentDefinedType, ComponentFuncTypeId, ComponentValType, ResourceId};
use wasmparser::types::Types;

/// How a resource is written beside functions.
pub(crate) const RESOURCE: &str = "resource";

/// Longest signature, bytes, longer than any of ours; types that are built to be long in words end here.
const BYTES_MAX: usize = 2_000;
/// Of a signature, what anyone reads, and of it what is before the first difference.
const SHOWN_BYTES_MAX: usize = 200;
const ALIKE_BYTES_MAX: usize = 60;
/// Longest name.
const NAME_CHARS_MAX: usize = 120;

/// Writes signatures. Resources have the name under which they were imported first.
pub(crate) struct Signatures<'a> {
    types: &'a Types,
    resources: HashMap<ResourceId, String>,
    out: String,
}

impl<'a> Signatures<'a> {
    /// Of these types.
    pub fn of(types: &'a Types) -> Signatures<'a> {
        Signatures { types, resources: HashMap::new(), out: String::new() }
    }

    /// Names a resource; `false` if it has a name.
    pub fn name(&mut self, resource: ResourceId, name: &str) -> bool {
        let is_new = !self.resources.contains_key(&resource);
        if is_new {
            self.resources.insert(resource, shown(name));
        }
        is_new
    }

    /// `(string, list<u8>) -> u32`: without the names of parameters, which bind nobody.
    pub fn function(&mut self, function: ComponentFuncTypeId) -> String {
        let types = self.types;
        let function = &types[function];
        self.out.clear();
        if function.async_ {
            self.out.push_str("async ");
        }
        self.out.push('(');
        self.list(function.params.iter().map(|(_, ty)| ty));
        self.out.push(')');
        if let Some(result) = &function.result {
            self.out.push_str(" -> ");
            self.value(result);
        }
        if self.is_full() {
            self.out.push('…');
        }
        std::mem::take(&mut self.out)
    }

    /// Nothing is followed any further: a type may be larger in words than in bytes by any factor.
    fn is_full(&self) -> bool {
        self.out.len() > BYTES_MAX
    }

    fn list<'b>(&mut self, all: impl Iterator<Item = &'b ComponentValType>) {
        for (i, ty) in all.enumerate() {
            if self.is_full() {
                return;
            }
            self.out.push_str(if i == 0 { "" } else { ", " });
            self.value(ty);
        }
    }

    fn of_one(&mut self, name: &str, ty: &ComponentValType) {
        self.out.push_str(name);
        self.out.push('<');
        self.value(ty);
        self.out.push('>');
    }

    /// `record { a: u32, b: string }`
    fn named<'b>(&mut self, what: &str, all: impl Iterator<Item = (&'b str, Option<&'b ComponentValType>)>, before: &str, behind: &str) {
        self.out.push_str(what);
        self.out.push_str(" {");
        for (i, (name, ty)) in all.enumerate() {
            if self.is_full() {
                return;
            }
            self.out.push_str(if i == 0 { " " } else { ", " });
            self.out.push_str(&shown(name));
            if let Some(ty) = ty {
                self.out.push_str(before);
                self.value(ty);
                self.out.push_str(behind);
            }
        }
        self.out.push_str(" }");
    }

    fn value(&mut self, ty: &ComponentValType) {
        use ComponentDefinedType as Defined;
        if self.is_full() {
            return;
        }
        let types = self.types;
        let defined = match ty {
            ComponentValType::Primitive(primitive) => return self.out.push_str(&primitive.to_string()),
            ComponentValType::Type(id) => &types[*id],
        };
        match defined {
            Defined::Primitive(primitive) => self.out.push_str(&primitive.to_string()),
            Defined::Record(record) => self.named("record", record.fields.iter().map(|(name, ty)| (name.as_str(), Some(ty))), ": ", ""),
            Defined::Variant(variant) => self.named("variant", variant.cases.iter().map(|(name, case)| (name.as_str(), case.ty.as_ref())), "(", ")"),
            Defined::Enum(names) => self.named("enum", names.iter().map(|name| (name.as_str(), None)), "", ""),
            Defined::Flags(names) => self.named("flags", names.iter().map(|name| (name.as_str(), None)), "", ""),
            Defined::List { element, .. } => self.of_one("list", element),
            Defined::Option { ty, .. } => self.of_one("option", ty),
            Defined::Tuple(tuple) => {
                self.out.push_str("tuple<");
                self.list(tuple.types.iter());
                self.out.push('>');
            }
            Defined::Result { ok: None, err: None, .. } => self.out.push_str("result"),
            Defined::Result { ok, err, .. } => {
                self.out.push_str("result<");
                match ok {
                    Some(ok) => self.value(ok),
                    None => self.out.push('_'),
                }
                if let Some(err) = err {
                    self.out.push_str(", ");
                    self.value(err);
                }
                self.out.push('>');
            }
            Defined::Own(resource) => self.resource(resource.resource()),
            Defined::Borrow(resource) => {
                self.out.push_str("borrow<");
                self.resource(resource.resource());
                self.out.push('>');
            }
            Defined::Map { .. } => self.out.push_str("map"),
            Defined::FixedLengthList { .. } => self.out.push_str("list of fixed length"),
            Defined::Future { .. } => self.out.push_str("future"),
            Defined::Stream { .. } => self.out.push_str("stream"),
        }
    }

    fn resource(&mut self, resource: ResourceId) {
        let name = self.resources.get(&resource).map_or(RESOURCE, String::as_str);
        self.out.push_str(name);
    }
}

/// Two signatures, of long ones the part where they begin to differ.
pub(crate) fn where_they_differ(found: &str, wanted: &str) -> (String, String) {
    let alike = found.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
    let from = if found.len().max(wanted.len()) <= SHOWN_BYTES_MAX { 0 } else { alike.saturating_sub(ALIKE_BYTES_MAX) };
    let part = |whole: &str| {
        // Of a name, only as a whole: it begins behind a space or a bracket.
        let from = whole[..whole.floor_char_boundary(from)].rfind([' ', '(', '<']).map_or(0, |at| at + 1);
        let to = whole.floor_char_boundary(from + SHOWN_BYTES_MAX);
        let (before, behind) = (if from == 0 { "" } else { "…" }, if to == whole.len() { "" } else { "…" });
        format!("{before}{}{behind}", &whole[from..to])
    };
    (part(found), part(wanted))
}

/// A name that a stranger chose, no longer than anyone reads.
pub(crate) fn shown(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::CONTRACTS;

    #[test]
    fn long_signatures_are_shown_where_they_begin_to_differ() {
        assert_eq!(where_they_differ("(string)", "() -> u64"), ("(string)".to_owned(), "() -> u64".to_owned()));
        let wanted = CONTRACTS[0].hooks.iter().map(|export| export.function.1).max_by_key(|ty| ty.len()).expect("a hook");
        for (ours, theirs) in [("removed-tags", "removed-täge"), ("u32", "ü"), ("message: string }", "message: string"), ("(", "async (")] {
            let (found, has) = where_they_differ(&wanted.replacen(ours, theirs, 1), wanted);
            assert!(found.contains(theirs) && has.contains(ours), "{found} and {has}");
            assert!(found.len() + has.len() < 2 * (SHOWN_BYTES_MAX + 16), "{found} and {has}");
            let words = |shown: &str| shown.trim_matches('…').split([' ', '(', '<']).next().map(str::to_owned);
            assert!(wanted.contains(&words(&has).unwrap_or_default()), "it begins with a whole name: {has}");
        }
    }

    #[test]
    fn no_signature_of_ours_is_cut() {
        let ours = CONTRACTS.iter().flat_map(|contract| contract.lifecycle.iter().chain(contract.hooks.iter().map(|export| &export.function)));
        let longest = ours.map(|(_, ty)| ty.len()).max().unwrap_or(0);
        assert!((SHOWN_BYTES_MAX..BYTES_MAX).contains(&longest), "{longest}");
    }
}
