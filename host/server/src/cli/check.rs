//! `check`: the configuration and the rules, every mistake with its place and a remedy.

use super::exit::{Exit, Failure};
use super::output::Format;
use super::{Context, rule};
use crate::config::{self, Config};
use crate::rules_folder::{RulesFolder, unneeded_grants, unneeded_in_words};
use alertmill_core::record::RuleSet;
use alertmill_stores::modules::ModuleFiles;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What to check.
#[derive(Debug, Args)]
pub struct Check {
    /// The config file; without it, the defaults and the environment
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints what is wrong; the answer is no when something is.
pub fn check(args: &Check, context: &Context) -> Result<Exit, Failure> {
    super::serve::say_what_is_ignored(args.config.as_deref(), context);
    let (mut problems, mut warnings, mut rules, mut tables) = (Vec::new(), Vec::new(), 0, 0);
    match config::load(args.config.as_deref(), std::env::vars()) {
        Err(found) => problems.extend(found.0.iter().map(|p| (p.to_string(), json!({"place": p.place, "key": p.key, "what": p.what, "remedy": p.remedy})))),
        Ok(config) => {
            let look = look(&config)?;
            (rules, tables) = (look.infos.len(), look.tables.len());
            for entry in &look.rules {
                let info = look.infos.iter().find(|info| info.digest == entry.digest);
                let words = info.and_then(|info| unneeded_in_words(&unneeded_grants(entry, info)));
                warnings.extend(words.map(|words| format!("rule `{}`: {words}", entry.name)));
            }
            for p in look.problems {
                let value = json!({"place": {"file": {"path": p.file}}, "key": p.name, "what": p.message, "code": p.code});
                problems.push((format!("{}: {} ({})", p.file.display(), p.message, p.code), value));
            }
        }
    }
    let mut out = context.output();
    match out.format() {
        Format::Json => {
            let list: Vec<&Value> = problems.iter().map(|(_, value)| value).collect();
            out.json(&json!({"ok": list.is_empty(), "rules": rules, "tables": tables, "problems": list, "warnings": warnings}))?;
        }
        Format::Ndjson => problems.iter().try_for_each(|(_, value)| out.bytes(format!("{value}\n").as_bytes()))?,
        Format::Table | Format::Name if problems.is_empty() => {
            if !context.quiet {
                warnings.iter().try_for_each(|warning| out.line(&format!("warning: {warning}")))?;
                let file = args.config.as_ref().map_or_else(|| "defaults and environment".to_owned(), |file| file.display().to_string());
                out.line(&format!("{file}: good; {}, {}", count(rules, "rule"), count(tables, "table")))?;
            }
        }
        Format::Table | Format::Name => problems.iter().try_for_each(|(text, _)| out.line(text))?,
    }
    out.finish()?;
    Ok(if problems.is_empty() { Exit::Done } else { Exit::No })
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Looks at rules and tables as the server would, keeping what it reads in a folder that goes away. Tables with a URL are fetched.
fn look(config: &Config) -> Result<crate::rules_folder::Look, Failure> {
    let failed = |why: String| Failure::new(Exit::Bug, format!("the rules cannot be checked: {why}"));
    let dir = tempfile::tempdir().map_err(|e| failed(e.to_string()))?;
    let modules = ModuleFiles::open(dir.path()).map_err(|e| failed(e.to_string()))?;
    let publishers = config.rules.signers().map_err(&failed)?;
    let mut folder = RulesFolder::new(config, rule::engine_within(&config.rules)?, modules).signed_by(publishers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(e.to_string()))?;
    runtime.block_on(folder.tables().fetch_once());
    Ok(folder.look(&RuleSet::default()))
}
