//! Compiled code in the data folder, as the engine asks for it.

use alertmill_engine::{Cached, CodeCache, CodeKey};
use alertmill_stores::compiled::{CompiledFiles, Found};

/// The files, and the log.
pub struct KeptCode(pub CompiledFiles);

impl CodeCache for KeptCode {
    fn get(&self, key: &CodeKey) -> Cached {
        match self.0.get(&key.digest, &key.compat) {
            Found::Code(code) => Cached::Code(code),
            Found::Missing => Cached::Missing,
            Found::Distrusted(why) => {
                tracing::error!(digest = %key.digest, "compiled code is not trusted, and the module is compiled again: {why}");
                Cached::Distrusted
            }
        }
    }

    fn put(&self, key: &CodeKey, code: &[u8]) {
        if let Err(why) = self.0.put(&key.digest, &key.compat, code) {
            tracing::warn!(digest = %key.digest, "compiled code is not kept, so the next start compiles the module again: {why}");
        }
    }
}
