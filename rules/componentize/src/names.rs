//! Function names as people write them: they are all that an operator sees of a panic in a rule that may not log. The
//! compiler's own are mangled and hold hashes of the folder that the sources lay in.

use std::error::Error;

use wasm_encoder::{Module, NameMap, NameSection, RawSection};
use wasmparser::{KnownCustom, Name, NameSectionReader, Parser, Payload};

/// The module with its name section rewritten and everything else as it was.
pub fn tidy(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Payload::CustomSection(custom) = &payload
            && let KnownCustom::Name(names) = custom.as_known()
        {
            module.section(&rewritten(names)?);
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &bytes[range] });
        }
    }
    Ok(module.finish())
}

/// Functions only: names of locals, globals and data would tell nobody anything.
fn rewritten(names: NameSectionReader) -> Result<NameSection, Box<dyn Error>> {
    let mut functions = NameMap::new();
    for group in names {
        let Name::Function(map) = group? else { continue };
        for naming in map {
            let naming = naming?;
            // `#` leaves the hashes out.
            functions.append(naming.index, &format!("{:#}", rustc_demangle::demangle(naming.name)));
        }
    }
    let mut section = NameSection::new();
    section.functions(&functions);
    Ok(section)
}
