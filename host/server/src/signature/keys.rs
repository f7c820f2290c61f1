//! Ed25519 keys: as a line of configuration, and as the PEM files that openssl reads and writes.

use super::hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SecureRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// What stands before the 32 bytes of a public key in a SubjectPublicKeyInfo: all of them have a fixed length.
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before the 32 bytes of a secret key in PKCS #8, version 1, which every openssl reads.
const SECRET_PREFIX: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// A secret key. It has no `Debug` that shows it.
pub struct SecretKey {
    pair: Ed25519KeyPair,
}

impl PublicKey {
    /// Reads `ed25519:<base64 of 32 bytes>`, or PEM (`BEGIN PUBLIC KEY`).
    pub fn parse(text: &str) -> Result<PublicKey, String> {
        if let Some(encoded) = text.trim().strip_prefix("ed25519:") {
            let bytes = BASE64.decode(encoded).map_err(|e| format!("what stands behind ed25519: is no base64: {e}"))?;
            let bytes: [u8; 32] = bytes.try_into().map_err(|bytes: Vec<u8>| format!("an Ed25519 key has 32 bytes, this one {}", bytes.len()))?;
            return Ok(PublicKey(bytes));
        }
        if text.contains("PRIVATE KEY-----") {
            return Err("it is a secret key, which belongs to who signs; `alertmill rule keygen` wrote the public one beside it, as .pub".to_owned());
        }
        let Ok(der) = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()) else {
            return Err("it is neither ed25519:BASE64 nor a PEM public key".to_owned());
        };
        match der.strip_prefix(&PUBLIC_PREFIX).map(<[u8; 32]>::try_from) {
            Some(Ok(bytes)) => Ok(PublicKey(bytes)),
            _ => Err("it is a public key of another kind; Ed25519 is what is taken".to_owned()),
        }
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &[&PUBLIC_PREFIX[..], &self.0].concat())
    }

    /// Name of the key: `sha256:` and the first 16 hexadecimal digits of the SHA-256 of its 32 bytes.
    pub fn id(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.0);
        format!("sha256:{}", hex(&digest.as_ref()[..8]))
    }

    /// Whether it is a signature of these bytes by this key.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ed25519:{}", BASE64.encode(self.0))
    }
}

impl SecretKey {
    /// A new key with its PEM, which is to be kept secret.
    pub fn generate() -> Result<(SecretKey, String), String> {
        let mut seed = [0; 32];
        ring::rand::SystemRandom::new().fill(&mut seed).map_err(|_| "the system gives no random bytes".to_owned())?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|e| e.to_string())?;
        Ok((SecretKey { pair }, pem("PRIVATE KEY", &[&SECRET_PREFIX[..], &seed].concat())))
    }

    /// Reads PEM (`BEGIN PRIVATE KEY`, PKCS #8 without a password).
    pub fn parse(text: &str) -> Result<SecretKey, String> {
        if text.contains("ENCRYPTED PRIVATE KEY-----") {
            return Err("it needs a password; write it without one first (`openssl pkey -in KEY -out PLAIN`)".to_owned());
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| "it is no PEM private key (PKCS #8)".to_owned())?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        pair.map(|pair| SecretKey { pair }).map_err(|_| "it is no Ed25519 key; make one with `alertmill rule keygen`".to_owned())
    }

    /// The key that others check with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    // Both kinds of key fit into the 64 characters of one line.
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}
