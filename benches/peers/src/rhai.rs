//! Rhai: an event is a type of the host's with getters, in a scope of its own.

use crate::report::version;
use crate::rule_rows::hosts;
use crate::side::{Answer, Rule, Side, set_tag, tag};
use anyhow::{Context, Result, anyhow};
use bench_logic::samples::Sample;
use rhai::{AST, Dynamic, Engine, ImmutableString, OptimizationLevel, Scope};
use std::collections::HashMap;

const ENRICH: &str = r#"
let host = host_of(event.ip);
if host != () {
    let service = event.tag("service");
    if host.tier == "0" && event.severity > 1 && service.starts_with("core-") { event.severity -= 1; }
    event.set_tag("bk_module", host.module_name);
    event.set_tag("bk_set", host.set_name);
    event.set_tag("idc", host.idc);
    event.set_tag("owner", host.owner);
}"#;

const DEDUPE: &str = r#"event.alert_name + "|" + event.tag("host") + "|" + event.tag("service")"#;

/// A row of the table; its texts are shared, so that giving one away copies none.
#[derive(Clone)]
struct Host {
    module: ImmutableString,
    set: ImmutableString,
    idc: ImmutableString,
    owner: ImmutableString,
    tier: ImmutableString,
}

pub struct Rhai {
    rule: Rule,
    engine: Engine,
    script: AST,
    scopes: Vec<Scope<'static>>,
    keys: Vec<String>,
}

impl Rhai {
    pub fn new(rule: Rule) -> Result<Rhai> {
        let mut engine = Engine::new();
        engine.set_optimization_level(OptimizationLevel::Full);
        engine.register_type_with_name::<Sample>("Event");
        engine.register_get("ip", |event: &mut Sample| ImmutableString::from(event.ip.as_str()));
        engine.register_get("alert_name", |event: &mut Sample| ImmutableString::from(event.alert_name.as_str()));
        engine.register_get_set("severity", |event: &mut Sample| event.severity, |event: &mut Sample, severity: i64| event.severity = severity);
        engine.register_fn("tag", |event: &mut Sample, key: &str| ImmutableString::from(tag(event, key).unwrap_or_default()));
        engine.register_fn("set_tag", |event: &mut Sample, key: &str, value: &str| set_tag(event, key, value.to_owned()));
        engine.register_type_with_name::<Host>("Host");
        engine.register_get("module_name", |host: &mut Host| host.module.clone());
        engine.register_get("set_name", |host: &mut Host| host.set.clone());
        engine.register_get("idc", |host: &mut Host| host.idc.clone());
        engine.register_get("owner", |host: &mut Host| host.owner.clone());
        engine.register_get("tier", |host: &mut Host| host.tier.clone());
        let host = |values: [String; 5]| {
            let [module, set, idc, owner, tier] = values.map(ImmutableString::from);
            Host { module, set, idc, owner, tier }
        };
        let table: HashMap<String, Host> = hosts().into_iter().map(|(key, values)| (key, host(values))).collect();
        engine.register_fn("host_of", move |ip: &str| table.get(ip).map_or(Dynamic::UNIT, |host| Dynamic::from(host.clone())));
        let source = match rule {
            Rule::Enrich => ENRICH,
            Rule::Dedupe => DEDUPE,
        };
        let script = engine.compile(source)?;
        Ok(Rhai { rule, engine, script, scopes: Vec::new(), keys: Vec::new() })
    }
}

impl Side for Rhai {
    fn name(&self) -> String {
        format!("Rhai {}", version("rhai"))
    }

    fn idiom(&self) -> &'static str {
        "a host type with getters, its scope made before, one event a call; a look-up is a host function"
    }

    fn load(&mut self, events: &[Sample]) {
        self.keys.clear();
        let scope = |event: &Sample| {
            let mut scope = Scope::new();
            scope.push("event", event.clone());
            scope
        };
        self.scopes = events.iter().map(scope).collect();
    }

    fn run(&mut self) -> Result<()> {
        for scope in &mut self.scopes {
            let answer = self.engine.eval_ast_with_scope::<Dynamic>(scope, &self.script).map_err(|why| anyhow!("{why}"))?;
            if self.rule == Rule::Dedupe {
                self.keys.push(answer.into_string().map_err(|kind| anyhow!("a key of type {kind}"))?);
            }
        }
        Ok(())
    }

    fn answers(&mut self) -> Result<Vec<Answer>> {
        let event = |scope: &Scope| scope.get_value::<Sample>("event").context("no event in its scope");
        match self.rule {
            Rule::Enrich => self.scopes.iter().map(|scope| event(scope).map(|event| Answer::enriched(&event))).collect(),
            Rule::Dedupe => Ok(self.keys.iter().cloned().map(Answer::Key).collect()),
        }
    }
}
