//! Why a module is not taken. Each refusal has a code that scripts may rest on, and a text that says what, where and what
//! to do.

use crate::contracts::WIT_VERSION;

/// A module or its options were refused; what ran before goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `too-large`
    #[error("the file has {bytes} bytes and at most {max} are taken; strip debug information or split the rule")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The cap.
        max: usize,
    },
    /// `not-a-component`
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// `too-complex`
    #[error("the component is built in a way that no rule needs: {0}")]
    TooComplex(String),
    /// `memory-minimum`
    #[error("the module asks for {wanted} bytes of memory at start and may have {max}; lower its initial memory or raise limits.memory_bytes")]
    MemoryMinimum {
        /// What it declares.
        wanted: u64,
        /// What it may have.
        max: u64,
    },
    /// `memory-minimum`
    #[error("the module uses 64-bit memory, which may ask for more at start than any rule may have; build it for wasm32")]
    Memory64,
    /// `string-encoding`
    #[error("the module passes text as {0}; build it with UTF-8 strings")]
    StringEncoding(&'static str),
    /// `import-refused`
    #[error("the module imports what rules do not get: {imports}; {hint}")]
    ImportRefused {
        /// Full names, and of an interface that is known the functions that are not.
        imports: String,
        /// What to do.
        hint: String,
    },
    /// `import-type`
    #[error("the module imports `{name}` as {found}, and this host has it as {wanted}; build the rule again with the SDK of this host")]
    ImportType {
        /// Interface and function.
        name: String,
        /// Parameters and result, as the module wants them; of long ones the part where they differ.
        found: String,
        /// As the host has them.
        wanted: String,
    },
    /// `wit-version`
    #[error("`{name}` is of contract version {found}, this host offers {WIT_VERSION}; build the rule again with the SDK of this host")]
    WitVersion {
        /// Full name of the import or export.
        name: String,
        /// Its version.
        found: String,
    },
    /// `export-missing`
    #[error("{0}")]
    ExportMissing(String),
    /// `export-type`
    #[error("the module exports `{name}` as {found}, and contract {WIT_VERSION} has it as {wanted}; build the rule again with the SDK of this host")]
    ExportType {
        /// Interface and function.
        name: String,
        /// Parameters and result, as the module has them; of long ones the part where they differ.
        found: String,
        /// As the contract has them.
        wanted: String,
    },
    /// `grant-missing`
    #[error("the module imports `{import}`, which is not granted; add grants = [\"{grant}\"] to the rule's options if it may have it")]
    GrantMissing {
        /// Full name of the import.
        import: String,
        /// The grant.
        grant: &'static str,
    },
    /// `compile`
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// `compile-limit`
    #[error("compiling the component takes more than it may: {0}")]
    CompileLimit(String),
    /// `compile-unavailable`
    #[error("the component cannot be compiled now: {0}")]
    CompileUnavailable(String),
    /// `manifest`
    #[error("the manifest is refused: {0}")]
    Manifest(String),
    /// `config-invalid`
    #[error("the config does not fit what the module takes: {0}")]
    ConfigInvalid(String),
    /// `table-missing`
    #[error("the module reads table `{0}`, which cannot be used; add [tables.{0}], or, if it is there, correct what is reported of it")]
    TableMissing(String),
    /// `table-invalid`
    #[error("table `{name}` cannot be read: {why}")]
    TableInvalid {
        /// Which.
        name: String,
        /// Line and cause.
        why: String,
    },
    /// `name-differs`
    #[error("the module calls itself `{found}`, wanted is `{wanted}`; rename the file or the rule")]
    NameDiffers {
        /// From the file or the record.
        wanted: String,
        /// From the manifest.
        found: String,
    },
    /// `describe-failed`
    #[error("`describe` did not answer: {0}")]
    DescribeFailed(String),
    /// `instantiate-failed`
    #[error("no instance can be made of the module: {0}")]
    InstantiateFailed(String),
    /// `init-failed`
    #[error("the rule refused its config: {0}")]
    InitFailed(String),
    /// `init-trap`
    #[error("the rule crashed in `init`: {0}")]
    InitTrap(String),
    /// `init-timeout`
    #[error("the rule was still in `{what}` after {limit_ms} ms; make it quicker or raise limits.init_ms")]
    InitTimeout {
        /// `init`, `describe` or the start of the module.
        what: &'static str,
        /// The limit.
        limit_ms: u64,
    },
    /// `options`
    #[error("the rule's options are refused: {0}")]
    Options(String),
    /// `content-missing`
    #[error("{0}")]
    ContentMissing(String),
}

impl Refusal {
    /// Stable word for scripts, the API and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Refusal::TooLarge { .. } => "too-large",
            Refusal::NotAComponent(_) => "not-a-component",
            Refusal::TooComplex(_) => "too-complex",
            Refusal::MemoryMinimum { .. } | Refusal::Memory64 => "memory-minimum",
            Refusal::StringEncoding(_) => "string-encoding",
            Refusal::ImportRefused { .. } => "import-refused",
            Refusal::ImportType { .. } => "import-type",
            Refusal::WitVersion { .. } => "wit-version",
            Refusal::ExportMissing(_) => "export-missing",
            Refusal::ExportType { .. } => "export-type",
            Refusal::GrantMissing { .. } => "grant-missing",
            Refusal::Compile(_) => "compile",
            Refusal::CompileLimit(_) => "compile-limit",
            Refusal::CompileUnavailable(_) => "compile-unavailable",
            Refusal::Manifest(_) => "manifest",
            Refusal::ConfigInvalid(_) => "config-invalid",
            Refusal::TableMissing(_) => "table-missing",
            Refusal::TableInvalid { .. } => "table-invalid",
            Refusal::NameDiffers { .. } => "name-differs",
            Refusal::DescribeFailed(_) => "describe-failed",
            Refusal::InstantiateFailed(_) => "instantiate-failed",
            Refusal::InitFailed(_) => "init-failed",
            Refusal::InitTrap(_) => "init-trap",
            Refusal::InitTimeout { .. } => "init-timeout",
            Refusal::Options(_) => "options",
            Refusal::ContentMissing(_) => "content-missing",
        }
    }
}
