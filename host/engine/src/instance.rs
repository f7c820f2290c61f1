//! One warm instance: a store with its module, called once a batch. After any failed call it is dropped, never reused.

use crate::contracts::{BatchRef, Contract, DedupeKey, Functions, Manifest, Normalized, Output, PayloadRef};
use crate::failure::{CallFailure, FailureKind};
use crate::host::Host;
use crate::interface::{Hook, Interface};
use crate::limits::Limits;
use crate::runtime::Runtime;
use crate::stats::{Began, Used};
use alertmill_core::value::Text;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc};

/// Where a component's functions are; found once, when it is loaded.
#[derive(Clone)]
pub(crate) struct Exports {
    contract: &'static Contract,
    describe: Export,
    init: Export,
    hooks: Vec<(Hook, Export)>,
}

/// A function: where it is, and its name for the case that its type is another.
#[derive(Clone)]
struct Export {
    at: ComponentExportIndex,
    name: String,
}

impl Exports {
    /// `Err` names the function that is not there.
    pub fn find(component: &Component, interface: &Interface) -> Result<Exports, String> {
        let find = |export: &str, function: &str| {
            let instance = component.get_export_index(None, export);
            let at = instance.and_then(|instance| component.get_export_index(Some(&instance), function));
            let name = format!("{}#{function}", short_name(export));
            at.map(|at| Export { at, name }).ok_or_else(|| format!("{export}#{function}"))
        };
        let contract = interface.contract;
        let hook = |(hook, export): &(Hook, String)| contract.hook(*hook).map(|known| Ok((*hook, find(export, known.function.0)?)));
        Ok(Exports {
            contract,
            describe: find(&interface.lifecycle, "describe")?,
            init: find(&interface.lifecycle, "init")?,
            hooks: interface.hooks.iter().filter_map(hook).collect::<Result<_, String>>()?,
        })
    }

    pub fn describe<P: Params, R: Results>(&self, instance: Instance, store: &mut Store<Host>) -> Result<TypedFunc<P, R>, NotStarted> {
        self.describe.typed(instance, store)
    }

    pub fn init<P: Params, R: Results>(&self, instance: Instance, store: &mut Store<Host>) -> Result<TypedFunc<P, R>, NotStarted> {
        self.init.typed(instance, store)
    }

    /// `None` if the module does not have it.
    pub fn hook<P: Params, R: Results>(&self, hook: Hook, instance: Instance, store: &mut Store<Host>) -> Result<Option<TypedFunc<P, R>>, NotStarted> {
        self.hooks.iter().find(|(known, _)| *known == hook).map(|(_, export)| export.typed(instance, store)).transpose()
    }
}

impl Export {
    fn typed<P: Params, R: Results>(&self, instance: Instance, store: &mut Store<Host>) -> Result<TypedFunc<P, R>, NotStarted> {
        instance.get_typed_func(store, self.at).map_err(|e| NotStarted::Type(self.name.clone(), format!("{e:#}")))
    }
}

/// What functions take.
pub(crate) trait Params: ComponentNamedList + Lower {}
impl<P: ComponentNamedList + Lower> Params for P {}

/// What functions answer.
pub(crate) trait Results: ComponentNamedList + Lift {}
impl<R: ComponentNamedList + Lift> Results for R {}

/// `enrich-rule` of `alertmill:rules/enrich-rule@0.1.0`.
fn short_name(interface: &str) -> &str {
    let path = interface.split_once('@').map_or(interface, |(path, _)| path);
    path.rsplit_once('/').map_or(path, |(_, short)| short)
}

/// An instance and its functions.
pub(crate) struct Warm {
    runtime: Runtime,
    store: Store<Host>,
    /// Whose rows it gets: those of its first batch.
    tenant: Option<Text>,
    /// Of hooks.
    calls: u64,
    functions: Box<dyn Functions>,
}

/// Why no instance could be made.
pub(crate) enum NotStarted {
    /// Its start code failed.
    Failed(CallFailure),
    /// A function has another type than the contract's: which, and how.
    Type(String, String),
}

impl Warm {
    /// Makes an instance and runs its start code, within `init_ms`. `init` is not called yet.
    pub fn start(runtime: &Runtime, pre: &InstancePre<Host>, exports: &Exports, limits: &Limits, host: Host) -> Result<Warm, NotStarted> {
        let mut store = Store::new(runtime.engine(), host);
        store.limiter(|host| &mut host.growth);
        store.set_hostcall_fuel(limits.output_bytes as usize);
        let instance = {
            let running = runtime.ticker().run();
            store.set_epoch_deadline(running.ticks_until(limits.init_ms));
            pre.instantiate(&mut store)
        };
        let instance = instance.map_err(|e| NotStarted::Failed(store.data_mut().failure_of(&e)))?;
        let functions = (exports.contract.functions)(exports, instance, &mut store)?;
        Ok(Warm { runtime: runtime.clone(), store, tenant: None, calls: 0, functions })
    }

    pub fn describe(&mut self, limit_ms: u64) -> Result<Manifest, CallFailure> {
        self.call(limit_ms, |functions, store| functions.describe(store))
    }

    /// The inner error is the rule's own refusal of its config.
    pub fn init(&mut self, config: &str, limit_ms: u64) -> Result<Result<(), String>, CallFailure> {
        self.call(limit_ms, |functions, store| functions.init(store, config))
    }

    pub fn normalize(&mut self, payloads: &[PayloadRef<'_>], limit_ms: u64) -> Result<Normalized, CallFailure> {
        self.call(limit_ms, |functions, store| functions.normalize(store, payloads))
    }

    pub fn enrich(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Output, CallFailure> {
        self.call(limit_ms, |functions, store| functions.enrich(store, batch))
    }

    pub fn enrich_alerts(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Output, CallFailure> {
        self.call(limit_ms, |functions, store| functions.enrich_alerts(store, batch))
    }

    pub fn dedupe(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Vec<DedupeKey>, CallFailure> {
        self.call(limit_ms, |functions, store| functions.dedupe(store, batch))
    }

    /// Holds it to one tenant for good, that of its first batch. Whoever chooses rows and instance sees to that already; a mistake
    /// there is an error of the call and no leak, in every build.
    pub fn serve<'a>(&mut self, mut tenants: impl Iterator<Item = &'a Text>) -> Result<(), CallFailure> {
        let Some(first) = tenants.next() else { return Ok(()) };
        let own = &*self.tenant.get_or_insert_with(|| first.clone());
        match first == own && tenants.all(|tenant| tenant == own) {
            true => Ok(()),
            false => Err(CallFailure::new(FailureKind::Lower, "rows of two tenants were about to meet in one instance; they were not handed over")),
        }
    }

    /// `init` is through: what it has now is what it needs, and what comes on top has grown.
    pub fn ready(&mut self) {
        self.calls = 0;
        self.store.data_mut().growth.ready();
    }

    /// What the last call used.
    pub fn used(&self) -> Used {
        self.store.data().used()
    }

    /// A memory was refused during the last call, which went on without it.
    pub fn take_memory_denied(&mut self) -> bool {
        self.store.data_mut().growth.take_memory_denied()
    }

    /// Why the next call is to have another instance, if it is: a module that never gives anything back, or that
    /// remembers what it should not, starts anew from time to time.
    pub fn worn_out(&self, limits: &Limits) -> Option<Began> {
        let reached = |value: u64, limit: u64| limit > 0 && value >= limit;
        if reached(self.calls, limits.recycle_calls) {
            return Some(Began::Calls);
        }
        reached(self.store.data().growth.since_ready(), limits.recycle_growth_bytes).then_some(Began::Growth)
    }

    fn call<R>(&mut self, limit_ms: u64, call: impl FnOnce(&dyn Functions, &mut Store<Host>) -> wasmtime::Result<R>) -> Result<R, CallFailure> {
        self.calls += 1;
        self.store.data_mut().begin_call();
        let running = self.runtime.ticker().run();
        self.store.set_epoch_deadline(running.ticks_until(limit_ms));
        call(&*self.functions, &mut self.store).map_err(|e| self.store.data_mut().failure_of(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, RuleOptions};

    #[test]
    fn m28_an_instance_that_has_served_a_tenant_refuses_every_other() {
        let says = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/dist/test/says.wasm")).expect("a committed module");
        let engine = Engine::new(|_: &str| Err("nothing is kept".to_owned())).expect("an engine");
        let rule = engine.load(&says, None, &RuleOptions::default(), &[]).expect("a good module").into_rule();
        let mut warm = rule.start(Began::Start).unwrap_or_else(|failure| panic!("{failure:?}"));
        let (a, b) = (Text::from("a"), Text::from("b"));
        let serves = |warm: &mut Warm, tenants: &[&Text]| warm.serve(tenants.iter().copied()).map_err(|failure| failure.kind);
        assert_eq!(serves(&mut warm, &[]), Ok(()), "it is bound by its first row, not before");
        assert_eq!(serves(&mut warm, &[&a, &a]), Ok(()));
        for tenants in [[&b, &b], [&a, &b], [&b, &a]] {
            assert_eq!(serves(&mut warm, &tenants), Err(FailureKind::Lower));
        }
        assert_eq!(serves(&mut warm, &[&a]), Ok(()), "and is not bound anew by what it refused");
        let mut fresh = rule.start(Began::Start).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(serves(&mut fresh, &[&a, &b]), Err(FailureKind::Lower), "nor does a batch of two bind it");
    }
}
