//! The child that compiles: the built binary under its other name. What it makes, and how a module ends that costs too much.

use alertmill::compile::{Children, Limits, Program};
use alertmill::config::types::ByteSize;
use alertmill_engine::{Compile, CompileFailed, Engine, InProcess, RuleOptions};
use std::process::{Command, Stdio};
use std::time::Instant;

const LIMITS: Limits = Limits { memory: ByteSize::mib(2 << 10), cpu_s: 60, wall_s: 600, processes: 1 };

fn children(limits: Limits) -> Children {
    Children::new(Program::at(env!("CARGO_BIN_EXE_alertmill")), limits)
}

fn module(name: &str) -> Vec<u8> {
    let path = format!("{}/../../rules/dist/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

/// A component of one core module with so many functions of about so many bytes, all of it within what is counted before compiling: sums
/// of 100 variables, each step under a condition, so that there is something to work out.
fn bomb(functions: usize, bytes: usize) -> Vec<u8> {
    let mut body = vec![1, 100, 0x7e];
    let mut at = 1_u32;
    while body.len() < bytes {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c] = [8, 16, 24].map(|shift| (at >> shift) as u8 % 100);
        // local.get a, local.get b, i64.add, local.tee c, i64.eqz, if, local.get a, local.set b, end
        body.extend([0x20, a, 0x20, b, 0x7c, 0x22, c, 0x50, 0x04, 0x40, 0x20, a, 0x21, b, 0x0b]);
    }
    body.push(0x0b);
    let body = [leb(body.len()), body].concat();
    let code = [leb(functions), body.repeat(functions)].concat();
    let core = [b"\0asm\x01\0\0\0".to_vec(), section(1, &[1, 0x60, 0, 0]), section(3, &[leb(functions), vec![0; functions]].concat()), section(10, &code)];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &core.concat())].concat()
}

#[test]
fn a_child_makes_the_code_that_this_process_would_make() {
    let child = children(LIMITS);
    for name in ["test/says", "owner-from-table"] {
        let bytes = module(name);
        assert!(child.compile(&bytes).expect("a good module") == InProcess.compile(&bytes).expect("a good module"), "{name}");
    }
    let engine = Engine::with(|_: &str| Err("nothing is kept".to_owned()), Box::new(child), None).expect("an engine");
    assert_eq!(engine.load(&module("test/says"), Some("says"), &RuleOptions::default(), &[]).expect("a good rule").info().name, "says");
    assert_eq!(engine.load_stats().compiles["ok"], 1);
}

#[test]
fn what_is_no_component_is_refused_in_the_compilers_words() {
    for bytes in [&b"no module"[..], b"", b"\0asm\x0d\0\x01\0\xff"] {
        let failed = children(LIMITS).compile(bytes).expect_err("no module");
        assert!(matches!(&failed, CompileFailed::Refused(why) if !why.is_empty()), "{failed:?}");
    }
}

#[test]
fn m41_a_module_that_costs_too_much_ends_with_its_child() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says it").to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("KiB") << 10
    };
    for (what, limits, bomb, key) in [
        ("processor time", Limits { cpu_s: 1, ..LIMITS }, bomb(64, 256 << 10), "rules.compile_cpu_s"),
        ("memory", Limits { memory: ByteSize::mib(192), ..LIMITS }, bomb(4, 4_000_000), "rules.compile_memory"),
    ] {
        let (before, started) = (resident(), Instant::now());
        let failed = children(limits).compile(&bomb).expect_err("it costs too much");
        let took = started.elapsed();
        let rise = resident().saturating_sub(before);
        println!("m41 {what}: {} KiB of module, {took:?}, {} KiB more here: {failed:?}", bomb.len() >> 10, rise >> 10);
        assert!(matches!(&failed, CompileFailed::Limit(why) if why.contains(what) && why.contains(key)), "{failed:?}");
        assert!(rise <= 8 << 20, "{rise} bytes more in the process that asked");
    }
    // The next module is none the worse.
    children(LIMITS).compile(&module("test/says")).expect("a good module");
}

#[test]
fn a_child_that_does_not_come_to_an_end_is_ended() {
    // Not the child: it neither reads nor answers. It gets no time.
    let sleeper = Children::new(Program::at("/bin/sleep"), Limits { wall_s: 0, ..LIMITS });
    let failed = sleeper.compile(&vec![0; 1 << 20]).expect_err("it does not compile");
    assert!(matches!(&failed, CompileFailed::Limit(why) if why.contains("more than 0 s in all")), "{failed:?}");
}

#[test]
fn a_compiler_that_cannot_be_started_is_unavailable() {
    let failed = Children::new(Program::at("/nonexistent/alertmill"), LIMITS).compile(&module("test/says")).expect_err("there is no such program");
    assert!(matches!(&failed, CompileFailed::Unavailable(why) if why.contains("rules.compile_processes")), "{failed:?}");
    // A program that is something else.
    let failed = Children::new(Program::at("/bin/true"), LIMITS).compile(&module("test/says")).expect_err("it does not compile");
    assert!(matches!(&failed, CompileFailed::Unavailable(why) if why.contains("answered nothing")), "{failed:?}");
    // Less memory than the program itself needs.
    let failed = children(Limits { memory: ByteSize::mib(1), ..LIMITS }).compile(&module("test/says")).expect_err("there is no memory");
    assert!(matches!(failed, CompileFailed::Limit(_) | CompileFailed::Refused(_) | CompileFailed::Unavailable(_)), "{failed:?}");
}

#[test]
fn children_wait_for_each_other() {
    let one = children(Limits { processes: 2, ..LIMITS });
    let bytes = module("owner-from-table");
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| one.compile(&bytes))).collect();
        assert!(all.into_iter().all(|thread| thread.join().expect("no panic").is_ok()));
    });
}

#[test]
fn what_a_good_module_needs() {
    // How far the limits are from what is compiled every day.
    let bytes = module("owner-from-table");
    let least = (4..12).map(|power| 1 << power).find(|mib| children(Limits { memory: ByteSize::mib(*mib), ..LIMITS }).compile(&bytes).is_ok());
    let started = Instant::now();
    children(LIMITS).compile(&bytes).expect("a good module");
    println!("owner-from-table: {} KiB, {:?}, with {least:?} MiB", bytes.len() >> 10, started.elapsed());
    assert!(least.is_some_and(|mib| mib <= 512), "{least:?}");
}

#[test]
fn the_childs_name_alone_is_told_what_it_lacks() {
    use std::os::unix::process::CommandExt;
    let out = Command::new(env!("CARGO_BIN_EXE_alertmill")).arg0("alertmill-compile").stdin(Stdio::null()).output().expect("it starts");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.starts_with('f') && said.contains("alertmill serve"), "{said}");
}
