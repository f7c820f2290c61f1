//! Compiled code: taken from the cache if it is there, else compiled and put there; then made a component that can run.

use crate::compile::{Compile, CompileFailed};
use crate::refusal::Refusal;
use crate::runtime::Runtime;
use alertmill_core::value::Text;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use wasmtime::component::Component;

/// What compiled code is made of and for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeKey {
    /// SHA-256 of the component, 64 hex digits.
    pub digest: Text,
    /// Version and settings of the compiler and the processor's features, 16 hex digits: other code does not run here.
    pub compat: Text,
}

/// Keeps compiled code. It is run as it is, so a cache gives exactly what was put under the same key by this installation, or
/// nothing: whoever else can write it is the process itself.
pub trait CodeCache: Send + Sync {
    /// The code of a key.
    fn get(&self, key: &CodeKey) -> Cached;
    /// Keeps it, if there is room. That it could not be kept is the cache's to say.
    fn put(&self, key: &CodeKey, code: &[u8]);
}

/// What a cache has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    /// The code as it was put.
    Code(Vec<u8>),
    /// Nothing.
    Missing,
    /// Something that others may have written; the cache has said what.
    Distrusted,
}

/// What loading cost and what was refused, since the engine was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadStats {
    /// Modules that were compiled, by outcome: `ok`, or the code of the refusal.
    pub compiles: BTreeMap<&'static str, u64>,
    /// Nanoseconds that this took, waiting for a compiler included.
    pub compile_nanos: u64,
    /// Answers of the cache: `hit`, `miss`, `distrusted`.
    pub cache: BTreeMap<&'static str, u64>,
    /// Modules that were not taken, by code.
    pub refusals: BTreeMap<&'static str, u64>,
}

impl LoadStats {
    /// Outcomes of [`LoadStats::compiles`].
    pub const COMPILES: [&'static str; 4] = ["ok", "compile", "compile-limit", "compile-unavailable"];
    /// Outcomes of [`LoadStats::cache`].
    pub const CACHE: [&'static str; 3] = ["hit", "miss", "distrusted"];
}

/// Where an engine's code comes from.
pub(crate) struct Loader {
    compile: Box<dyn Compile>,
    cache: Option<Box<dyn CodeCache>>,
    stats: Mutex<LoadStats>,
}

impl Loader {
    pub fn new(compile: Box<dyn Compile>, cache: Option<Box<dyn CodeCache>>) -> Loader {
        Loader { compile, cache, stats: Mutex::default() }
    }

    pub fn stats(&self) -> LoadStats {
        self.count().clone()
    }

    /// Counts what was refused.
    pub fn refused(&self, refusal: &Refusal) {
        *self.count().refusals.entry(refusal.code()).or_default() += 1;
    }

    /// The component of these bytes, whose digest it is.
    pub fn component(&self, runtime: &Runtime, digest: &Text, bytes: &[u8]) -> Result<Component, Refusal> {
        let key = CodeKey { digest: digest.clone(), compat: runtime.compat().clone() };
        if let Some(component) = self.cached(runtime, &key) {
            return Ok(component);
        }
        let code = self.compiled(bytes)?;
        // Only a compiler of another build, as of a program that was replaced while it runs, makes code that does not fit.
        let component = revive(runtime, &code).map_err(|e| Refusal::CompileUnavailable(format!("what the compiler made is not for this process: {e:#}")))?;
        if let Some(cache) = &self.cache {
            cache.put(&key, &code);
        }
        Ok(component)
    }

    fn cached(&self, runtime: &Runtime, key: &CodeKey) -> Option<Component> {
        let found = self.cache.as_ref()?.get(key);
        let (outcome, component) = match found {
            Cached::Missing => ("miss", None),
            Cached::Distrusted => ("distrusted", None),
            Cached::Code(code) => match revive(runtime, &code) {
                Ok(component) => ("hit", Some(component)),
                Err(e) => {
                    tracing::warn!(digest = %key.digest, "cached code does not fit and is compiled again: {e:#}");
                    ("miss", None)
                }
            },
        };
        *self.count().cache.entry(outcome).or_default() += 1;
        component
    }

    fn compiled(&self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let started = Instant::now();
        let compiled = self.compile.compile(bytes).map_err(|failed: CompileFailed| Refusal::from(failed));
        let mut stats = self.count();
        stats.compile_nanos += u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        *stats.compiles.entry(compiled.as_ref().map_or_else(Refusal::code, |_| "ok")).or_default() += 1;
        compiled
    }

    fn count(&self) -> MutexGuard<'_, LoadStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiled code, ready to be linked. wasmtime checks version, settings and processor; not whether the code is good.
#[allow(unsafe_code, reason = "the only place: code that was compiled elsewhere, or earlier, has no other way in")]
fn revive(runtime: &Runtime, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` has to be what wasmtime's compiler made and nobody changed since. It comes from `Compile`, or from a
    // `CodeCache`, which gives only what was put there; both promise it.
    unsafe { Component::deserialize(runtime.engine(), code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::InProcess;
    use crate::limits::Limits;
    use crate::{Engine, RuleOptions};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    /// A cache in memory that somebody may write to.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(CodeKey, Cached)>>>);

    impl Kept {
        fn all(&self) -> MutexGuard<'_, Vec<(CodeKey, Cached)>> {
            self.0.lock().unwrap()
        }
    }

    impl CodeCache for Kept {
        fn get(&self, key: &CodeKey) -> Cached {
            self.all().iter().find(|(known, _)| known == key).map_or(Cached::Missing, |(_, found)| found.clone())
        }
        fn put(&self, key: &CodeKey, code: &[u8]) {
            self.all().retain(|(known, _)| known != key);
            self.all().push((key.clone(), Cached::Code(code.to_vec())));
        }
    }

    struct Fails(CompileFailed);

    impl Compile for Fails {
        fn compile(&self, _component: &[u8]) -> Result<Vec<u8>, CompileFailed> {
            Err(self.0.clone())
        }
    }

    struct Gives(Vec<u8>);

    impl Compile for Gives {
        fn compile(&self, _component: &[u8]) -> Result<Vec<u8>, CompileFailed> {
            Ok(self.0.clone())
        }
    }

    fn engine(compile: impl Compile + 'static, cache: &Kept) -> Engine {
        Engine::with(|_: &str| Err("nothing is kept".to_owned()), Box::new(compile), Some(Box::new(cache.clone()))).expect("an engine")
    }

    fn says() -> Vec<u8> {
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/dist/test/says.wasm")).expect("a committed module")
    }

    #[test]
    fn what_is_kept_is_not_compiled_again() {
        let kept = Kept::default();
        let first = engine(InProcess, &kept);
        first.load(&says(), None, &RuleOptions::default(), &[]).expect("a good module");
        first.load(&says(), None, &RuleOptions::default(), &[]).expect("a good module");
        assert_eq!((first.load_stats().compiles["ok"], &first.load_stats().cache["miss"]), (1, &1), "it is in memory the second time");
        assert!(first.load_stats().compile_nanos > 0);
        let never = engine(Fails(CompileFailed::Unavailable("it was asked".to_owned())), &kept);
        never.load(&says(), None, &RuleOptions::default(), &[]).expect("a good module");
        assert_eq!((never.load_stats().compiles.len(), never.load_stats().cache["hit"]), (0, 1));
    }

    #[test]
    fn what_is_distrusted_or_does_not_fit_is_compiled_again_and_replaced() {
        let kept = Kept::default();
        engine(InProcess, &kept).inspect(&says()).expect("a good module");
        let (key, good) = kept.all()[0].clone();
        assert!(key.compat.len() == 16 && key.digest.len() == 64, "{key:?}");
        for (found, outcome) in [(Cached::Distrusted, "distrusted"), (Cached::Code(b"\x7fELF of another version".to_vec()), "miss")] {
            *kept.all() = vec![(key.clone(), found)];
            let engine = engine(InProcess, &kept);
            engine.inspect(&says()).expect("a good module");
            assert_eq!((engine.load_stats().cache[outcome], engine.load_stats().compiles["ok"]), (1, 1));
            assert_eq!(kept.all()[0], (key.clone(), good.clone()), "the same module gives the same code");
        }
    }

    #[test]
    fn a_compiler_that_fails_is_a_refusal_with_its_code() {
        for (compile, code) in [
            (Box::new(Fails(CompileFailed::Refused("words".to_owned()))) as Box<dyn Compile>, "compile"),
            (Box::new(Fails(CompileFailed::Limit("words".to_owned()))), "compile-limit"),
            (Box::new(Fails(CompileFailed::Unavailable("words".to_owned()))), "compile-unavailable"),
            (Box::new(Gives(b"words, not code".to_vec())), "compile-unavailable"),
        ] {
            let engine = Engine::with(|_: &str| Err("nothing is kept".to_owned()), compile, None).expect("an engine");
            let refusal = engine.load(&says(), None, &RuleOptions::default(), &[]).err().expect("a refusal");
            assert_eq!(refusal.code(), code, "{refusal}");
            let stats = engine.load_stats();
            assert_eq!(stats.refusals, BTreeMap::from([(code, 1)]));
            assert!(stats.compiles.keys().all(|outcome| LoadStats::COMPILES.contains(outcome)), "{stats:?}");
            assert!(engine.compile(&says(), Limits::default().memory_bytes).is_err(), "nothing of it stays");
        }
    }

    #[test]
    fn unsafe_is_in_one_place() {
        // Put together, so that this test does not find itself.
        let word = ["un", "safe"].concat();
        let (opens, lint) = (format!("{word} "), format!("{word}_code"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = Vec::new();
        for folder in ["host", "tests", "xtask"] {
            sources(&root.join(folder), &mut |path, text| {
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let opening = code.filter(|line| line.contains(&opens) || line.contains(&lint));
                found.extend(opening.map(|_| path.strip_prefix(&root).expect("below the root").to_owned()));
            });
        }
        assert_eq!(found, ["host/engine/src/cache.rs"; 2].map(PathBuf::from), "one allowance, one block");
        let workspace = std::fs::read_to_string(root.join("Cargo.toml")).expect("the workspace");
        assert!(workspace.contains(&format!("{lint} = \"deny\"")));
    }

    /// Every file of Rust that is built for the host; guests are built for WebAssembly.
    fn sources(dir: &Path, see: &mut dyn FnMut(&Path, &str)) {
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with("fixtures") {
                    sources(&path, see);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                see(&path, &std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
}
