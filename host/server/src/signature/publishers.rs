//! Whose signatures count, and for which rules.

use super::{PublicKey, Refusal, SignatureFile, Signer, Statement};

/// One who may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The name in our configuration.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Names of rules that it may sign; `*` stands for any run of characters.
    pub rules: Vec<String>,
    /// Whether what it signed no longer counts.
    pub revoked: bool,
}

/// All who may sign. With none, signatures are not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publishers(Vec<Publisher>);

impl Publishers {
    /// These.
    pub fn new(publishers: Vec<Publisher>) -> Publishers {
        Publishers(publishers)
    }

    /// Whether a new version needs a signature.
    pub fn are_configured(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a new version may be taken; call it before anything of it is kept, with the name, the version and the digest that
    /// the module itself has, and the bytes of the file beside it.
    ///
    /// Without publishers every version may, unsigned: `Ok(None)`. Otherwise one good signature is enough, of a publisher that is not
    /// revoked and may sign rules of that name. Never ask it of what runs already, and never on replay: a version that was
    /// taken stays taken.
    pub fn verify(&self, statement: &Statement<'_>, file: Option<&[u8]>) -> Result<Option<Signer>, Refusal> {
        if !self.are_configured() {
            return Ok(None);
        }
        let name = || statement.name.to_owned();
        let invalid = |why: String| Refusal::Invalid { name: name(), why };
        let Some(file) = file else {
            return Err(Refusal::Missing { name: name() });
        };
        let file = SignatureFile::parse(file).map_err(invalid)?;
        if let Some(why) = file.is_of_another(statement) {
            return Err(invalid(why));
        }
        let signed = statement.signed_bytes().ok_or_else(|| invalid("its name or version holds what cannot be signed".to_owned()))?;
        // What is said of several signatures of which none counts: a wrong one first, then a revoked one.
        let (mut wrong, mut revoked) = (None, None);
        for signature in file.signatures() {
            for publisher in self.0.iter().filter(|publisher| publisher.key.id() == signature.key_id && publisher.may_sign(statement.name)) {
                if !signature.bytes().is_some_and(|bytes| publisher.key.verifies(&signed, &bytes)) {
                    wrong = Some(invalid(format!("the key of publisher `{}` did not make it", publisher.name)));
                } else if publisher.revoked {
                    revoked = Some(Refusal::Revoked { name: name(), publisher: publisher.name.clone() });
                } else {
                    return Ok(Some(Signer { publisher: publisher.name.clone(), key_id: signature.key_id.clone() }));
                }
            }
        }
        Err(wrong.or(revoked).unwrap_or_else(|| self.unknown(statement.name, &file)))
    }

    fn unknown(&self, name: &str, file: &SignatureFile) -> Refusal {
        let key_ids: Vec<&str> = file.signatures().iter().map(|signature| signature.key_id.as_str()).collect();
        let known: Vec<&str> = self.0.iter().filter(|p| key_ids.contains(&p.key.id().as_str())).map(|p| p.name.as_str()).collect();
        let why = if known.is_empty() {
            "no publisher with such a key is configured".to_owned()
        } else {
            format!("publisher `{}` may not sign rules of this name; see `rules` of the publisher", known.join("`, `"))
        };
        Refusal::Unknown { name: name.to_owned(), key_ids: key_ids.join(", "), why }
    }
}

impl Publisher {
    fn may_sign(&self, name: &str) -> bool {
        self.rules.iter().any(|pattern| matches(pattern, name))
    }
}

/// Whether `name` is of the form `pattern`, in which `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| name.strip_prefix(start)) else {
        return false;
    };
    let Some(end) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        // The first place is as good as any: what is behind it is the longest.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, name, expected) in [
            ("*", "owner", true),
            ("owner", "owner", true),
            ("owner", "owner2", false),
            ("owner*", "owner-from-table", true),
            ("*table", "owner-from-table", true),
            ("o*f*e", "owner-from-table", true),
            ("o*x*e", "owner-from-table", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
            ("", "x", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
