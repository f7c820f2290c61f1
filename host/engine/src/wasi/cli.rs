//! `wasi:cli`: no arguments, no environment, no terminal, and an `exit` that fails the call.

use super::io::{self, InputStream, OutputStream};
use super::{Cx, Misuse, Output, instance};
use crate::host::Host;
use crate::signature::RESOURCE;
use wasmtime::component::{Linker, Resource};

pub(super) const ENVIRONMENT: &[(&str, &str)] =
    &[("get-environment", "() -> list<tuple<string, string>>"), ("get-arguments", "() -> list<string>"), ("initial-cwd", "() -> option<string>")];
pub(super) const EXIT: &[(&str, &str)] = &[("exit", "(result)"), ("exit-with-code", "(u8)")];
pub(super) const STDIN: &[(&str, &str)] = &[("get-stdin", "() -> input-stream")];
pub(super) const STDOUT: &[(&str, &str)] = &[("get-stdout", "() -> output-stream")];
pub(super) const STDERR: &[(&str, &str)] = &[("get-stderr", "() -> output-stream")];
pub(super) const TERMINAL_INPUT: &[(&str, &str)] = &[("terminal-input", RESOURCE)];
pub(super) const TERMINAL_OUTPUT: &[(&str, &str)] = &[("terminal-output", RESOURCE)];
pub(super) const TERMINAL_STDIN: &[(&str, &str)] = &[("get-terminal-stdin", "() -> option<terminal-input>")];
pub(super) const TERMINAL_STDOUT: &[(&str, &str)] = &[("get-terminal-stdout", "() -> option<terminal-output>")];
pub(super) const TERMINAL_STDERR: &[(&str, &str)] = &[("get-terminal-stderr", "() -> option<terminal-output>")];

// Marks of the resource types; no instance gets one.
struct TerminalInput;
struct TerminalOutput;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut environment = instance(linker, "wasi:cli/environment")?;
    environment.func_wrap("get-environment", |_: Cx<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_: Cx<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_: Cx<'_>, (): ()| Ok((None::<String>,)))?;

    let mut exit = instance(linker, "wasi:cli/exit")?;
    exit.func_wrap("exit", |_: Cx<'_>, (_,): (Result<(), ()>,)| -> wasmtime::Result<()> { Err(Misuse::Exit.into()) })?;
    exit.func_wrap("exit-with-code", |_: Cx<'_>, (_,): (u8,)| -> wasmtime::Result<()> { Err(Misuse::Exit.into()) })?;

    instance(linker, "wasi:cli/stdin")?.func_wrap("get-stdin", |mut cx: Cx<'_>, (): ()| Ok((io::handle::<InputStream>(&mut cx, 0)?,)))?;
    for (interface, function, output) in [("wasi:cli/stdout", "get-stdout", Output::Standard), ("wasi:cli/stderr", "get-stderr", Output::Error)] {
        let get = move |mut cx: Cx<'_>, (): ()| Ok((io::handle::<OutputStream>(&mut cx, output.number())?,));
        instance(linker, interface)?.func_wrap(function, get)?;
    }

    io::resource::<TerminalInput>(&mut instance(linker, "wasi:cli/terminal-input")?, "terminal-input")?;
    io::resource::<TerminalOutput>(&mut instance(linker, "wasi:cli/terminal-output")?, "terminal-output")?;
    instance(linker, "wasi:cli/terminal-stdin")?.func_wrap("get-terminal-stdin", |_: Cx<'_>, (): ()| Ok((None::<Resource<TerminalInput>>,)))?;
    for (interface, function) in [("wasi:cli/terminal-stdout", "get-terminal-stdout"), ("wasi:cli/terminal-stderr", "get-terminal-stderr")] {
        instance(linker, interface)?.func_wrap(function, |_: Cx<'_>, (): ()| Ok((None::<Resource<TerminalOutput>>,)))?;
    }
    Ok(())
}
