//! A module that passed every check, ready to be run by any worker.

use crate::cache::Loader;
use crate::contracts::Manifest;
use crate::failure::{CallFailure, FailureKind};
use crate::host::{GrantedTables, Host};
use crate::instance::{Exports, NotStarted, Warm};
use crate::interface::Interface;
use crate::limits::{Limit, Limits};
use crate::manifest::{self, Plans, RuleInfo};
use crate::options::{Grant, RuleOptions};
use crate::prescan::prescan;
use crate::refusal::Refusal;
use crate::runtime::Runtime;
use crate::standing::Standing;
use crate::stats::Began;
use crate::tables::Granted;
use alertmill_core::value::Text;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::component::InstancePre;

/// A compiled component whose interface fits; the costly part of loading, the same for every config.
pub(crate) struct Compiled {
    runtime: Runtime,
    interface: Interface,
    pre: InstancePre<Host>,
    exports: Exports,
    pub digest: Text,
    size_bytes: u64,
    /// What its memories have at start.
    memory_wanted: u64,
    /// What it says of itself, once it has answered: the same at every look, so that it is asked once.
    manifest: Mutex<Option<Arc<Manifest>>>,
}

impl Compiled {
    /// Checks the bytes, whose digest it is, and compiles them.
    pub fn new(runtime: &Runtime, loader: &Loader, digest: Text, bytes: &[u8], memory_bytes: u64) -> Result<Compiled, Refusal> {
        let memory_wanted = prescan(bytes)?;
        check_memory(memory_wanted, memory_bytes)?;
        let interface = Interface::of(bytes)?;
        let component = loader.component(runtime, &digest, bytes)?;
        let exports = Exports::find(&component, &interface).map_err(|name| Refusal::ExportMissing(format!("the module does not export `{name}`")))?;
        let pre = runtime.linker().instantiate_pre(&component).map_err(|e| Refusal::InstantiateFailed(format!("{e:#}")))?;
        Ok(Compiled { runtime: runtime.clone(), interface, pre, exports, digest, size_bytes: bytes.len() as u64, memory_wanted, manifest: Mutex::default() })
    }

    /// What the module says it is, without config, grants or tables. A failure is not kept: the next one may have other limits.
    pub fn describe(&self, limits: &Limits) -> Result<Arc<Manifest>, Refusal> {
        // Held while it is asked: who comes second waits for the answer.
        let mut known = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manifest) = &*known {
            return Ok(manifest.clone());
        }
        let mut warm = self.start(limits, Host::new(limits, Arc::default(), None))?;
        let manifest = warm.describe(limits.init_ms).map_err(|failure| match failure.kind {
            FailureKind::Deadline => Refusal::InitTimeout { what: "describe", limit_ms: limits.init_ms },
            _ => Refusal::DescribeFailed(in_words(&failure)),
        })?;
        Ok(known.insert(Arc::new(manifest)).clone())
    }

    /// What the module is.
    pub fn info(&self, limits: &Limits) -> Result<(RuleInfo, manifest::Checked), Refusal> {
        let checked = manifest::check(&*self.describe(limits)?, &self.interface, limits.batch_rows)?;
        let info = RuleInfo {
            name: checked.name.clone(),
            version: checked.version.clone(),
            description: checked.description.clone(),
            digest: self.digest.clone(),
            size_bytes: self.size_bytes,
            imports: self.interface.imports.clone(),
            exports: self.interface.exports.clone(),
            grants: self.interface.needs.iter().map(|(grant, _)| grant.name()).collect(),
            stand_ins: self.interface.stand_ins.clone(),
            useful_grants: self.interface.useful_grants(),
            hooks: checked.hooks.clone(),
            tables: checked.tables.clone(),
            config_schema: checked.config_schema.clone(),
        };
        Ok((info, checked))
    }

    /// What the module is, with what the operator gives it: grants and config.
    pub fn fits(&self, options: &RuleOptions) -> Result<(RuleInfo, manifest::Checked), Refusal> {
        self.interface.check_grants(options)?;
        let (info, checked) = self.info(&options.limits)?;
        checked.schema.check(&options.config).map_err(Refusal::ConfigInvalid)?;
        Ok((info, checked))
    }

    fn start(&self, limits: &Limits, host: Host) -> Result<Warm, Refusal> {
        Warm::start(&self.runtime, &self.pre, &self.exports, limits, host).map_err(|e| match e {
            NotStarted::Type(name, why) => Refusal::InstantiateFailed(format!("`{name}`: {why}")),
            NotStarted::Failed(failure) => match failure.kind {
                FailureKind::Deadline => Refusal::InitTimeout { what: "its start code", limit_ms: limits.init_ms },
                FailureKind::Memory => Refusal::MemoryMinimum { wanted: limits.memory_bytes + 1, max: limits.memory_bytes },
                _ => Refusal::InstantiateFailed(in_words(&failure)),
            },
        })
    }
}

/// A rule ready to run: module, options, tables.
#[derive(Clone)]
pub(crate) struct Rule {
    compiled: Arc<Compiled>,
    pub info: RuleInfo,
    options: RuleOptions,
    config: String,
    tables: Arc<GrantedTables>,
    pub plans: Plans,
    pub standing: Arc<Standing>,
    /// `1.2.0@sha256:..`, as rows carry it.
    pub version_on_rows: Text,
}

impl Rule {
    /// Binds a module to options and tables and tries it: `describe`, the checks, then `init` in a scratch instance.
    pub fn bind(
        compiled: Arc<Compiled>,
        wanted_name: Option<&str>,
        options: RuleOptions,
        tables: &HashMap<Text, Granted>,
        standing: impl FnOnce(&RuleInfo) -> Arc<Standing>,
    ) -> Result<Rule, Refusal> {
        let rule = Rule::bind_untried(compiled, wanted_name, options, tables, standing)?;
        rule.try_init()?;
        Ok(rule)
    }

    /// The same without the try: for a module that ran before and may be bad by now.
    pub fn bind_untried(
        compiled: Arc<Compiled>,
        wanted_name: Option<&str>,
        options: RuleOptions,
        tables: &HashMap<Text, Granted>,
        standing: impl FnOnce(&RuleInfo) -> Arc<Standing>,
    ) -> Result<Rule, Refusal> {
        // A module that is compiled already may be wanted with less memory than when it was.
        check_memory(compiled.memory_wanted, options.limits.memory_bytes)?;
        let (info, checked) = compiled.fits(&options)?;
        if let Some(wanted) = wanted_name.filter(|wanted| *wanted != info.name) {
            return Err(Refusal::NameDiffers { wanted: wanted.to_owned(), found: info.name.to_string() });
        }
        let granted = |name: &String| match tables.get(name.as_str()) {
            None => Err(Refusal::TableMissing(name.clone())),
            Some(table) => Ok((name.clone(), table.clone())),
        };
        let granted: GrantedTables = info.tables.iter().map(granted).collect::<Result<_, _>>()?;
        Ok(Rule {
            version_on_rows: Text::from(format!("{}@sha256:{}", info.version, info.digest)),
            config: options.config_text(),
            tables: Arc::new(granted),
            plans: checked.plans,
            standing: standing(&info),
            compiled,
            info,
            options,
        })
    }

    fn try_init(&self) -> Result<(), Refusal> {
        let limits = self.limits();
        let mut warm = self.compiled.start(limits, self.host())?;
        match warm.init(&self.config, limits.init_ms) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Refusal::InitFailed(crate::log::one_line(&why))),
            Err(failure) if failure.kind == FailureKind::Deadline => Err(Refusal::InitTimeout { what: "init", limit_ms: limits.init_ms }),
            Err(failure) => Err(Refusal::InitTrap(in_words(&failure))),
        }
    }

    /// A ready instance for a worker, and why it is made.
    pub fn start(&self, why: Began) -> Result<Warm, CallFailure> {
        self.standing.stats.instance_made(why);
        let failed = |why: String| CallFailure::new(FailureKind::Init, why);
        let in_time = |failure: CallFailure, is_late: bool| if is_late { failure.at(Limit::InitMs) } else { failure };
        let mut warm = self
            .compiled
            .start(self.limits(), self.host())
            .map_err(|refusal| in_time(failed(refusal.to_string()), matches!(refusal, Refusal::InitTimeout { .. })))?;
        match warm.init(&self.config, self.limits().init_ms) {
            Ok(Ok(())) => {
                warm.ready();
                Ok(warm)
            }
            Ok(Err(why)) => Err(failed(format!("the rule refused its config: {why}"))),
            Err(failure) => Err(in_time(failed(format!("init: {}", in_words(&failure))), failure.kind == FailureKind::Deadline)),
        }
    }

    /// The same with counters and strikes of its own: what it does is not held against the rule that runs, nor the other way round.
    pub fn apart(&self) -> Arc<Rule> {
        let uncounted = |(name, granted): (&String, &Granted)| (name.clone(), Granted { table: granted.table.clone(), look_ups: Arc::default() });
        let tables = Arc::new(self.tables.iter().map(uncounted).collect());
        Arc::new(Rule { standing: Arc::new(Standing::new(&self.info)), tables, ..self.clone() })
    }

    pub fn options(&self) -> &RuleOptions {
        &self.options
    }

    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    fn host(&self) -> Host {
        let log = self.options.grants(Grant::Log).then(|| self.standing.log.clone());
        Host::new(&self.options.limits, self.tables.clone(), log)
    }
}

fn check_memory(wanted: u64, max: u64) -> Result<(), Refusal> {
    if wanted <= max { Ok(()) } else { Err(Refusal::MemoryMinimum { wanted, max }) }
}

fn in_words(failure: &CallFailure) -> String {
    format!("{} ({})", failure.message, failure.kind.as_str())
}

/// SHA-256, 64 hex digits.
pub(crate) fn digest_of(bytes: &[u8]) -> Text {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Text::from(hex)
}
