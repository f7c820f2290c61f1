//! VRL: an event is a value with its tags as an object, made before; the program changes it in place. It is VRL's best case: making the
//! value of an event costs more than the rule. The standard library is left out (it is large), so its two functions are ours.

use crate::report::version;
use crate::rule_rows::hosts;
use crate::side::{Answer, Rule, Side};
use ::vrl::compiler::prelude::*;
use ::vrl::compiler::runtime::Runtime;
use ::vrl::compiler::state::ExternalEnv;
use ::vrl::compiler::{CompileConfig, Program, TargetValue, compile_with_external};
use ::vrl::value::Secrets;
use anyhow::{Context as _, Result, anyhow, bail};
use bench_logic::COLUMNS;
use bench_logic::samples::Sample;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const ENRICH: &str = r#"
host = host_of(.ip)
if host != null {
    if host.tier == "0" && .severity > 1 && starts_with(.tags.service, "core-") { .severity = .severity - 1 }
    .tags.bk_module = host.module
    .tags.bk_set = host.set
    .tags.idc = host.idc
    .tags.owner = host.owner
}
"#;

const DEDUPE: &str = r#".alert_name + "|" + .tags.host + "|" + .tags.service"#;

type Table = Arc<HashMap<String, Value>>;

/// The row of a host, or null.
#[derive(Clone, Debug)]
struct HostOf(Table);

#[derive(Clone, Debug)]
struct HostOfCall {
    table: Table,
    ip: Box<dyn Expression>,
}

impl Function for HostOf {
    fn identifier(&self) -> &'static str {
        "host_of"
    }

    fn usage(&self) -> &'static str {
        "the row of a host"
    }

    fn category(&self) -> &'static str {
        "Enrichment"
    }

    fn return_kind(&self) -> u16 {
        kind::OBJECT | kind::NULL
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[Parameter::required("ip", kind::BYTES, "its address")];
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        Ok(HostOfCall { table: self.0.clone(), ip: arguments.required("ip") }.as_expr())
    }
}

impl FunctionExpression for HostOfCall {
    fn resolve(&self, context: &mut Context) -> Resolved {
        let ip = self.ip.resolve(context)?;
        Ok(self.table.get(&*ip.try_bytes_utf8_lossy()?).cloned().unwrap_or(Value::Null))
    }

    fn type_def(&self, _: &TypeState) -> TypeDef {
        let columns = COLUMNS.map(|column| (Field::from(column), Kind::bytes()));
        TypeDef::object(Collection::from(BTreeMap::from(columns))).or_null().infallible()
    }
}

#[derive(Clone, Copy, Debug)]
struct StartsWith;

#[derive(Clone, Debug)]
struct StartsWithCall {
    text: Box<dyn Expression>,
    prefix: Box<dyn Expression>,
}

impl Function for StartsWith {
    fn identifier(&self) -> &'static str {
        "starts_with"
    }

    fn usage(&self) -> &'static str {
        "whether a text begins with another"
    }

    fn category(&self) -> &'static str {
        "String"
    }

    fn return_kind(&self) -> u16 {
        kind::BOOLEAN
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[Parameter::required("text", kind::BYTES, "which"), Parameter::required("prefix", kind::BYTES, "with what")];
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        Ok(StartsWithCall { text: arguments.required("text"), prefix: arguments.required("prefix") }.as_expr())
    }
}

impl FunctionExpression for StartsWithCall {
    fn resolve(&self, context: &mut Context) -> Resolved {
        let (text, prefix) = (self.text.resolve(context)?.try_bytes()?, self.prefix.resolve(context)?.try_bytes()?);
        Ok(text.starts_with(&prefix).into())
    }

    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::boolean().infallible()
    }
}

pub struct Vrl {
    rule: Rule,
    program: Program,
    runtime: Runtime,
    events: Vec<TargetValue>,
    keys: Vec<Value>,
}

impl Vrl {
    pub fn new(rule: Rule) -> Result<Vrl> {
        let row = |values: [String; 5]| Value::Object(COLUMNS.into_iter().map(KeyString::from).zip(values.map(Value::from)).collect());
        let table: Table = Arc::new(hosts().into_iter().map(|(key, values)| (key, row(values))).collect());
        let functions: Vec<Box<dyn Function>> = vec![Box::new(HostOf(table)), Box::new(StartsWith)];
        let source = match rule {
            Rule::Enrich => ENRICH,
            Rule::Dedupe => DEDUPE,
        };
        let compiled = compile_with_external(source, &functions, &environment(), CompileConfig::default()).map_err(|why| anyhow!("{why:?}"))?;
        Ok(Vrl { rule, program: compiled.program, runtime: Runtime::default(), events: Vec::new(), keys: Vec::new() })
    }
}

/// What the program may take for granted, so that it needs no checks of its own.
fn environment() -> ExternalEnv {
    let texts = |keys: &[&str]| keys.iter().map(|key| (Field::from(*key), Kind::bytes())).collect::<BTreeMap<_, _>>();
    let mut event = texts(&["ip", "alert_name"]);
    event.insert(Field::from("severity"), Kind::integer());
    event.insert(Field::from("tags"), Kind::object(Collection::from(texts(&["service", "host"]))));
    ExternalEnv::new_with_kind(Kind::object(Collection::from(event)), Kind::object(Collection::empty()))
}

fn value(event: &Sample) -> Value {
    let text = |text: &str| Value::from(text);
    let tags = event.tags.iter().map(|(key, value)| (KeyString::from(key.as_str()), text(value))).collect();
    let fields = [
        ("event_id", text(&event.event_id)),
        ("plugin_id", text(event.plugin_id)),
        ("alert_name", text(&event.alert_name)),
        ("description", text(&event.description)),
        ("time", Value::Integer(event.time as i64)),
        ("severity", Value::Integer(event.severity)),
        ("target", text(&event.target)),
        ("metric", Value::Array(event.metric.iter().map(|metric| text(metric)).collect())),
        ("category", text(event.category)),
        ("ip", text(&event.ip)),
        ("bk_biz_id", Value::Integer(event.bk_biz_id)),
        ("tags", Value::Object(tags)),
    ];
    Value::Object(fields.into_iter().map(|(key, value)| (KeyString::from(key), value)).collect())
}

impl Side for Vrl {
    fn name(&self) -> String {
        format!("VRL {}", version("vrl"))
    }

    fn idiom(&self) -> &'static str {
        "values made before, one event a call; a look-up is a host function"
    }

    fn load(&mut self, events: &[Sample]) {
        self.keys.clear();
        let target = |event| TargetValue { value: value(event), metadata: Value::Object(BTreeMap::new()), secrets: Secrets::default() };
        self.events = events.iter().map(target).collect();
    }

    fn run(&mut self) -> Result<()> {
        for event in &mut self.events {
            let answer = self.runtime.resolve(event, &self.program, &TimeZone::default()).map_err(|why| anyhow!("{why}"))?;
            self.runtime.clear();
            if self.rule == Rule::Dedupe {
                self.keys.push(answer);
            }
        }
        Ok(())
    }

    fn answers(&mut self) -> Result<Vec<Answer>> {
        match self.rule {
            Rule::Enrich => self.events.iter().map(|event| enriched(&event.value)).collect(),
            Rule::Dedupe => self.keys.iter().map(|key| Ok(Answer::Key(text(key)?))).collect(),
        }
    }
}

fn enriched(event: &Value) -> Result<Answer> {
    let event = event.as_object().context("an event is an object")?;
    let Some(Value::Integer(severity)) = event.get("severity") else { bail!("no severity in {event:?}") };
    let tags = event.get("tags").and_then(Value::as_object).context("tags are an object")?;
    let tags = tags.iter().map(|(key, value)| Ok((key.to_string(), text(value)?))).collect::<Result<_>>()?;
    Ok(Answer::Enriched { severity: *severity, tags })
}

fn text(value: &Value) -> Result<String> {
    Ok(value.to_str_lossy().with_context(|| format!("{value} is no text"))?.into_owned())
}
