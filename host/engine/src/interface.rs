//! Walks what a component imports and exports, before it is compiled, and words what does not fit. wasmtime's own errors name
//! neither the wanted version nor what to do, and its linker matches versions in both directions.

use crate::contracts::{CONTRACTS, Contract, PACKAGE};
use crate::options::{Grant, RuleOptions};
use crate::refusal::Refusal;
use crate::signature::{RESOURCE, Signatures, shown, where_they_differ};
use crate::wasi;
pub use alertmill_core::verdict::Hook;
use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType, ComponentInstanceTypeId};
use wasmparser::types::Types;
use wasmparser::{Parser, Payload, ValidPayload, Validator};

/// A function with its type, as [`Signatures::function`] writes it, or a resource.
pub(crate) type Part = (&'static str, &'static str);
/// An interface with its parts.
pub(crate) type Offer = (&'static str, &'static [Part]);

/// The interface that every module exports.
const LIFECYCLE: &str = "lifecycle";

/// Refused imports that are named; of more, their number.
const NAMED_MAX: usize = 64;

/// What a component imports and exports, all of it allowed.
#[derive(Clone)]
pub(crate) struct Interface {
    /// The version that it was built for.
    pub contract: &'static Contract,
    /// Full names of all imports.
    pub imports: Vec<String>,
    /// Full names of all exports.
    pub exports: Vec<String>,
    /// Imports that need a grant.
    pub needs: Vec<(Grant, String)>,
    /// Imports of WASI that constants stand in for.
    pub stand_ins: Vec<String>,
    /// Full name of the lifecycle export.
    pub lifecycle: String,
    /// Hooks with the full name of their export.
    pub hooks: Vec<(Hook, String)>,
}

impl Interface {
    /// Reads and judges a component's interface; grants are judged apart, by [`Interface::check_grants`].
    pub fn of(bytes: &[u8]) -> Result<Interface, Refusal> {
        let outside = Outside::of(bytes).map_err(|e| Refusal::Compile(format!("{} (at byte {})", e.message(), e.offset())))?;
        let outside = outside.ok_or_else(|| Refusal::Compile("it has no end".to_owned()))?;
        let mut interface = Interface {
            contract: outside.contract(),
            imports: outside.imports.clone(),
            exports: outside.exports.clone(),
            needs: Vec::new(),
            stand_ins: Vec::new(),
            lifecycle: String::new(),
            hooks: Vec::new(),
        };
        interface.judge_imports(&outside)?;
        interface.judge_exports(&outside)?;
        Ok(interface)
    }

    fn judge_imports(&mut self, outside: &Outside) -> Result<(), Refusal> {
        let mut signatures = Signatures::of(&outside.types);
        let mut refused: Vec<String> = Vec::new();
        for name in &outside.imports {
            let instance = match outside.types.component_item_for_import(name).map(|item| item.ty) {
                Some(ComponentEntityType::Instance(instance)) => instance,
                // A name for a type; a resource would be something that the host has.
                Some(ComponentEntityType::Type { created, .. }) if !matches!(created, ComponentAnyTypeId::Resource(_)) => continue,
                _ => {
                    refused.push(name.clone());
                    continue;
                }
            };
            let offered = match own_name(self.contract, name)? {
                Some(short) => {
                    let grant = [Grant::Log, Grant::Tables].into_iter().find(|grant| grant.name() == short);
                    self.needs.extend(grant.map(|grant| (grant, name.clone())));
                    offered(self.contract.offered, short)
                }
                None => wasi_name(name).and_then(|wasi| {
                    self.stand_ins.push(name.clone());
                    offered(&wasi::OFFERED, wasi)
                }),
            };
            match offered {
                None => refused.push(name.clone()),
                Some(offered) => judge_import(name, instance, offered, outside, &mut signatures, &mut refused)?,
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(Refusal::ImportRefused { imports: listed(&refused), hint: import_hints(&refused) }) }
    }

    fn judge_exports(&mut self, outside: &Outside) -> Result<(), Refusal> {
        let mut signatures = Signatures::of(&outside.types);
        let mut lifecycle = None;
        for name in &outside.exports {
            let Some(ComponentEntityType::Instance(instance)) = outside.types.component_item_for_export(name).map(|item| item.ty) else { continue };
            let Some(short) = own_name(self.contract, name)? else { continue };
            let mut judge = |function: &Part| judge_export(name, instance, function, outside, &mut signatures);
            if short == LIFECYCLE {
                self.contract.lifecycle.iter().try_for_each(&mut judge)?;
                lifecycle = Some(name.to_owned());
            }
            if let Some(export) = self.contract.hooks.iter().find(|export| export.interface == short) {
                judge(&export.function)?;
                self.hooks.push((export.hook, name.to_owned()));
            }
        }
        let full = |short: &str| format!("{PACKAGE}/{short}@{}", self.contract.version);
        self.lifecycle = lifecycle.ok_or_else(|| missing(&full(LIFECYCLE), &self.exports))?;
        if self.hooks.is_empty() {
            let all: Vec<String> = self.contract.hooks.iter().map(|export| full(export.interface)).collect();
            return Err(missing(&format!("a hook, one of {}", all.join(", ")), &self.exports));
        }
        self.hooks.sort();
        Ok(())
    }

    /// Refuses the first import that the operator has not granted.
    pub fn check_grants(&self, options: &RuleOptions) -> Result<(), Refusal> {
        match self.needs.iter().find(|(grant, _)| !options.grants(*grant)) {
            None => Ok(()),
            Some((grant, import)) => Err(Refusal::GrantMissing { import: import.clone(), grant: grant.name() }),
        }
    }

    /// Grants that change something: those that it needs, and `log` for one that prints.
    pub fn useful_grants(&self) -> Vec<Grant> {
        let prints = |name: &String| matches!(wasi_name(name), Some("wasi:cli/stdout" | "wasi:cli/stderr"));
        let log = self.stand_ins.iter().any(prints).then_some(Grant::Log);
        let mut all: Vec<Grant> = self.needs.iter().map(|(grant, _)| *grant).chain(log).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// What a component has to do with the outside: names in their order, and all types.
struct Outside {
    imports: Vec<String>,
    exports: Vec<String>,
    types: Types,
}

impl Outside {
    /// The version whose lifecycle it exports; the newest one if it exports none.
    fn contract(&self) -> &'static Contract {
        let exported = |contract: &Contract| self.exports.iter().any(|name| own_name(contract, name).is_ok_and(|short| short == Some(LIFECYCLE)));
        CONTRACTS.into_iter().find(|contract| exported(contract)).unwrap_or(CONTRACTS[0])
    }

    /// Checks everything but the code of functions, which is the compiler's to check.
    fn of(bytes: &[u8]) -> Result<Option<Outside>, wasmparser::BinaryReaderError> {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let mut validator = Validator::new();
        let mut types = None;
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match &payload {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section.clone() {
                        imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section.clone() {
                        exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
            // The last end is that of the component itself.
            if let ValidPayload::End(end) = validator.payload(&payload)? {
                types = Some(end);
            }
        }
        Ok(types.map(|types| Outside { imports, exports, types }))
    }
}

/// Holds what is imported of one interface against what the host has of it.
fn judge_import(
    name: &str,
    instance: ComponentInstanceTypeId,
    offered: &[Part],
    outside: &Outside,
    signatures: &mut Signatures<'_>,
    refused: &mut Vec<String>,
) -> Result<(), Refusal> {
    for (part, item) in &outside.types[instance].exports {
        let known = offered.iter().find(|(known, _)| known == part).map(|(_, ty)| *ty);
        let full = || format!("{name}#{part}");
        match item.ty {
            ComponentEntityType::Func(function) => match known {
                None => refused.push(full()),
                Some(wanted) => {
                    let found = signatures.function(function);
                    if found != wanted {
                        let (found, wanted) = where_they_differ(&found, wanted);
                        return Err(Refusal::ImportType { name: shown(&full()), found, wanted });
                    }
                }
            },
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(resource), .. } => {
                // One that another interface has named is only used here.
                let is_new = signatures.name(resource.resource(), part);
                if is_new && known != Some(RESOURCE) {
                    refused.push(full());
                }
            }
            ComponentEntityType::Type { .. } => {}
            _ => refused.push(full()),
        }
    }
    Ok(())
}

/// Holds a function that the contract wants of an interface against what the module has in its place.
fn judge_export(
    name: &str,
    instance: ComponentInstanceTypeId,
    (function, wanted): &Part,
    outside: &Outside,
    signatures: &mut Signatures<'_>,
) -> Result<(), Refusal> {
    let full = format!("{name}#{function}");
    let Some(ComponentEntityType::Func(found)) = outside.types[instance].exports.get(*function).map(|item| item.ty) else {
        return Err(Refusal::ExportMissing(format!("the module does not export the function `{}`", shown(&full))));
    };
    let found = signatures.function(found);
    if found != *wanted {
        let (found, wanted) = where_they_differ(&found, wanted);
        return Err(Refusal::ExportType { name: shown(&full), found, wanted });
    }
    Ok(())
}

fn offered(all: &[Offer], name: &str) -> Option<&'static [Part]> {
    all.iter().find(|(known, _)| *known == name).map(|(_, parts)| *parts)
}

/// The interface's short name if it is of our package and of this version; `None` if it is not of our package.
fn own_name<'a>(contract: &Contract, name: &'a str) -> Result<Option<&'a str>, Refusal> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let Some(short) = path.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else { return Ok(None) };
    if is_patch_of(version, contract.patches_of) {
        return Ok(Some(short));
    }
    let found = if version.is_empty() { "none" } else { version };
    Err(Refusal::WitVersion { name: shown(name), found: shown(found) })
}

/// The interface without its version, if it is one of WASI's that has a stand-in.
fn wasi_name(name: &str) -> Option<&str> {
    let (path, version) = name.split_once('@')?;
    (is_patch_of(version, "0.2.") && offered(&wasi::OFFERED, path).is_some()).then_some(path)
}

fn is_patch_of(version: &str, minor: &str) -> bool {
    version.strip_prefix(minor).is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

fn missing(what: &str, exports: &[String]) -> Refusal {
    let has = if exports.is_empty() { "nothing".to_owned() } else { listed(exports) };
    Refusal::ExportMissing(format!("the module does not export {what}; it exports {has}. Is it a rule of this host?"))
}

/// Names that a stranger chose, as many as anyone reads.
fn listed(names: &[String]) -> String {
    let mut all: Vec<String> = names.iter().take(NAMED_MAX).map(|name| format!("`{}`", shown(name))).collect();
    if names.len() > NAMED_MAX {
        all.push(format!("{} more", names.len() - NAMED_MAX));
    }
    all.join(", ")
}

/// What to do about these, each advice once.
fn import_hints(names: &[String]) -> String {
    let mut hints: Vec<&str> = Vec::new();
    for name in names {
        let hint = if name.starts_with("wasi:filesystem/") {
            "rules have no files: what they look up comes from tables"
        } else if name.starts_with("wasi:sockets/") || name.starts_with("wasi:http/") {
            "rules have no network: what they look up comes from tables"
        } else if name.starts_with("wasi:") {
            "of WASI there is 0.2, and of that the command line, streams, clocks and random numbers, all of them constant"
        } else if name.starts_with(PACKAGE) {
            "of its own this host offers `log` and `tables`; a rule that wants more was built for another version"
        } else {
            "rules may import alertmill:rules/log and alertmill:rules/tables only"
        };
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    if names.iter().any(|name| name.starts_with("wasi:")) {
        let stubs = "where only the language's runtime asks, build for wasm32-unknown-unknown with the rule SDK, or with `--stub-wasi` \
                     (componentize-py, componentize-qjs)";
        hints.push(stubs);
    }
    hints.join("; ")
}

#[cfg(test)]
mod tests;
