//! `rule keygen`, `rule sign`, `rule verify`: signatures of modules, made and checked without a server.

use super::Context;
use super::exit::{Exit, Failure};
use super::output::Format;
use super::rule::{engine, read_module};
use crate::signature::{self, FILE_MAX, PublicKey, Publisher, Publishers, SecretKey, SignatureFile, Statement, TENANT};
use alertmill_engine::RuleInfo;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A new key.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where the secret key goes; the public one goes beside it, with `.pub` added. Neither may exist
    file: PathBuf,
}

/// A module to sign.
#[derive(Debug, Args)]
pub struct Sign {
    /// The module, a `.wasm` component
    file: PathBuf,
    /// The secret key, as `rule keygen` or `openssl genpkey -algorithm ed25519` wrote it
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// What you call yourself; for people, nothing rests on it
    #[arg(long, value_name = "NAME", default_value = "")]
    publisher: String,
    /// Where the signature goes; without it, beside the module with `.sig` added. A signature of the same by another key stays in it
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    to: Option<PathBuf>,
}

/// A module and its signature.
#[derive(Debug, Args)]
pub struct Verify {
    /// The module, a `.wasm` component
    file: PathBuf,
    /// A public key that may have signed it: `ed25519:BASE64`, or a PEM file; may be given more than once
    #[arg(long = "key", value_name = "PUB", required = true)]
    keys: Vec<String>,
    /// The signature; without it, what lies beside the module with `.sig` added
    #[arg(long, value_name = "FILE")]
    sig: Option<PathBuf>,
}

/// `rule keygen`
pub fn keygen(args: &Keygen, context: &Context) -> Result<(), Failure> {
    let mut public_file = args.file.clone().into_os_string();
    public_file.push(".pub");
    let public_file = PathBuf::from(public_file);
    if public_file.exists() {
        return Err(Failure::new(Exit::Conflict, format!("{} is there already; a key is never written over", public_file.display())));
    }
    let (key, pem) = SecretKey::generate().map_err(|why| Failure::new(Exit::Bug, why))?;
    let unwritable = |file: &Path, e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(Exit::Conflict, format!("{} is there already; a key is never written over", file.display())),
        _ => Failure::new(Exit::Usage, format!("{} cannot be written: {e}", file.display())),
    };
    let secret = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    secret.and_then(|mut file| file.write_all(pem.as_bytes())).map_err(|e| unwritable(&args.file, e))?;
    let public = std::fs::OpenOptions::new().write(true).create_new(true).open(&public_file);
    public.and_then(|mut file| file.write_all(key.public().pem().as_bytes())).map_err(|e| unwritable(&public_file, e))?;
    let made = json!({"key_id": key.public().id(), "key": key.public().to_string(), "secret_file": args.file, "public_file": public_file});
    let mut out = context.output();
    match out.format() {
        Format::Json | Format::Ndjson => out.json(&made)?,
        Format::Name => out.line(&key.public().id())?,
        Format::Table => {
            out.line(&format!("secret key: {} (whoever has it signs as you)", args.file.display()))?;
            out.line(&format!("public key: {}", public_file.display()))?;
            out.line(&format!("key_id: {}", key.public().id()))?;
            out.bytes(b"\nfor the configuration of servers that are to take what it signs:\n\n[rules.publishers.NAME]\n")?;
            out.line(&format!("key = \"{}\"", key.public()))?;
        }
    }
    out.finish()
}

/// `rule sign`
pub fn sign(args: &Sign, context: &Context) -> Result<(), Failure> {
    let unusable = |why: String| Failure::new(Exit::Usage, format!("{} cannot sign: {why}", args.key.display()));
    let pem = std::fs::read_to_string(&args.key).map_err(|e| unusable(e.to_string()))?;
    let key = SecretKey::parse(&pem).map_err(unusable)?;
    let info = inspect(&args.file)?;
    let to = args.to.clone().unwrap_or_else(|| signature::beside(&args.file));
    let before = match read_signature(&to)? {
        None => None,
        Some(bytes) => {
            let why = |why: String| Failure::new(Exit::Usage, format!("{} is there and is not written over: {why}", to.display()));
            Some(SignatureFile::parse(&bytes).map_err(why)?)
        }
    };
    let unsound = || Failure::new(Exit::No, format!("{}: its name or version holds what cannot be signed", args.file.display()));
    let file = SignatureFile::sign(&statement(&info), &key, &args.publisher, before).ok_or_else(unsound)?;
    let bytes = file.to_bytes();
    if bytes.len() > FILE_MAX {
        return Err(Failure::new(
            Exit::Usage,
            format!("the signature file would have {} bytes, and {FILE_MAX} are taken; write a shorter --publisher", bytes.len()),
        ));
    }
    write_whole(&to, &bytes)?;
    show(context, &info, json!({"signature_file": to, "key_id": key.public().id(), "signatures": file.signatures().len()}))
}

/// `rule verify`
pub fn verify(args: &Verify, context: &Context) -> Result<(), Failure> {
    let publishers = args.keys.iter().map(|key| Ok(Publisher { name: key.clone(), key: public_key(key)?, rules: vec!["*".into()], revoked: false }));
    let publishers = Publishers::new(publishers.collect::<Result<_, Failure>>()?);
    let (from, found) = match &args.sig {
        Some(file) => (file.clone(), Some(read_named_signature(file)?)),
        None => {
            let file = signature::beside(&args.file);
            let found = read_signature(&file)?;
            (file, found)
        }
    };
    let info = inspect(&args.file)?;
    let refused = |refusal: signature::Refusal| Failure::new(Exit::Policy, format!("{}: {refusal} ({})", from.display(), refusal.code()));
    let signer = publishers.verify(&statement(&info), found.as_deref()).map_err(refused)?;
    let (publisher, key_id) = signer.map_or_else(Default::default, |signer| (signer.publisher, signer.key_id));
    show(context, &info, json!({"signature_file": from, "key": publisher, "key_id": key_id, "is_good": true}))
}

/// What the module says of itself, which is what is signed.
pub(super) fn inspect(file: &Path) -> Result<RuleInfo, Failure> {
    let refused = |refusal: alertmill_engine::Refusal| Failure::new(Exit::No, format!("{}: {refusal} ({})", file.display(), refusal.code()));
    engine()?.inspect(&read_module(file)?).map_err(refused)
}

fn statement(info: &RuleInfo) -> Statement<'_> {
    Statement { tenant: TENANT, name: &info.name, version: &info.version, digest: &info.digest }
}

fn public_key(text: &str) -> Result<PublicKey, Failure> {
    let pem = match text.starts_with("ed25519:") {
        true => text.to_owned(),
        false => std::fs::read_to_string(text).map_err(|e| Failure::new(Exit::Usage, format!("--key {text}: neither ed25519:BASE64 nor a file: {e}")))?,
    };
    PublicKey::parse(&pem).map_err(|why| Failure::new(Exit::Usage, format!("--key {text}: {why}")))
}

/// A signature file's bytes; None when there is none.
pub(super) fn read_signature(file: &Path) -> Result<Option<Vec<u8>>, Failure> {
    signature::read(file).map_err(|e| Failure::of_file(file, &e))
}

/// As [`read_signature`], of a file that the command line names and that must be there.
pub(super) fn read_named_signature(file: &Path) -> Result<Vec<u8>, Failure> {
    read_signature(file)?.ok_or_else(|| Failure::of_file(file, &std::io::ErrorKind::NotFound.into()))
}

/// Writes beside and renames, so that a server which looks never sees half a file.
pub(super) fn write_whole(to: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let unwritable = |e: std::io::Error| Failure::new(Exit::Usage, format!("{} cannot be written: {e}", to.display()));
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).tempfile_in(folder).map_err(unwritable)?;
    beside.write_all(bytes).and_then(|()| beside.as_file().sync_all()).map_err(unwritable)?;
    beside.persist(to).map(|_| ()).map_err(|e| unwritable(e.error))
}

fn show(context: &Context, info: &RuleInfo, more: Value) -> Result<(), Failure> {
    let mut value = json!({"name": info.name, "version": info.version, "digest": format!("sha256:{}", info.digest)});
    if let (Some(all), Value::Object(more)) = (value.as_object_mut(), more) {
        all.extend(more);
    }
    super::alert::document(context, &value, "name")
}
