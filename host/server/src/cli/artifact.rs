//! `rule export` and `rule fetch`: modules as OCI artifacts, in a directory or a registry, without a server.

use super::Context;
use super::exit::{Exit, Failure};
use super::rule::read_module;
use super::sign::{inspect, read_signature, write_whole};
use crate::oci::credentials::Sources;
use crate::oci::{self, Access, Artifact, Reference, fetch, layout, registry};
use crate::{outgoing, signature};
use alertmill_stores::modules::digest;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// How registries are reached; credentials come from `ALERTMILL_OCI_USER` and `ALERTMILL_OCI_PASSWORD_FILE`, or from the
/// `config.json` of container tools.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// PEM file of certificate authorities that registries' certificates may be of, beside the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Ask registries without TLS
    #[arg(long)]
    plain_http: bool,
    /// A host that may be told a registry's credentials for a token, although it is not the registry's; may be given more than once
    #[arg(long = "auth-realm", value_name = "HOST")]
    auth_realms: Vec<String>,
}

/// A module to put into an artifact.
#[derive(Debug, Args)]
pub struct Export {
    /// The module, a `.wasm` component; a signature beside it goes with it
    file: PathBuf,
    /// Where it goes: a layout directory `DIR[:TAG]`, or `oci://HOST/REPO[:TAG]`. Without TAG, the module's version
    #[arg(long, value_name = "TO")]
    oci: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// A module to get out of an artifact.
#[derive(Debug, Args)]
pub struct Fetch {
    /// Where it is: `oci:DIR[:TAG]`, or `oci://HOST/REPO[:TAG][@sha256:..]`
    from: String,
    /// Where the module goes; its signature goes beside it, with `.sig` added
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl RegistryArgs {
    /// How [`fetch`] reaches registries.
    pub fn access(&self) -> Result<Access, Failure> {
        Ok(Access::new(self.ca_file.clone(), self.plain_http, self.auth_realms.clone(), Sources::of_environment())?)
    }
}

/// `rule export`
pub async fn export(args: &Export, context: &Context) -> Result<(), Failure> {
    let to = if Reference::is_meant(&args.oci) { Reference::parse(&args.oci)? } else { Reference::parse(&format!("oci:{}", args.oci))? };
    let info = inspect(&args.file)?;
    let beside = read_signature(&signature::beside(&args.file))?;
    if let Some(bytes) = &beside {
        let unsound = |why: String| Failure::new(Exit::Usage, format!("{}: {why}", signature::beside(&args.file).display()));
        signature::SignatureFile::parse(bytes).map_err(unsound)?;
    }
    let module = read_module(&args.file)?;
    if digest(&module) != info.digest.as_str() {
        return Err(Failure::new(Exit::Conflict, format!("{} was changed meanwhile; try again", args.file.display())));
    }
    let artifact = Artifact::new(module.into(), &info.name, &info.version, &info.exports, &info.imports, beside.as_deref());
    let tag = |given: &Option<String>| given.clone().or_else(|| Some(info.version.to_string()).filter(|version| oci::is_tag(version)));
    let (place, digest) = match &to {
        Reference::Layout { dir, tag: given } => {
            let tag = tag(given);
            (Reference::Layout { dir: dir.clone(), tag: tag.clone() }, layout::write(dir, tag.as_deref(), &artifact)?)
        }
        Reference::Registry { digest: Some(_), .. } => return Err(Failure::new(Exit::Usage, format!("{to}: the digest is what comes of it; give a tag"))),
        Reference::Registry { host, repository, tag: given, .. } => {
            let tag = tag(given);
            let digest = registry::Repository::new(&args.registry.access()?, host, repository).push(tag.as_deref(), &artifact).await?;
            (Reference::Registry { host: host.clone(), repository: repository.clone(), tag, digest: None }, digest)
        }
    };
    let made = json!({
        "name": info.name.as_str(),
        "version": info.version.as_str(),
        "digest": format!("sha256:{}", info.digest),
        "reference": place.to_string(),
        "manifest_digest": digest.to_string(),
        "is_signed": beside.is_some(),
    });
    super::alert::document(context, &made, "reference")
}

/// `rule fetch`
pub async fn fetch_to_file(args: &Fetch, context: &Context) -> Result<(), Failure> {
    let fetched = fetch(&Reference::parse(&args.from)?, &args.registry.access()?).await?;
    // The signature first: a server that looks at the folder would refuse a new module without it.
    let beside = signature::beside(&args.to);
    match &fetched.signature {
        Some(bytes) => write_whole(&beside, bytes)?,
        None if beside.exists() => {
            let why = "the artifact has no signature, and what lies there is of another module; remove it";
            return Err(Failure::new(Exit::Conflict, format!("{}: {why}", beside.display())));
        }
        None => {}
    }
    write_whole(&args.to, &fetched.module)?;
    let got = json!({
        "file": args.to,
        "digest": format!("sha256:{}", digest(&fetched.module)),
        "size_bytes": fetched.module.len(),
        "source": fetched.source,
        "is_signed": fetched.signature.is_some(),
    });
    super::alert::document(context, &got, "file")
}

impl From<oci::Failure> for Failure {
    fn from(failure: oci::Failure) -> Failure {
        use outgoing::Failure as Call;
        let exit = match &failure {
            oci::Failure::NotFound(_) => Exit::NotFound,
            oci::Failure::Denied { .. } => Exit::Permission,
            oci::Failure::Malformed { .. } | oci::Failure::Changed { .. } | oci::Failure::TooLarge { .. } => Exit::No,
            oci::Failure::Reference { .. } | oci::Failure::Io { .. } | oci::Failure::Credentials(_) => Exit::Usage,
            oci::Failure::Answered { status: 429 | 503, .. } => Exit::Later,
            oci::Failure::Answered { .. } => Exit::Unreachable,
            oci::Failure::Outgoing(Call::Url(_) | Call::Header(_) | Call::CaFile { .. }) => Exit::Usage,
            oci::Failure::Outgoing(Call::AddressRefused { .. } | Call::PlainHttp { .. } | Call::Redirect { .. }) => Exit::Policy,
            oci::Failure::Outgoing(Call::TooLarge { .. }) => Exit::No,
            oci::Failure::Outgoing(_) => Exit::Unreachable,
        };
        Failure::new(exit, format!("{failure} ({})", failure.code()))
    }
}
