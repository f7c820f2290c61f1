//! One warm instance: a store with its module, called once a batch. After any failed call it is dropped, never reused.

use crate::contract::{BatchRef, DedupeFunc, DedupeKey, DescribeFunc, EnrichFunc, InitFunc, Manifest, Output};
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
    enrich: Option<ComponentExportIndex>,
    dedupe: Option<ComponentExportIndex>,
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
            enrich: hook(Hook::EnrichEvent)?,
            dedupe: hook(Hook::Dedupe)?,
        })
    }
}

/// An instance and its functions.
pub(crate) struct Warm {
    runtime: Runtime,
    store: Store<Host>,
    describe: DescribeFunc,
    init: InitFunc,
    enrich: Option<EnrichFunc>,
    dedupe: Option<DedupeFunc>,
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
        let (describe, init, enrich, dedupe) = functions.all(exports)?;
        Ok(Warm { runtime: runtime.clone(), store, describe, init, enrich, dedupe })
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

    pub fn enrich(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Output, CallFailure> {
        let Some(enrich) = self.enrich else { return Err(CallFailure::new(FailureKind::Init, "it has no enrich hook")) };
        let enrich: TypedFunc<(BatchRef<'_>,), (Output,)> = enrich;
        let (output,) = self.call(enrich, (batch,), limit_ms)?;
        Ok(output)
    }

    pub fn dedupe(&mut self, batch: BatchRef<'_>, limit_ms: u64) -> Result<Vec<DedupeKey>, CallFailure> {
        let Some(dedupe) = self.dedupe else { return Err(CallFailure::new(FailureKind::Init, "it has no dedupe hook")) };
        let dedupe: TypedFunc<(BatchRef<'_>,), (Vec<DedupeKey>,)> = dedupe;
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

struct Functions<'a> {
    instance: Instance,
    store: &'a mut Store<Host>,
}

type AllFunctions = (DescribeFunc, InitFunc, Option<EnrichFunc>, Option<DedupeFunc>);

impl Functions<'_> {
    fn all(mut self, exports: &Exports) -> Result<AllFunctions, NotStarted> {
        Ok((
            self.typed(&exports.describe, "lifecycle#describe")?,
            self.typed(&exports.init, "lifecycle#init")?,
            exports.enrich.as_ref().map(|at| self.typed(at, "enrich-rule#enrich")).transpose()?,
            exports.dedupe.as_ref().map(|at| self.typed(at, "dedupe-rule#dedupe")).transpose()?,
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
