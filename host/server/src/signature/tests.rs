use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Made by `openssl genpkey -algorithm ed25519`.
const OPENSSL_SECRET: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIOx0OQWJQ9gqdJ4/qHchPAzMzOrzG+9wX5HpLFrLypg7
-----END PRIVATE KEY-----
";
/// Made of it by `openssl pkey -pubout`.
const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAk+noVhWFsq6lOLlkr0O89XTCK129ocWuJ7LfIlpkWwU=
-----END PUBLIC KEY-----
";
/// Made by `openssl pkeyutl -sign -rawin` over the lines of [`statement`].
const OPENSSL_SIGNATURE: &str = "xj/MFUqL8Y1h8TG1QU637fx5ra91yN7U7X+OleLRoWQEQACY3aNuKRMxbd9D3yX3PTa7X8UMRsydK8hvJdkhCA==";
/// Of the bytes `a module`.
const DIGEST: &str = "f6c0d945dc8a9e01854484f4e9b123945919e553778d4386d1d939451c038a0c";
const OTHER_DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const STATEMENT: Statement<'_> = Statement { tenant: TENANT, name: "owner", version: "1.2.0", digest: DIGEST };

fn secret() -> SecretKey {
    SecretKey::parse(OPENSSL_SECRET).expect("a key")
}

fn publisher(name: &str, key: PublicKey) -> Publisher {
    Publisher { name: name.to_owned(), key, rules: vec!["*".to_owned()], revoked: false }
}

fn platform() -> Publishers {
    Publishers::new(vec![publisher("platform", secret().public())])
}

fn signed(statement: &Statement<'_>) -> Vec<u8> {
    SignatureFile::sign(statement, &secret(), "platform", None).expect("signed").to_bytes()
}

fn code(publishers: &Publishers, statement: &Statement<'_>, file: Option<&[u8]>) -> &'static str {
    match publishers.verify(statement, file) {
        Ok(Some(_)) => "good",
        Ok(None) => "unsigned",
        Err(refusal) => refusal.code(),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

#[test]
fn what_is_signed_are_these_lines() {
    let lines = format!("alertmill-rule-signature/1\ntenant=system\nname=owner\nversion=1.2.0\ndigest=sha256:{DIGEST}\n");
    assert_eq!(STATEMENT.signed_bytes(), Some(lines.into_bytes()));
    assert_eq!(alertmill_stores::modules::digest(b"a module"), DIGEST);
    for (what, unsound) in [
        ("a line break", Statement { name: "owner\nversion=9", ..STATEMENT }),
        ("a carriage return", Statement { version: "1\r2", ..STATEMENT }),
        ("no name", Statement { name: "", ..STATEMENT }),
        ("no tenant", Statement { tenant: "", ..STATEMENT }),
        ("a short digest", Statement { digest: &DIGEST[1..], ..STATEMENT }),
        ("capitals", Statement { digest: &DIGEST.to_uppercase(), ..STATEMENT }),
    ] {
        assert_eq!(unsound.signed_bytes(), None, "{what}");
        assert!(SignatureFile::sign(&unsound, &secret(), "", None).is_none(), "{what}");
    }
}

#[test]
fn vectors_of_rfc_8032() {
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in vectors {
        let prefix = bytes("302e020100300506032b657004220420");
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode([prefix, bytes(seed)].concat()));
        let key = SecretKey::parse(&pem).expect("a key");
        let told = PublicKey::parse(&format!("ed25519:{}", BASE64.encode(bytes(public)))).expect("a key");
        let (message, signature) = (bytes(message), bytes(signature));
        assert_eq!((key.public(), key.sign(&message)), (told, signature.clone()));
        assert!(told.verifies(&message, &signature));
        assert!(!told.verifies(&[message.as_slice(), b"x"].concat(), &signature));
        assert!(!told.verifies(&message, &with_the_order_added(&signature)), "a second form of the same signature");
    }
}

/// The signature with `S + L` for `S`, which verifies where S is not held to be reduced.
fn with_the_order_added(signature: &[u8]) -> Vec<u8> {
    let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let (mut sum, mut carry) = (signature.to_vec(), 0);
    for (byte, added) in sum[32..].iter_mut().zip(order) {
        let total = u16::from(*byte) + u16::from(added) + carry;
        (*byte, carry) = (total.to_le_bytes()[0], total >> 8);
    }
    sum
}

#[test]
fn keys_and_signatures_that_openssl_made_are_taken() {
    let public = PublicKey::parse(OPENSSL_PUBLIC).expect("a key");
    assert_eq!(public, secret().public());
    assert_eq!(public.to_string(), "ed25519:k+noVhWFsq6lOLlkr0O89XTCK129ocWuJ7LfIlpkWwU=");
    assert_eq!((PublicKey::parse(&public.to_string()), public.pem()), (Ok(public), OPENSSL_PUBLIC.to_owned()));
    let file = serde_json::json!({
        "format": FORMAT,
        "signatures": [{ "key_id": public.id(), "signature": OPENSSL_SIGNATURE }],
        "statement": { "tenant": "system", "name": "owner", "version": "1.2.0", "digest": format!("sha256:{DIGEST}") },
    });
    let signer = platform().verify(&STATEMENT, Some(file.to_string().as_bytes())).expect("good").expect("signed");
    assert_eq!(signer, Signer { publisher: "platform".to_owned(), key_id: public.id() });
    // Ed25519 has one signature of a key over a text, so ours is the very same.
    assert!(String::from_utf8(signed(&STATEMENT)).expect("text").contains(OPENSSL_SIGNATURE));
}

#[test]
fn keys_that_we_make_are_read_again_and_differ() {
    let (key, pem) = SecretKey::generate().expect("random bytes");
    let (other, _) = SecretKey::generate().expect("random bytes");
    assert_eq!(SecretKey::parse(&pem).expect("a key").public(), key.public());
    assert_eq!(PublicKey::parse(&key.public().pem()), Ok(key.public()));
    assert_ne!(key.public(), other.public());
    assert!(key.public().id().len() == "sha256:".len() + 16 && key.public().id() != other.public().id());
}

#[test]
fn keys_of_other_kinds_are_refused_in_words() {
    let x25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAv1W1KZQDmC04ieUMBYoi1R7myqNHNxjzzpbkqZAuaS4=\n-----END PUBLIC KEY-----\n";
    for (text, says) in [
        (OPENSSL_SECRET, "secret key"),
        (x25519, "another kind"),
        ("ed25519:AAAA", "32 bytes, this one 3"),
        ("ed25519:not base64", "base64"),
        ("ed25519:k+noVhWFsq6lOLlkr0O89XTCK129ocWuJ7LfIlpkWwV=", "base64"),
        ("", "neither"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJPp", "neither"),
        ("-----BEGIN PUBLIC KEY-----\n", "neither"),
    ] {
        let why = PublicKey::parse(text).expect_err(text);
        assert!(why.contains(says), "{text}: {why}");
    }
    for (text, says) in [
        (OPENSSL_PUBLIC, "PKCS #8"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIJi9cybGkJTyh5msUJbjK6WkkecgfRwZ7NBF5ZRmsrR7\n-----END PRIVATE KEY-----\n", "Ed25519"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGb\n-----END ENCRYPTED PRIVATE KEY-----\n", "password"),
    ] {
        let why = SecretKey::parse(text).err().expect("no key");
        assert!(why.contains(says), "{why}");
    }
}

/// Rows T5 and M43: what a signature is for cannot be exchanged.
#[test]
fn m43_swapping_tenant_name_version_or_digest_is_refused() {
    let file = signed(&STATEMENT);
    assert_eq!(code(&platform(), &STATEMENT, Some(&file)), "good");
    let swapped = [
        Statement { tenant: "other", ..STATEMENT },
        Statement { name: "other", ..STATEMENT },
        Statement { version: "1.1.0", ..STATEMENT },
        Statement { digest: OTHER_DIGEST, ..STATEMENT },
    ];
    let refused = swapped.iter().filter(|other| code(&platform(), other, Some(&file)) == "signature-invalid").count();
    // And with a file whose words were made to fit, the signature itself is what refuses.
    let fitted = swapped.iter().filter(|other| {
        let mut forged: serde_json::Value = serde_json::from_slice(&signed(other)).expect("JSON");
        let genuine: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
        forged["signatures"] = genuine["signatures"].clone();
        let refusal = platform().verify(other, Some(forged.to_string().as_bytes())).expect_err("forged");
        refusal.code() == "signature-invalid" && refusal.to_string().contains("did not make it")
    });
    assert_eq!((refused, fitted.count()), (4, 4));
}

#[test]
fn each_way_to_be_refused_has_its_code() {
    let file = signed(&STATEMENT);
    let (other, _) = SecretKey::generate().expect("random bytes");
    let of = |publisher: Publisher| Publishers::new(vec![publisher]);
    let own = publisher("platform", secret().public());
    assert_eq!(code(&Publishers::default(), &STATEMENT, None), "unsigned");
    assert_eq!(code(&Publishers::default(), &STATEMENT, Some(b"anything")), "unsigned");
    assert_eq!(code(&platform(), &STATEMENT, None), "signature-missing");
    assert_eq!(code(&platform(), &STATEMENT, Some(b"")), "signature-invalid");
    assert_eq!(code(&of(publisher("team", other.public())), &STATEMENT, Some(&file)), "publisher-unknown");
    assert_eq!(code(&of(Publisher { rules: vec!["team-*".into(), "x".into()], ..own.clone() }), &STATEMENT, Some(&file)), "publisher-unknown");
    assert_eq!(code(&of(Publisher { rules: vec!["team-*".into(), "own*".into()], ..own.clone() }), &STATEMENT, Some(&file)), "good");
    assert_eq!(code(&of(Publisher { revoked: true, ..own.clone() }), &STATEMENT, Some(&file)), "publisher-revoked");
    // Words name what to do about it.
    let refusal = of(Publisher { rules: vec!["team-*".into()], ..own }).verify(&STATEMENT, Some(&file)).expect_err("another name");
    assert!(refusal.to_string().contains("publisher `platform` may not sign rules of this name"), "{refusal}");
    let refusal = platform().verify(&Statement { version: "1.3.0", ..STATEMENT }, Some(&file)).expect_err("another version");
    assert!(refusal.to_string().contains("\"1.2.0\"") && refusal.to_string().contains("\"1.3.0\""), "{refusal}");
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let (new, _) = SecretKey::generate().expect("random bytes");
    let first = SignatureFile::sign(&STATEMENT, &secret(), "platform", None).expect("signed");
    let both = SignatureFile::sign(&STATEMENT, &new, "platform", Some(first.clone())).expect("signed");
    assert_eq!(both.signatures().len(), 2);
    let both = both.to_bytes();
    let old_is_revoked = Publishers::new(vec![Publisher { revoked: true, ..publisher("old", secret().public()) }, publisher("new", new.public())]);
    assert_eq!(old_is_revoked.verify(&STATEMENT, Some(&both)).expect("good").expect("signed").publisher, "new");
    assert_eq!(code(&old_is_revoked, &STATEMENT, Some(&first.to_bytes())), "publisher-revoked");
    // Signing again does not grow the file, and signing another version leaves nothing of this one.
    let again = SignatureFile::parse(&both).ok();
    assert_eq!(SignatureFile::sign(&STATEMENT, &new, "platform", again.clone()).expect("signed").signatures().len(), 2);
    let next = Statement { version: "1.3.0", ..STATEMENT };
    assert_eq!(SignatureFile::sign(&next, &new, "platform", again).expect("signed").signatures().len(), 1);
}

#[test]
fn a_file_is_small_and_of_this_form() {
    let good: serde_json::Value = serde_json::from_slice(&signed(&STATEMENT)).expect("JSON");
    let with = |change: fn(&mut serde_json::Value)| {
        let mut file = good.clone();
        change(&mut file);
        code(&platform(), &STATEMENT, Some(file.to_string().as_bytes()))
    };
    assert_eq!(with(|_| {}), "good");
    let changes: [fn(&mut serde_json::Value); 10] = [
        |file| file["format"] = "alertmill-rule-signature/2".into(),
        |file| file["more"] = 1.into(),
        |file| file["signatures"][0]["more"] = 1.into(),
        |file| file["signatures"] = serde_json::json!([]),
        |file| file["signatures"] = vec![file["signatures"][0].clone(); 9].into(),
        |file| file["signatures"][0]["signature"] = "AAAA".into(),
        |file| file["signatures"][0]["signature"] = "".into(),
        |file| file["signatures"][0]["signature"] = BASE64.encode([0; 64]).into(),
        |file| file["statement"] = serde_json::Value::Null,
        |file| file["signatures"][0]["publisher"] = "x".repeat(FILE_MAX).into(),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        assert_eq!(with(change), "signature-invalid", "change {i}");
    }
    let padded = |size: usize| [signed(&STATEMENT), vec![b' '; size - signed(&STATEMENT).len()]].concat();
    assert_eq!(code(&platform(), &STATEMENT, Some(&padded(FILE_MAX))), "good");
    assert_eq!(code(&platform(), &STATEMENT, Some(&padded(FILE_MAX + 1))), "signature-invalid");
}

/// Each bit is turned, and each byte becomes what means something in JSON. What is still taken says the same to a machine: only
/// white space, and what the signer calls itself, may be others.
#[test]
fn a_file_that_is_corrupted_anywhere_is_refused() {
    let (good, platform) = (signed(&STATEMENT), platform());
    let said = |bytes: &[u8]| {
        let mut value: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
        value["signatures"][0]["publisher"].take();
        value
    };
    let (mut refused, mut taken) = (0, 0);
    for at in 0..good.len() {
        let turned = (0..8).map(|bit| good[at] ^ (1 << bit));
        for byte in turned.chain(*b" \t\n\"\\{}[],:\0").filter(|byte| *byte != good[at]) {
            let mut file = good.clone();
            file[at] = byte;
            match platform.verify(&STATEMENT, Some(&file)) {
                Err(_) => refused += 1,
                Ok(_) => {
                    assert_eq!(said(&file), said(&good), "byte {at} as {byte}");
                    taken += 1;
                }
            }
        }
        // The line break at the end is no part of it.
        let is_whole = at + 1 == good.len();
        assert_eq!(code(&platform, &STATEMENT, Some(&good[..at])), if is_whole { "good" } else { "signature-invalid" }, "cut at {at}");
    }
    println!("{} bytes: {refused} corruptions refused, {taken} without a meaning", good.len());
    assert!(refused > 10 * taken, "{refused} {taken}");
}

#[test]
fn a_signature_lies_beside_its_module_and_is_never_read_without_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = beside(&dir.path().join("10-owner.wasm"));
    assert_eq!(file, dir.path().join("10-owner.wasm.sig"));
    assert_eq!(read(&file).expect("nothing is no error"), None);
    std::fs::write(&file, signed(&STATEMENT)).expect("written");
    assert_eq!(code(&platform(), &STATEMENT, read(&file).expect("read").as_deref()), "good");
    std::fs::File::create(&file).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    let bytes = read(&file).expect("read").expect("there");
    assert_eq!((bytes.len(), code(&platform(), &STATEMENT, Some(&bytes))), (FILE_MAX + 1, "signature-invalid"));
    assert!(read(dir.path()).is_err(), "a folder");
}
