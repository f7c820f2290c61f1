//! The versions of the rule contract that this host offers: a file for each, and a line in [`CONTRACTS`].
//!
//! The rest of the engine knows the newest version only, by the types that are named here. The file of an older version says how its
//! types become these. Which version a module has is found once, when it is loaded; a call does not ask again.

mod v0_1;

pub(crate) use v0_1::{
    BatchRef, Column, ColumnRef, Condition, DedupeKey, HookManifest, HookName, IntegerColumnRef, LogLevel, Manifest, NewEvent, Normalized, Op, Output, Patches,
    PayloadRef, RowError, TableColumn, TagRef, TextColumnRef,
};
#[cfg(test)]
pub(crate) use v0_1::{IntegerColumn, TextColumn};

use crate::host::Host;
use crate::instance::{Exports, NotStarted};
use crate::interface::{Hook, Offer, Part};
use wasmtime::Store;
use wasmtime::component::{Instance, Linker};

/// The package of every version.
pub(crate) const PACKAGE: &str = "alertmill:rules";

/// All of them, the newest first.
pub(crate) const CONTRACTS: [&Contract; 1] = [&v0_1::CONTRACT];

/// The version that the SDK of this host builds for.
pub const WIT_VERSION: &str = CONTRACTS[0].version;

/// One version.
pub(crate) struct Contract {
    /// As the WIT has it.
    pub version: &'static str,
    /// How the versions of modules begin that are built for it; what follows is the number of a patch.
    pub patches_of: &'static str,
    /// What the host offers of its own package, by short name.
    pub offered: &'static [Offer],
    /// The functions of the interface that every module exports.
    pub lifecycle: &'static [Part],
    /// The hooks that a module may export.
    pub hooks: &'static [HookExport],
    /// Adds what is offered.
    pub link: fn(&mut Linker<Host>) -> wasmtime::Result<()>,
    /// Finds the functions of an instance and checks their types.
    pub functions: FindFunctions,
}

type FindFunctions = fn(&Exports, Instance, &mut Store<Host>) -> Result<Box<dyn Functions>, NotStarted>;

/// Where a version has a hook.
pub(crate) struct HookExport {
    pub hook: Hook,
    pub interface: &'static str,
    pub function: Part,
}

impl Contract {
    /// Of a hook that the version has.
    pub fn hook(&self, hook: Hook) -> Option<&HookExport> {
        self.hooks.iter().find(|export| export.hook == hook)
    }
}

/// The functions of one instance. A hook that the module does not export answers an error; nobody plans a call of one.
pub(crate) trait Functions: Send {
    fn describe(&self, store: &mut Store<Host>) -> wasmtime::Result<Manifest>;
    /// The inner error is the rule's own refusal of its config.
    fn init(&self, store: &mut Store<Host>, config: &str) -> wasmtime::Result<Result<(), String>>;
    fn normalize(&self, store: &mut Store<Host>, payloads: &[PayloadRef<'_>]) -> wasmtime::Result<Normalized>;
    fn enrich(&self, store: &mut Store<Host>, batch: BatchRef<'_>) -> wasmtime::Result<Output>;
    fn dedupe(&self, store: &mut Store<Host>, batch: BatchRef<'_>) -> wasmtime::Result<Vec<DedupeKey>>;
    fn enrich_alerts(&self, store: &mut Store<Host>, batch: BatchRef<'_>) -> wasmtime::Result<Output>;
}

/// Adds what all versions offer.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    CONTRACTS.iter().try_for_each(|contract| (contract.link)(linker))
}
