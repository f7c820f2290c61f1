//! One warm instance: a store with its module, called once a batch. After any failed call it is dropped, never reused.

use crate::contract::{BatchRef, DedupeFunc, DedupeKey, DescribeFunc, EnrichFunc, InitFunc, Manifest, NormalizeFunc, Normalized, Output, PayloadRef};
use crate::failure::{CallFailure, FailureKind};
use crate::host::Host;
use crate::interface::{Hook, Interface};
use crate::limits::Limits;
use crate::runtime::Runtime;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc};

/// Where a component's functions are; found once, when it is loaded.
#[derive(Clone)]
pub(crate) struct Exports {
    describe: ComponentExportIndex,
    init: ComponentExportIndex,
    normalize: Option<ComponentExportIndex>,
    enrich: Option<ComponentExportIndex>,
    dedupe: Option<ComponentExportIndex>,
    enrich_alerts: Option<ComponentExportIndex>,
}

impl Exports {
    /// `Err` names the function that is not there.
    pub fn find(component: &Component, interface: &Interface) -> Result<Exports, String> {
        let find = |export: &str, function: &str| {
            let instance = component.get_export_index(None, export);
            let index = instance.and_then(|instance| component.get_export_index(Some(&instance), function));
            index.ok_or_else(|| format!("{export}#{function}"))
        };
        let hook = |hook: Hook| match interface.hooks.iter().find(|(exported, _)| *exported == hook) {
            None => Ok(None),
            Some((_, export)) => find(export, hook.function()).map(Some),
        };
        Ok(Exports {
            describe: find(&interface.lifecycle, "describe")?,
            init: find(&interface.lifecycle, "init")?,
            normalize: hook(Hook::Normalize)?,
            enrich: hook(Hook::EnrichEvent)?,
            dedupe: hook(Hook::Dedupe)?,
            enrich_alerts: hook(Hook::EnrichAlert)?,
        })
    }
}

/// An instance and its functions.
pub(crate) struct Warm {
    runtime: Runtime,
    store: Store<Host>,
    describe: DescribeFunc,
    init: InitFunc,
    normalize: Option<NormalizeFunc>,
    enrich: Option<EnrichFunc>,
    dedupe: Option<DedupeFunc>,
    enrich_alerts: Option<EnrichFunc>,
}

/// Why no instance could be made.
pub(crate) enum NotStarted {
    /// Its start code failed.
    Failed(CallFailure),
    /// A function has another type than the contract's: which, and how.
    Type(&'static str, String),
}

impl Warm {
    /// Makes an instance and runs its start code, within `init_ms`. `init` is not called yet.
    pub fn start(runtime: &Runtime, pre: &InstancePre<Host>, exports: &Exports, limits: &Limits, host: Host) -> Result<Warm, NotStarted> {
        let mut store = Store::new(runtime.engine(), host);
        store.limiter(|host| &mut host.growth);
        store.set_hostcall_fuel(limits.output_bytes as usize);
        store.set_epoch_deadline(limits.init_ms + 1);
        let instance = {
            let _running = runtime.ticker().run();
            pre.instantiate(&mut store)
        };
        let instance = instance.map_err(|e| NotStarted::Failed(store.data_mut().failure_of(&e)))?;
        let functions = Functions { instance, store: &mut store };
        let (describe, init, normalize, enrich, dedupe, enrich_alerts) = functions.all(exports)?;
        Ok(Warm { runtime: runtime.clone(), store, describe, init, normalize, enrich, dedupe, enrich_alerts })
    }

    pub fn describe(&mut self, limit_ms: u64) -> Result<Manifest, CallFailure> {
        let (manifest,) = self.call(self.describe, (), limit_ms)?;
        Ok(manifest)
    }

    /// The inner error is the rule's own refusal of its config.
    pub fn init(&mut self, config: &str, limit_ms: u64) -> Result<Result<(), String>, CallFailure> {
        let init: TypedFunc<(&str,), (Result<(), String>,)> = self.init;
        let (answer,) = self.call(init, (config,), limit_ms)?;
        Ok(answer)
    }

    pub fn normalize(&mut self, payloads: &[PayloadRef<'_>], limit_ms: u64) -> Result<Normalized, CallFailure> {
        let normalize: TypedFunc<(&[PayloadRef<'_>],), (Normalized,)> = self.normalize.ok_or_else(|| without(Hook::Normalize))?;
        let (normalized,) = self.call(normalize, (payloads,), limit_ms)?;
        Ok(normalized)
    }

    pub fn enrich(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Output, CallFailure> {
        let enrich: TypedFunc<(BatchRef<'_>,), (Output,)> = self.enrich.ok_or_else(|| without(Hook::EnrichEvent))?;
        let (output,) = self.call(enrich, (batch,), limit_ms)?;
        Ok(output)
    }

    pub fn enrich_alerts(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Output, CallFailure> {
        let enrich: TypedFunc<(BatchRef<'_>,), (Output,)> = self.enrich_alerts.ok_or_else(|| without(Hook::EnrichAlert))?;
        let (output,) = self.call(enrich, (batch,), limit_ms)?;
        Ok(output)
    }

    pub fn dedupe(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Vec<DedupeKey>, CallFailure> {
        let dedupe: TypedFunc<(BatchRef<'_>,), (Vec<DedupeKey>,)> = self.dedupe.ok_or_else(|| without(Hook::Dedupe))?;
        let (keys,) = self.call(dedupe, (batch,), limit_ms)?;
        Ok(keys)
    }

    fn call<P, R>(&mut self, function: TypedFunc<P, R>, params: P, limit_ms: u64) -> Result<R, CallFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.store.data_mut().begin_call();
        // The running millisecond counts as none, so that a limit is never cut short.
        self.store.set_epoch_deadline(limit_ms + 1);
        let _running = self.runtime.ticker().run();
        function.call(&mut self.store, params).map_err(|e| self.store.data_mut().failure_of(&e))
    }
}

/// A plan is made only for hooks that the module exports, so that nobody sees this.
fn without(hook: Hook) -> CallFailure {
    CallFailure::new(FailureKind::Init, format!("it has no hook `{}`", hook.name()))
}

struct Functions<'a> {
    instance: Instance,
    store: &'a mut Store<Host>,
}

type AllFunctions = (DescribeFunc, InitFunc, Option<NormalizeFunc>, Option<EnrichFunc>, Option<DedupeFunc>, Option<EnrichFunc>);

impl Functions<'_> {
    fn all(mut self, exports: &Exports) -> Result<AllFunctions, NotStarted> {
        Ok((
            self.typed(&exports.describe, "lifecycle#describe")?,
            self.typed(&exports.init, "lifecycle#init")?,
            exports.normalize.as_ref().map(|at| self.typed(at, "normalize-rule#normalize")).transpose()?,
            exports.enrich.as_ref().map(|at| self.typed(at, "enrich-rule#enrich")).transpose()?,
            exports.dedupe.as_ref().map(|at| self.typed(at, "dedupe-rule#dedupe")).transpose()?,
            exports.enrich_alerts.as_ref().map(|at| self.typed(at, "alert-rule#enrich-alerts")).transpose()?,
        ))
    }

    fn typed<P, R>(&mut self, at: &ComponentExportIndex, name: &'static str) -> Result<TypedFunc<P, R>, NotStarted>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.instance.get_typed_func(&mut *self.store, at).map_err(|e| NotStarted::Type(name, format!("{e:#}")))
    }
}
