//! A first look at the bytes, before any compiler sees them: what kind of file it is, and counts that bound what
//! compiling can cost. Linear in the file's size.

use crate::limits::{COMPONENT_BYTES_MAX, TABLE_ELEMENTS_MAX};
use crate::refusal::Refusal;
use wasmparser::{CanonicalFunction, CanonicalOption, Encoding, Parser, Payload, TypeRef};

/// Python's wrapper makes 17.
const CORE_MODULES_MAX: usize = 64;
const NESTED_COMPONENTS_MAX: usize = 64;
const DEPTH_MAX: usize = 8;
const IMPORTS_MAX: u64 = 256;
const EXPORTS_MAX: u64 = 256;
const FUNCTIONS_MAX: u64 = 200_000;
const FUNCTION_BYTES_MAX: usize = 4 << 20;
/// Of all functions: each is a variable for the compiler, and a few bytes declare 50,000 of them.
const LOCALS_MAX: u64 = 4_000_000;
const TYPES_MAX: u64 = 20_000;
const TABLES_MAX: u64 = 64;
const GLOBALS_MAX: u64 = 20_000;
/// Data and element segments: a module of a compiler has some thousands at most.
const SEGMENTS_MAX: u64 = 20_000;
const CUSTOM_BYTES_MAX: usize = 16 << 20;
const PAGE_BYTES: u64 = 64 << 10;

/// Refuses what is no component or would be dear to compile. Gives the bytes of memory that the module wants at start.
pub(crate) fn prescan(bytes: &[u8]) -> Result<u64, Refusal> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: bytes.len(), max: COMPONENT_BYTES_MAX });
    }
    look_at_the_head(bytes)?;
    let mut counts = Counts::default();
    let mut encodings: Vec<Encoding> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|e| damaged(bytes, &e))?;
        match &payload {
            Payload::Version { encoding, .. } => {
                encodings.push(*encoding);
                counts.memories = 0;
                if encodings.len() > DEPTH_MAX {
                    return Err(Refusal::TooComplex(format!("more than {DEPTH_MAX} levels of nesting")));
                }
            }
            Payload::End(_) => {
                encodings.pop();
            }
            _ => {}
        }
        counts.add(&payload, bytes)?;
    }
    Ok(counts.memory_wanted)
}

#[derive(Default)]
struct Counts {
    memory_wanted: u64,
    /// Of the core module that is looked at; one holds no other.
    memories: u64,
    modules: usize,
    components: usize,
    imports: u64,
    exports: u64,
    functions: u64,
    locals: u64,
    types: u64,
    tables: u64,
    table_elements: u64,
    globals: u64,
    segments: u64,
    custom_bytes: usize,
}

impl Counts {
    fn add(&mut self, payload: &Payload, bytes: &[u8]) -> Result<(), Refusal> {
        let read = |e: wasmparser::BinaryReaderError| damaged(bytes, &e);
        match payload {
            Payload::ModuleSection { .. } => {
                self.modules += 1;
                at_most("core modules", self.modules as u64, CORE_MODULES_MAX as u64)
            }
            Payload::ComponentSection { .. } => {
                self.components += 1;
                at_most("inner components", self.components as u64, NESTED_COMPONENTS_MAX as u64)
            }
            Payload::ComponentImportSection(section) => {
                self.imports += u64::from(section.count());
                at_most("imports", self.imports, IMPORTS_MAX)
            }
            Payload::ComponentExportSection(section) => {
                self.exports += u64::from(section.count());
                at_most("exports", self.exports, EXPORTS_MAX)
            }
            Payload::ComponentTypeSection(section) => self.add_types(section.count()),
            Payload::CoreTypeSection(section) => self.add_types(section.count()),
            Payload::TypeSection(section) => self.add_types(section.count()),
            Payload::ComponentAliasSection(section) => self.add_types(section.count()),
            Payload::ComponentInstanceSection(section) => self.add_types(section.count()),
            Payload::InstanceSection(section) => self.add_types(section.count()),
            Payload::CodeSectionStart { count, .. } => {
                self.functions += u64::from(*count);
                at_most("functions", self.functions, FUNCTIONS_MAX)
            }
            Payload::CodeSectionEntry(body) => {
                at_most("bytes in one function", body.range().len() as u64, FUNCTION_BYTES_MAX as u64)?;
                for group in body.get_locals_reader().map_err(read)? {
                    self.locals += u64::from(group.map_err(read)?.0);
                    at_most("locals of functions", self.locals, LOCALS_MAX)?;
                }
                Ok(())
            }
            Payload::GlobalSection(section) => {
                self.globals += u64::from(section.count());
                at_most("globals", self.globals, GLOBALS_MAX)
            }
            Payload::DataSection(section) => self.add_segments(section.count()),
            Payload::ElementSection(section) => self.add_segments(section.count()),
            Payload::TableSection(section) => {
                self.tables += u64::from(section.count());
                at_most("tables", self.tables, TABLES_MAX)?;
                for table in section.clone() {
                    self.table_elements = self.table_elements.saturating_add(table.map_err(read)?.ty.initial);
                    at_most("elements of tables at start", self.table_elements, TABLE_ELEMENTS_MAX as u64)?;
                }
                Ok(())
            }
            Payload::CustomSection(section) => {
                self.custom_bytes += section.data().len();
                at_most("bytes of custom sections", self.custom_bytes as u64, CUSTOM_BYTES_MAX as u64)
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    self.memories += u64::from(matches!(import.map_err(read)?.ty, TypeRef::Memory(_)));
                }
                at_most("memories of one core module", self.memories, 1)
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    let memory = memory.map_err(read)?;
                    if memory.memory64 {
                        return Err(Refusal::Memory64);
                    }
                    if memory.shared {
                        return Err(Refusal::TooComplex("shared memory".to_owned()));
                    }
                    self.memory_wanted = self.memory_wanted.saturating_add(memory.initial.saturating_mul(PAGE_BYTES));
                }
                self.memories += u64::from(section.count());
                at_most("memories of one core module", self.memories, 1)
            }
            Payload::ComponentCanonicalSection(section) => {
                self.add_types(section.count())?;
                for function in section.clone() {
                    check_encoding(&function.map_err(read)?)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_segments(&mut self, count: u32) -> Result<(), Refusal> {
        self.segments += u64::from(count);
        at_most("data and element segments", self.segments, SEGMENTS_MAX)
    }

    fn add_types(&mut self, count: u32) -> Result<(), Refusal> {
        self.types += u64::from(count);
        at_most("types, aliases and instances", self.types, TYPES_MAX)
    }
}

/// Three of the year's advisories on wasmtime were in transcoding; UTF-8 needs none.
fn check_encoding(function: &CanonicalFunction) -> Result<(), Refusal> {
    let (CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }) = function else { return Ok(()) };
    for option in options {
        match option {
            CanonicalOption::UTF16 => return Err(Refusal::StringEncoding("UTF-16")),
            CanonicalOption::CompactUTF16 => return Err(Refusal::StringEncoding("Latin-1 or UTF-16")),
            _ => {}
        }
    }
    Ok(())
}

fn at_most(what: &str, count: u64, max: u64) -> Result<(), Refusal> {
    if count <= max { Ok(()) } else { Err(Refusal::TooComplex(format!("{count} {what}, at most {max}"))) }
}

fn damaged(bytes: &[u8], e: &wasmparser::BinaryReaderError) -> Refusal {
    if e.message().contains("unexpected end") || e.offset() >= bytes.len() {
        return Refusal::NotAComponent(format!("the file ends in the middle, after {} bytes; copy or build it again", bytes.len()));
    }
    Refusal::NotAComponent(format!("damaged at byte {}: {}", e.offset(), e.message()))
}

fn look_at_the_head(bytes: &[u8]) -> Result<(), Refusal> {
    let is = |what: &str| Err(Refusal::NotAComponent(what.to_owned()));
    match bytes {
        [] => is("the file is empty"),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            is("this is a core module; make a component of it with `wasm-tools component new`, or as the README wraps a rule")
        }
        [0, b'a', b's', b'm', rest @ ..] if rest.len() < 4 => is("the file ends within its first 8 bytes"),
        [0, b'a', b's', b'm', ..] => is("a WebAssembly file of a version that this host does not know"),
        [0x7f, b'E', b'L', b'F', ..] => is("this is an ELF program or library; build the rule for wasm32-unknown-unknown"),
        [0x1f, 0x8b, ..] => is("this is a gzip file; unpack it first"),
        [b'P', b'K', 3, 4, ..] => is("this is a zip file; unpack it first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => is("this is a zstd file; unpack it first"),
        _ => match std::str::from_utf8(&bytes[..bytes.len().min(512)]) {
            Ok(text) if text.trim_start().starts_with("(component") || text.trim_start().starts_with("(module") => {
                is("this is WebAssembly text; translate it with `wasm-tools parse`")
            }
            Ok(_) => is("this is a text file; wanted is the compiled rule, a .wasm file"),
            Err(_) => is("the file does not begin with WebAssembly's magic bytes"),
        },
    }
}
