//! Lua: an event is a userdata with fields and methods, the table of hosts is one of Lua's own.

use crate::report::version;
use crate::rule_rows::hosts;
use crate::side::{Answer, Rule, Side, set_tag, tag};
use anyhow::Result;
use bench_logic::samples::Sample;
use bench_logic::{COLUMNS, TABLE};
use mlua::{AnyUserData, Function, LuaString, UserData, UserDataFields, UserDataMethods};

const ENRICH: &str = r#"
return function(event)
    local host = hosts[event.ip]
    if host == nil then return end
    local service = event:tag("service")
    if host.tier == "0" and event.severity > 1 and service ~= nil and service:sub(1, 5) == "core-" then
        event.severity = event.severity - 1
    end
    event:set_tag("bk_module", host.module)
    event:set_tag("bk_set", host.set)
    event:set_tag("idc", host.idc)
    event:set_tag("owner", host.owner)
end"#;

const DEDUPE: &str = r#"
return function(event)
    return event.alert_name .. "|" .. (event:tag("host") or "") .. "|" .. (event:tag("service") or "")
end"#;

struct Event(Sample);

impl UserData for Event {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("ip", |lua, event| lua.create_string(&event.0.ip));
        fields.add_field_method_get("alert_name", |lua, event| lua.create_string(&event.0.alert_name));
        fields.add_field_method_get("severity", |_, event| Ok(event.0.severity));
        fields.add_field_method_set("severity", |_, event, severity| {
            event.0.severity = severity;
            Ok(())
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("tag", |lua, event, key: LuaString| tag(&event.0, &key.to_str()?).map(|value| lua.create_string(value)).transpose());
        methods.add_method_mut("set_tag", |_, event, (key, value): (LuaString, String)| {
            set_tag(&mut event.0, &key.to_str()?, value);
            Ok(())
        });
    }
}

pub struct Lua {
    rule: Rule,
    lua: mlua::Lua,
    function: Function,
    events: Vec<AnyUserData>,
    keys: Vec<String>,
}

impl Lua {
    pub fn new(rule: Rule) -> Result<Lua> {
        let lua = mlua::Lua::new();
        let table = lua.create_table()?;
        for (key, values) in hosts() {
            table.set(key, lua.create_table_from(COLUMNS.into_iter().zip(values))?)?;
        }
        lua.globals().set(TABLE, table)?;
        let source = match rule {
            Rule::Enrich => ENRICH,
            Rule::Dedupe => DEDUPE,
        };
        let function = lua.load(source).eval()?;
        Ok(Lua { rule, lua, function, events: Vec::new(), keys: Vec::new() })
    }
}

impl Side for Lua {
    fn name(&self) -> String {
        format!("Lua 5.4 (mlua {})", version("mlua"))
    }

    fn idiom(&self) -> &'static str {
        "userdata made before, one event a call; the table is a table of Lua"
    }

    fn load(&mut self, events: &[Sample]) {
        self.keys.clear();
        self.events = events.iter().map(|event| self.lua.create_userdata(Event(event.clone())).expect("memory for an event")).collect();
    }

    fn run(&mut self) -> Result<()> {
        for event in &self.events {
            match self.rule {
                Rule::Enrich => self.function.call::<()>(event)?,
                Rule::Dedupe => self.keys.push(self.function.call(event)?),
            }
        }
        Ok(())
    }

    fn answers(&mut self) -> Result<Vec<Answer>> {
        match self.rule {
            Rule::Enrich => self.events.iter().map(|event| Ok(Answer::enriched(&event.borrow::<Event>()?.0))).collect(),
            Rule::Dedupe => Ok(self.keys.iter().cloned().map(Answer::Key).collect()),
        }
    }
}
