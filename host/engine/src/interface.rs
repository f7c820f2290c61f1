//! Walks what a component imports and exports, and words what does not fit. wasmtime's own errors name neither the wanted
//! version nor what to do, and its linker matches versions in both directions.

use crate::options::{Grant, RuleOptions};
use crate::refusal::Refusal;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// The contract version of this host.
pub const WIT_VERSION: &str = "0.1.0";
const PACKAGE: &str = "alertmill:rules";

/// A hook that a module may export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Raw payload to events.
    Normalize,
    /// Changes to events.
    EnrichEvent,
    /// Keys of events.
    Dedupe,
    /// Changes to new alerts.
    EnrichAlert,
}

impl Hook {
    pub(crate) const ALL: [Hook; 4] = [Hook::Normalize, Hook::EnrichEvent, Hook::Dedupe, Hook::EnrichAlert];

    /// Its name in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Normalize => "normalize",
            Hook::EnrichEvent => "enrich-event",
            Hook::Dedupe => "dedupe",
            Hook::EnrichAlert => "enrich-alert",
        }
    }

    pub(crate) const fn interface(self) -> &'static str {
        match self {
            Hook::Normalize => "normalize-rule",
            Hook::EnrichEvent => "enrich-rule",
            Hook::Dedupe => "dedupe-rule",
            Hook::EnrichAlert => "alert-rule",
        }
    }

    pub(crate) const fn function(self) -> &'static str {
        match self {
            Hook::Normalize => "normalize",
            Hook::EnrichEvent => "enrich",
            Hook::Dedupe => "dedupe",
            Hook::EnrichAlert => "enrich-alerts",
        }
    }
}

/// What a component imports and exports, all of it allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interface {
    /// Full names of all imports.
    pub imports: Vec<String>,
    /// Full names of all exports.
    pub exports: Vec<String>,
    /// Imports that need a grant.
    pub needs: Vec<(Grant, String)>,
    /// Full name of the lifecycle export.
    pub lifecycle: String,
    /// Hooks with the full name of their export.
    pub hooks: Vec<(Hook, String)>,
}

impl Interface {
    /// Reads and judges a component's interface; grants are judged apart, by [`Interface::check_grants`].
    pub fn of(component: &Component) -> Result<Interface, Refusal> {
        let engine = component.engine();
        let ty = component.component_type();
        let mut interface = Interface::default();
        for (name, item) in ty.imports(engine) {
            interface.imports.push(name.to_owned());
            if matches!(item.ty, ComponentItem::Type(_)) {
                continue;
            }
            match own_name(name)? {
                Some("types") => {}
                Some("log") => interface.needs.push((Grant::Log, name.to_owned())),
                Some("tables") => interface.needs.push((Grant::Tables, name.to_owned())),
                _ => return Err(Refusal::ImportRefused { import: name.to_owned(), hint: import_hint(name).to_owned() }),
            }
        }
        let mut lifecycle = None;
        for (name, item) in ty.exports(engine) {
            interface.exports.push(name.to_owned());
            if !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
                continue;
            }
            let Some(short) = own_name(name)? else { continue };
            if short == "lifecycle" {
                lifecycle = Some(name.to_owned());
            }
            if let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.interface() == short) {
                interface.hooks.push((hook, name.to_owned()));
            }
        }
        interface.lifecycle = lifecycle.ok_or_else(|| missing(&format!("{PACKAGE}/lifecycle@{WIT_VERSION}"), &interface.exports))?;
        if interface.hooks.is_empty() {
            let all: Vec<String> = Hook::ALL.iter().map(|hook| format!("{PACKAGE}/{}@{WIT_VERSION}", hook.interface())).collect();
            return Err(missing(&format!("a hook, one of {}", all.join(", ")), &interface.exports));
        }
        interface.hooks.sort();
        Ok(interface)
    }

    /// Refuses the first import that the operator has not granted.
    pub fn check_grants(&self, options: &RuleOptions) -> Result<(), Refusal> {
        match self.needs.iter().find(|(grant, _)| !options.grants(*grant)) {
            None => Ok(()),
            Some((grant, import)) => Err(Refusal::GrantMissing { import: import.clone(), grant: grant.name() }),
        }
    }
}

/// The interface's short name if it is of our package and of a version that we offer; `None` if it is not of our package.
fn own_name(name: &str) -> Result<Option<&str>, Refusal> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let Some(short) = path.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else { return Ok(None) };
    if version.strip_prefix("0.1.").is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit())) {
        return Ok(Some(short));
    }
    let found = if version.is_empty() { "none" } else { version };
    Err(Refusal::WitVersion { name: name.to_owned(), found: found.to_owned() })
}

fn missing(what: &str, exports: &[String]) -> Refusal {
    let has = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
    Refusal::ExportMissing(format!("the module does not export {what}; it exports {has}. Is it a rule of this host?"))
}

fn import_hint(name: &str) -> &'static str {
    if name.starts_with("wasi:") {
        "; rules have no clock, files, network or randomness. Build for wasm32-unknown-unknown with the rule SDK"
    } else if name.starts_with(PACKAGE) {
        "; this host offers `log` and `tables`"
    } else {
        "; they may import alertmill:rules/log and alertmill:rules/tables only"
    }
}
