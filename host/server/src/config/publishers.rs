//! `[rules.publishers.NAME]` -> those whose signatures count.

use super::model::{Publisher, Rules};
use crate::signature::{self, PublicKey, Publishers};

/// A PEM public key has some 110 bytes.
const KEY_FILE_MAX: u64 = 4 << 10;

impl Rules {
    /// Those whose signatures count. Fails only for a key that was not checked when the configuration was loaded.
    pub fn signers(&self) -> Result<Publishers, String> {
        let one = |(name, publisher): (&String, &Publisher)| {
            let key = PublicKey::parse(&publisher.key).map_err(|why| format!("rules.publishers.{name}: {why}"))?;
            Ok(signature::Publisher { name: name.clone(), key, rules: publisher.rules.clone(), revoked: publisher.revoked })
        };
        self.publishers.iter().map(one).collect::<Result<_, _>>().map(Publishers::new)
    }
}

impl Publisher {
    /// Reads the key, from its file if it is in one, and keeps it as text in `key`. Errors name the key of the section.
    pub(super) fn settle(&mut self) -> Result<(), (&'static str, String)> {
        let is_in_file = !self.key_file.as_os_str().is_empty();
        match (self.key.is_empty(), is_in_file) {
            (true, false) => return Err(("key", "there is no key".to_owned())),
            (false, true) => return Err(("key_file", "`key` is given too".to_owned())),
            (false, false) => {}
            (true, true) => {
                let file = self.key_file.display();
                let unreadable = |why: String| ("key_file", format!("{file} cannot be read: {why}"));
                match std::fs::metadata(&self.key_file) {
                    Err(e) => return Err(unreadable(e.to_string())),
                    Ok(found) if found.len() > KEY_FILE_MAX => return Err(unreadable("it is too large for a key".to_owned())),
                    Ok(_) => self.key = std::fs::read_to_string(&self.key_file).map_err(|e| unreadable(e.to_string()))?,
                }
            }
        }
        let at = if is_in_file { "key_file" } else { "key" };
        self.key = PublicKey::parse(&self.key).map_err(|why| (at, why))?.to_string();
        Ok(())
    }
}
