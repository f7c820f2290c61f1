//! The command line. Data goes to stdout, everything else to stderr; how a command ends is one of [`Exit`].

mod alert;
mod artifact;
mod backup;
mod check;
pub(crate) mod client;
mod dlq;
mod event;
pub(crate) mod exit;
mod operate;
mod output;
mod pipeline;
mod rule;
mod rule_change;
mod rule_push;
mod serve;
mod sign;
mod table;

pub use exit::{Exit, Failure};

use alertmill_core::command::Action;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use client::Client;
use output::{Column, Format, Output};
use rule_change::Verb;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Alertmill turns monitoring events into alerts, with your own rules.
#[derive(Debug, Parser)]
#[command(
    name = "alertmill",
    version,
    disable_version_flag = false,
    before_help = "Examples:
  alertmill serve --config alertmill.toml
  alertmill event send --name 'Disk full' --target 10.0.0.1 --severity 1 --tag device=/data
  alertmill alert list --status ABNORMAL --since 6h"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The server that is asked; not by serve, check, demo, bench, conformance, restore, nor by `rule` inspect, keygen, sign, verify, export, fetch
    #[arg(long, global = true, env = "ALERTMILL_SERVER", default_value = "http://127.0.0.1:9280", value_name = "URL")]
    server: String,
    /// How data is printed
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    /// Only data and errors, no remarks
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Give up after this time, such as 10s or 2m
    #[arg(long, global = true, value_name = "DURATION", value_parser = timeout)]
    timeout: Option<Duration>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let ms = crate::api::time::duration_ms(text).and_then(|ms| u64::try_from(ms).ok());
    ms.map(Duration::from_millis).ok_or_else(|| "write a number and s, m or h, such as 10s".to_owned())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    #[command(before_help = "Examples:
  alertmill serve
  alertmill serve --config alertmill.toml
  ALERTMILL__SERVER__LISTEN=127.0.0.1:9300 alertmill serve")]
    Serve(serve::Serve),
    /// Run everything on a scratch folder with real sample data, and say what happened
    #[command(before_help = "Examples:\n  alertmill demo\n  alertmill demo --once")]
    Demo(crate::demo::Demo),
    /// Check the configuration and the rules without running anything
    #[command(before_help = "Examples:\n  alertmill check\n  alertmill check --config /etc/alertmill/alertmill.toml -o json")]
    Check(check::Check),
    /// Send events
    #[command(subcommand, before_help = "Examples:\n  alertmill event send -f events.ndjson")]
    Event(EventCommand),
    /// Look at alerts, acknowledge and close them
    #[command(
        subcommand,
        before_help = "Examples:\n  alertmill alert list --severity 1\n  alertmill alert get 17638416001042\n  alertmill alert ack 17638416001042 -m 'on it'"
    )]
    Alert(AlertCommand),
    /// Look at rules, bring new versions and change which of them run
    #[command(
        subcommand,
        before_help = "Examples:\n  alertmill rule list\n  alertmill rule inspect rules.d/10-owner.wasm\n  alertmill rule push owner.wasm --activate"
    )]
    Rule(RuleCommand),
    /// Look at look-up tables, and read their sources anew
    #[command(subcommand, before_help = "Examples:\n  alertmill table list\n  alertmill table show hosts --key web-1\n  alertmill table refresh hosts")]
    Table(TableCommand),
    /// Look at dead letters, what could not be understood, with the reason; and try them again
    #[command(subcommand, before_help = "Examples:\n  alertmill dlq list --source events\n  alertmill dlq show 7")]
    Dlq(DlqCommand),
    /// Look at the pipeline and its stores
    #[command(subcommand, before_help = "Examples:\n  alertmill pipeline storage")]
    Pipeline(PipelineCommand),
    /// Copy all data, of a running server or of a data folder at rest, into one place that can be restored
    #[command(before_help = "Examples:
  alertmill backup --to /backups/monday.tar
  alertmill backup --to /backups/monday --config /etc/alertmill/alertmill.toml
  alertmill backup --to monday.tar --data-dir /var/lib/alertmill")]
    Backup(backup::Backup),
    /// Make a data folder of a backup; everything is checked before anything is written
    #[command(before_help = "Examples:
  alertmill restore --from /backups/monday.tar --data-dir /var/lib/alertmill
  alertmill restore --from /backups/monday.tar --data-dir /var/lib/alertmill --journal /mnt/old/journal")]
    Restore(backup::Restore),
    /// Run recorded vectors and compare every step
    #[command(before_help = "Examples:\n  alertmill conformance vectors\n  alertmill conformance vectors --fingerprint bk-monitor --all")]
    Conformance(crate::conformance::ConformanceArgs),
    /// Measure this build on this machine, each row against a reference in the same run
    #[command(before_help = "Examples:\n  alertmill bench\n  alertmill bench --quick --output json\n  alertmill bench --row path-embedded --dir /var/lib")]
    Bench(crate::bench::BenchArgs),
    /// Print completions for a shell
    #[command(before_help = "Examples:\n  alertmill completions bash > /etc/bash_completion.d/alertmill\n  alertmill completions zsh > ~/.zfunc/_alertmill")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    #[command(before_help = "Examples:\n  alertmill version\n  alertmill version -o json")]
    Version,
}

#[derive(Debug, Subcommand)]
enum EventCommand {
    /// Send one event from flags, or many from a file or pipe; sending again never counts twice
    #[command(before_help = "Examples:
  alertmill event send --name 'Disk full' --target 10.0.0.1 --severity 1 --tag device=/data
  alertmill event send --name 'Disk full' --target 10.0.0.1 --tag device=/data --status RECOVERED
  alertmill event send -f events.ndjson
  jq -c '.items[]' export.json | alertmill event send -f -")]
    Send(event::Send),
}

#[derive(Debug, Subcommand)]
enum AlertCommand {
    /// List alerts, newest first
    #[command(before_help = "Examples:
  alertmill alert list --status ABNORMAL --severity 1,2 --since 6h
  alertmill alert list --limit 0 -o ndjson | jq .alert_name
  alertmill alert list -o name | head -3")]
    List(alert::List),
    /// Show one alert, whole
    #[command(before_help = "Examples:\n  alertmill alert get 17638416001042\n  alertmill alert get 17638416001042 -o json | jq .event")]
    Get(alert::One),
    /// List the events of an alert, newest first
    #[command(before_help = "Examples:\n  alertmill alert events 17638416001042\n  alertmill alert events 17638416001042 --limit 0 -o ndjson")]
    Events(alert::Part),
    /// List what happened to an alert, newest first
    #[command(before_help = "Examples:\n  alertmill alert logs 17638416001042")]
    Logs(alert::Part),
    /// Acknowledge alerts: somebody takes care of them
    #[command(before_help = "Examples:
  alertmill alert ack 17638416001042 -m 'on it'
  alertmill alert list --severity 1 -o name | alertmill alert ack - -m INC-881")]
    Ack(operate::Operate),
    /// Take acknowledgements back
    #[command(before_help = "Examples:\n  alertmill alert unack 17638416001042")]
    Unack(operate::Operate),
    /// Close alerts by hand; the next event opens a new one
    #[command(before_help = "Examples:
  alertmill alert close 17638416001042 -m 'host was removed'
  alertmill alert list --status ABNORMAL --to now-7d -o name | alertmill alert close - -m stale")]
    Close(operate::Operate),
}

#[derive(Debug, Subcommand)]
enum RuleCommand {
    /// List the rules that the server runs, in their order
    #[command(before_help = "Examples:\n  alertmill rule list\n  alertmill rule list -o json | jq '.items[].stats'")]
    List,
    /// Show what a module says of itself, or why it is refused; needs no server
    #[command(before_help = "Examples:\n  alertmill rule inspect rules.d/10-owner.wasm\n  alertmill rule inspect owner.wasm -o json")]
    Inspect(rule::Inspect),
    /// Bring a version to the server, and perhaps let it run; one that is there is not sent again
    #[command(before_help = "Examples:
  alertmill rule push owner.wasm
  alertmill rule push owner.wasm --activate -m INC-881
  alertmill rule push owner.wasm --activate --order 20 --options owner.toml
  alertmill rule push oci://registry.example/team/owner:1.2.0 --activate
  alertmill rule push owner.wasm --dry-run")]
    Push(rule_push::Push),
    /// List the versions of a rule that the server has, newest first
    #[command(before_help = "Examples:\n  alertmill rule versions owner")]
    Versions(rule_push::Versions),
    /// List who changed which rule, newest first
    #[command(before_help = "Examples:\n  alertmill rule history\n  alertmill rule history owner --limit 0 -o ndjson")]
    History(rule_push::History),
    /// Fetch the module of a version
    #[command(before_help = "Examples:\n  alertmill rule pull owner 1.2.0 -f owner.wasm")]
    Pull(rule_push::Pull),
    /// Let a version run, without a restart
    #[command(before_help = "Examples:
  alertmill rule activate owner
  alertmill rule activate owner 1.2.0 -m INC-881
  alertmill rule activate owner sha256:0a1b2c3d4e5f --dry-run")]
    Activate(rule_change::Activate),
    /// Let the version before run again; twice is where it was
    #[command(before_help = "Examples:\n  alertmill rule rollback owner -m 'drops too much'")]
    Rollback(rule_change::Name),
    /// Keep version and options, whatever the rules folder or others want
    #[command(before_help = "Examples:\n  alertmill rule pin owner\n  alertmill rule pin owner 1.2.0")]
    Pin(rule_change::Pin),
    /// Let version and options change again
    #[command(before_help = "Examples:\n  alertmill rule unpin owner")]
    Unpin(rule_change::Name),
    /// Switch a rule off; `activate` switches it on
    #[command(before_help = "Examples:\n  alertmill rule deactivate owner")]
    Deactivate(rule_change::Name),
    /// Change options and place of a rule that is not in the rules folder
    #[command(before_help = "Examples:\n  alertmill rule configure owner --order 20\n  alertmill rule configure owner --options owner.toml")]
    Configure(rule_change::Configure),
    /// Take a rule away, or a version that does not run
    #[command(before_help = "Examples:\n  alertmill rule remove owner\n  alertmill rule remove owner 1.0.0")]
    Remove(rule_change::Remove),
    /// Do not call a rule any more; its policy decides about its rows
    #[command(before_help = "Examples:\n  alertmill rule quarantine owner -m 'looks odd'")]
    Quarantine(rule_change::Name),
    /// Take a rule out of quarantine
    #[command(before_help = "Examples:\n  alertmill rule release owner")]
    Release(rule_change::Name),
    /// Make a key to sign modules with
    #[command(before_help = "Examples:\n  alertmill rule keygen platform.key")]
    Keygen(sign::Keygen),
    /// Sign a module; the signature goes beside it
    #[command(before_help = "Examples:\n  alertmill rule sign rules.d/10-owner.wasm --key platform.key")]
    Sign(sign::Sign),
    /// Check a module's signature; needs no server
    #[command(before_help = "Examples:\n  alertmill rule verify rules.d/10-owner.wasm --key platform.key.pub")]
    Verify(sign::Verify),
    /// Put a module into an OCI layout directory or a registry; needs no server
    #[command(before_help = "Examples:\n  alertmill rule export rules.d/10-owner.wasm --oci dist\n  \
                             alertmill rule export rules.d/10-owner.wasm --oci oci://registry.example/team/owner:1.2.0")]
    Export(artifact::Export),
    /// Get a module, with its signature, out of an OCI layout directory or a registry; needs no server
    #[command(before_help = "Examples:\n  alertmill rule fetch oci:dist:1.2.0 -f rules.d/10-owner.wasm\n  \
                             alertmill rule fetch oci://registry.example/team/owner:1.2.0 -f rules.d/10-owner.wasm")]
    Fetch(artifact::Fetch),
    /// Say what is done with the event at which a rule with the policy `stop` halted the pipeline
    #[command(before_help = "Examples:\n  alertmill rule resume owner --as retry\n  alertmill rule resume owner --as dead-letter --to-the-end")]
    Resume(rule::Resume),
}

#[derive(Debug, Subcommand)]
enum TableCommand {
    /// List the look-up tables: what is in force, how old it is, what is wrong with the source
    #[command(before_help = "Examples:\n  alertmill table list\n  alertmill table list -o json | jq '.items[] | select(.stale)'")]
    List,
    /// Show one table, or the row of a key
    #[command(before_help = "Examples:\n  alertmill table show hosts\n  alertmill table show hosts --key web-1")]
    Show(table::Show),
    /// Read the table's source now, and wait until what it says is in force
    #[command(
        before_help = "Examples:\n  alertmill table refresh hosts\n  alertmill table refresh --all",
        override_usage = "alertmill table refresh [OPTIONS] <NAME>\n       alertmill table refresh [OPTIONS] --all"
    )]
    Refresh(table::Refresh),
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List dead letters
    #[command(before_help = "Examples:\n  alertmill dlq list\n  alertmill dlq list --source events --code clean-error -o ndjson")]
    List(dlq::List),
    /// Show one dead letter with its item
    #[command(before_help = "Examples:\n  alertmill dlq show 7\n  alertmill dlq show 7 -o json | jq .item")]
    Show(dlq::Show),
    /// Try dead letters again, by the rules that are in force now
    #[command(
        before_help = "Examples:\n  alertmill dlq redrive 7 8\n  alertmill dlq redrive --source grafana --code normalize-failed --limit 500 --dry-run\n  \
                             alertmill dlq list --source events -o name | alertmill dlq redrive - -m 'rule fixed'",
        override_usage = "alertmill dlq redrive [OPTIONS] <ID>...\n       alertmill dlq redrive [OPTIONS] --source <SOURCE> [--code <CODE>]\n       \
                          alertmill dlq redrive [OPTIONS] --code <CODE>"
    )]
    Redrive(dlq::Redrive),
}

#[derive(Debug, Subcommand)]
enum PipelineCommand {
    /// Show what each kind of data takes, its bounds, and what went because of them
    #[command(before_help = "Examples:\n  alertmill pipeline storage\n  alertmill pipeline storage -o json | jq .damages")]
    Storage,
}

/// What every command has at hand.
struct Context {
    client: Client,
    format: Format,
    quiet: bool,
}

impl Context {
    fn output(&self) -> Output {
        Output::new(self.format)
    }

    /// A remark on stderr; whether it can be written does not matter.
    fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{}", output::plain(text));
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(e) => {
            // Help that nobody reads is no error.
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let ended = std::panic::catch_unwind(|| run(cli));
    match ended {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => {
            if !failure.message.is_empty() {
                let _ = writeln!(std::io::stderr(), "alertmill: {}", output::plain_lines(&failure.message));
            }
            failure.exit.into()
        }
        Err(_) => Exit::Bug.into(),
    }
}

/// The command tree, with examples before the flags everywhere.
fn command() -> clap::Command {
    let mut codes = "Exit codes:".to_owned();
    for (exit, words) in Exit::ALL {
        codes.push_str(&format!("\n  {:>3}  {words}", *exit as u8));
    }
    examples_first(Cli::command().after_help(codes))
}

fn examples_first(command: clap::Command) -> clap::Command {
    let command = command.help_template("{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}");
    command.mut_subcommands(examples_first)
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let Global { server, output, quiet, timeout } = cli.global;
    let context = Context { client: Client::new(&server, quiet, timeout), format: output, quiet };
    match cli.command {
        Command::Serve(args) => serve::serve(&args, &context, crate::serve::run),
        Command::Check(args) => check::check(&args, &context),
        Command::Demo(args) => crate::demo::run(&args, timeout),
        Command::Rule(RuleCommand::Inspect(args)) => rule::inspect(&args, &context).map(|()| Exit::Done),
        Command::Rule(RuleCommand::Keygen(args)) => sign::keygen(&args, &context).map(|()| Exit::Done),
        Command::Rule(RuleCommand::Sign(args)) => sign::sign(&args, &context).map(|()| Exit::Done),
        Command::Rule(RuleCommand::Verify(args)) => sign::verify(&args, &context).map(|()| Exit::Done),
        Command::Conformance(args) => conformance(&args),
        Command::Bench(args) => bench(&args, &context),
        Command::Completions { shell } => completions(shell, &context),
        Command::Version => version(&context),
        Command::Restore(args) => backup::restore(&args, &context).map(|()| Exit::Done),
        Command::Backup(args) => match args.way()? {
            backup::Way::Folder(dir, _lock) => backup::of_folder(&args, &dir, &context).map(|()| Exit::Done),
            backup::Way::Server => ask(Command::Backup(args), &context, timeout),
            backup::Way::ServerAt(server) => {
                let context = Context { client: Client::new(&server, quiet, timeout), ..context };
                ask(Command::Backup(args), &context, timeout)
            }
        },
        asking => ask(asking, &context, timeout),
    }
}

/// Commands that talk to a server.
fn ask(command: Command, context: &Context, timeout: Option<Duration>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Exit::Bug, format!("the process cannot be set up: {e}")))?;
    let asked = async {
        match &command {
            Command::Event(EventCommand::Send(args)) => event::send(args, context).await,
            Command::Alert(AlertCommand::List(args)) => alert::list(args, context).await,
            Command::Alert(AlertCommand::Get(args)) => alert::get(args, context).await,
            Command::Alert(AlertCommand::Events(args)) => alert::events(args, context).await,
            Command::Alert(AlertCommand::Logs(args)) => alert::logs(args, context).await,
            Command::Alert(AlertCommand::Ack(args)) => operate::operate(Action::Acknowledge, args, context).await,
            Command::Alert(AlertCommand::Unack(args)) => operate::operate(Action::Unacknowledge, args, context).await,
            Command::Alert(AlertCommand::Close(args)) => operate::operate(Action::Close, args, context).await,
            Command::Rule(RuleCommand::List) => rule::list(context).await,
            Command::Rule(RuleCommand::Push(args)) => rule_push::push(args, context).await,
            Command::Rule(RuleCommand::Versions(args)) => rule_push::versions(args, context).await,
            Command::Rule(RuleCommand::History(args)) => rule_push::history(args, context).await,
            Command::Rule(RuleCommand::Pull(args)) => rule_push::pull(args, context).await,
            Command::Rule(RuleCommand::Activate(args)) => rule_change::activate(args, context).await,
            Command::Rule(RuleCommand::Rollback(args)) => rule_change::by_name(Verb::Rollback, args, context).await,
            Command::Rule(RuleCommand::Pin(args)) => rule_change::pin(args, context).await,
            Command::Rule(RuleCommand::Unpin(args)) => rule_change::by_name(Verb::Unpin, args, context).await,
            Command::Rule(RuleCommand::Deactivate(args)) => rule_change::by_name(Verb::Deactivate, args, context).await,
            Command::Rule(RuleCommand::Configure(args)) => rule_change::configure(args, context).await,
            Command::Rule(RuleCommand::Remove(args)) => rule_change::remove(args, context).await,
            Command::Rule(RuleCommand::Quarantine(args)) => rule_change::by_name(Verb::Quarantine, args, context).await,
            Command::Rule(RuleCommand::Release(args)) => rule_change::by_name(Verb::Release, args, context).await,
            Command::Rule(RuleCommand::Export(args)) => artifact::export(args, context).await,
            Command::Rule(RuleCommand::Fetch(args)) => artifact::fetch_to_file(args, context).await,
            Command::Rule(RuleCommand::Resume(args)) => rule::resume(args, context).await,
            Command::Table(TableCommand::List) => table::list(context).await,
            Command::Table(TableCommand::Show(args)) => table::show(args, context).await,
            Command::Table(TableCommand::Refresh(args)) => table::refresh(args, context).await,
            Command::Dlq(DlqCommand::List(args)) => dlq::list(args, context).await,
            Command::Dlq(DlqCommand::Show(args)) => dlq::show(args, context).await,
            Command::Dlq(DlqCommand::Redrive(args)) => dlq::redrive(args, context).await,
            Command::Pipeline(PipelineCommand::Storage) => pipeline::storage(context).await,
            Command::Backup(args) => backup::of_server(args, context, &context.client).await,
            local => Err(Failure::new(Exit::Bug, format!("{local:?} asks no server"))),
        }
    };
    let ended = runtime.block_on(async {
        match timeout {
            None => asked.await,
            Some(limit) => match tokio::time::timeout(limit, asked).await {
                Ok(ended) => ended,
                Err(_) => Err(Failure::new(Exit::Timeout, format!("not done after {} s (--timeout)", limit.as_secs_f64()))),
            },
        }
    });
    ended.map(|()| Exit::Done)
}

fn conformance(args: &crate::conformance::ConformanceArgs) -> Result<Exit, Failure> {
    match crate::conformance::run(args) {
        Ok(0) => Ok(Exit::Done),
        Ok(_) => Ok(Exit::No),
        Err(e) => Err(Failure::new(Exit::Usage, format!("{e:#}"))),
    }
}

fn number(row: &serde_json::Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_default()
}

/// A goal that is missed is shown, and is no failure.
fn bench(args: &crate::bench::BenchArgs, context: &Context) -> Result<Exit, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::new(Exit::Bug, format!("the bench failed: {e}"));
    let rows = crate::bench::run(args, &mut |text| context.say(text)).map_err(|e| failed(&format!("{e:#}")))?;
    let rows = rows.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>().map_err(|e| failed(&e))?;
    let columns = [
        Column { head: "NAME", cell: |row| output::text(row, "name") },
        Column { head: "OURS", cell: |row| format!("{:.0}", number(row, "ours")) },
        Column { head: "REFERENCE", cell: |row| format!("{:.0}", number(row, "reference")) },
        Column { head: "UNIT", cell: |row| output::text(row, "unit") },
        Column { head: "RATIO", cell: |row| format!("{:.2}", number(row, "ratio")) },
        Column { head: "GOAL", cell: |row| format!("{} {}", output::text(row, "goal_is").replace('-', " "), number(row, "goal")) },
        Column { head: "MET", cell: |row| (if row["met"] == true { "yes" } else { "no" }).to_owned() },
    ];
    let mut out = context.output();
    out.rows(&serde_json::json!({ "rows": rows }), &rows, &columns, |row| output::text(row, "name"))?;
    out.finish()?;
    Ok(Exit::Done)
}

fn completions(shell: clap_complete::Shell, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "alertmill", &mut script);
    let mut out = context.output();
    out.bytes(&script)?;
    out.finish()?;
    Ok(Exit::Done)
}

fn version(context: &Context) -> Result<Exit, Failure> {
    let info = crate::telemetry::build_info();
    let mut out = context.output();
    match out.format() {
        Format::Json | Format::Ndjson => {
            let value = info.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            out.json(&serde_json::Value::Object(value))?;
        }
        _ => out.line(&format!("alertmill {}", info[0].1))?,
    }
    out.finish()?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(command: &clap::Command, path: &str, visit: &mut impl FnMut(&str, &clap::Command)) {
        visit(path, command);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            every(sub, &format!("{path} {}", sub.get_name()), visit);
        }
    }

    #[test]
    fn the_tree_is_sound_and_every_command_begins_its_help_with_an_example_of_itself() {
        command().debug_assert();
        every(&command(), "alertmill", &mut |path, command| {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Examples:\n"), "{path}: {help}");
            assert!(help.find("Examples:") < help.find("Usage:"), "{path}");
            assert!(help.contains(&format!("\n  {path}")) || help.contains(&format!("| {path}")), "{path} shows no example of itself: {help}");
            assert!(command.get_about().is_some(), "{path} says nothing of itself");
        });
    }

    #[test]
    fn help_names_the_commands_that_ask_no_server_and_every_way_to_call_one() {
        let help = |path: &str| {
            let mut found = String::new();
            every(&command(), "alertmill", &mut |at, command| {
                if at == path {
                    found = command.clone().render_help().to_string();
                }
            });
            found
        };
        let root = help("alertmill");
        let server = root.lines().find(|line| line.contains("--server")).expect("the flag");
        for name in ["serve", "check", "demo", "bench", "conformance", "restore", "inspect", "keygen", "sign", "verify", "export", "fetch"] {
            assert!(server.contains(name), "{name}: {server}");
        }
        assert!(help("alertmill table refresh").contains("alertmill table refresh [OPTIONS] --all"));
        assert!(help("alertmill dlq redrive").contains("alertmill dlq redrive [OPTIONS] --source <SOURCE>"));
    }

    #[test]
    fn every_flag_has_words() {
        every(&command(), "alertmill", &mut |path, command| {
            for argument in command.get_arguments().filter(|a| a.get_id() != "help" && a.get_id() != "version") {
                assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
            }
        });
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 69, 70, 75, 124, 130]);
        for (status, exit) in
            [(200, Exit::Done), (400, Exit::No), (403, Exit::Permission), (404, Exit::NotFound), (412, Exit::Conflict), (429, Exit::Later), (500, Exit::Bug)]
        {
            assert_eq!(Exit::of_status(status), exit);
        }
    }

    #[test]
    fn completions_name_every_command() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "alertmill", &mut script);
            let script = String::from_utf8(script).expect("text");
            every(&command(), "", &mut |_, command| assert!(script.contains(command.get_name()), "{shell} {}", command.get_name()));
        }
    }
}
