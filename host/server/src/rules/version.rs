//! The record of a version that came: by an upload, or as a file of the rules folder.

use super::Who;
use crate::signature::{Publishers, Refusal, Statement, TENANT};
use alertmill_core::value::Text;
use alertmill_core::version_change::{INFO_BYTES_MAX, VersionAction, VersionChange, VersionSignature};
use alertmill_engine::RuleInfo;
use alertmill_stores::modules::digest;

/// That a checked module can be activated from now on.
pub fn came(info: &RuleInfo, who: Who, source: &str, signature: Option<VersionSignature>) -> VersionChange {
    let Who { operator, address, comment } = who;
    VersionChange {
        action: VersionAction::Uploaded,
        name: info.name.clone(),
        version: info.version.clone(),
        digest: info.digest.clone(),
        size_bytes: info.size_bytes,
        operator,
        address,
        comment,
        source: Text::new(source),
        signature,
        info: info_text(info),
    }
}

/// What the module says of itself; without its schema when that alone is too long for a record.
fn info_text(info: &RuleInfo) -> Text {
    let text = |info: &RuleInfo| serde_json::to_string(info).unwrap_or_default();
    match text(info) {
        long if long.len() > INFO_BYTES_MAX => Text::from(text(&RuleInfo { config_schema: String::new(), ..info.clone() })),
        text => Text::from(text),
    }
}

/// Whether a version may be taken, and by whose signature; keep its file among the modules.
pub fn signed(publishers: &Publishers, name: &str, version: &str, module: &str, file: Option<&[u8]>) -> Result<Option<VersionSignature>, Refusal> {
    let signer = publishers.verify(&Statement { tenant: TENANT, name, version, digest: module }, file)?;
    let of = |(signer, file): (crate::signature::Signer, &[u8])| VersionSignature {
        signer: Text::from(signer.publisher),
        key_id: Text::from(signer.key_id),
        digest: Text::from(digest(file)),
    };
    Ok(signer.zip(file).map(of))
}
