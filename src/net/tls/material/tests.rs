//! Tests of what files may hold, each a whole set as the master would hand it over.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use tempfile::TempDir;

use super::*;

/// A folder to put files in and to open them from.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn put(&self, role: Role, name: &str, text: impl AsRef<[u8]>) -> Opened {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        Opened {
            role,
            file: File::open(&path).unwrap(),
            path,
            hosts: None,
        }
    }
}

fn pair(names: &[&str]) -> (String, String) {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn error(files: Vec<Opened>) -> String {
    format!("{:#}", read(files, None).unwrap_err())
}

#[test]
fn certificates_bring_their_names_and_chains() {
    let folder = Folder::new();
    let (one, one_key) = pair(&["A.example", "*.b.example"]);
    let (two, two_key) = pair(&["c.example"]);
    let files = vec![
        folder.put(Role::Chain, "one", format!("text before\n{one}\n{two}")),
        folder.put(Role::Key, "one.key", one_key),
        Opened {
            hosts: Some(vec!["d.example".to_owned()]),
            ..folder.put(Role::Chain, "two", format!("{two}{two_key}"))
        },
        folder.put(Role::Key, "two.again", format!("{two}{two_key}")),
    ];
    let material = read(files, None).unwrap();
    let [one, two] = &material.certificates[..] else {
        panic!("two certificates");
    };
    assert_eq!(one.names, ["a.example", "*.b.example"]);
    assert_eq!(one.key.cert.len(), 2, "the whole chain");
    assert_eq!(two.names, ["d.example"], "as the operator said");
    assert!(material.warnings.is_empty());
}

#[test]
fn forms_of_keys() {
    // PKCS#8 of other kinds; PKCS#1 and SEC1 are made by openssl, in t/24-tls-keys.t.
    for algorithm in [&PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let folder = Folder::new();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for (chain, key) in [
            (
                certificate.pem().into_bytes(),
                key.serialize_pem().into_bytes(),
            ),
            (certificate.der().to_vec(), key.serialize_der()),
        ] {
            let files = vec![
                folder.put(Role::Chain, "c", chain),
                folder.put(Role::Key, "k", key),
            ];
            assert_eq!(read(files, None).unwrap().certificates.len(), 1);
        }
    }
}

#[test]
fn what_can_not_serve_is_told() {
    let (good, good_key) = pair(&["a.example"]);
    let (_, other_key) = pair(&["a.example"]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    let foreign = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (chain, key, option, reason) in [
        (
            "",
            &good_key[..],
            "ssl_cert_file",
            "there is no certificate in it",
        ),
        (
            &good_key,
            &good_key,
            "ssl_cert_file",
            "there is no certificate in it",
        ),
        (
            &good[..60],
            &good_key,
            "ssl_cert_file",
            "its PEM has no end",
        ),
        (
            damaged,
            &good_key,
            "ssl_cert_file",
            "its certificate is damaged",
        ),
        (&good, "", "ssl_key_file", "there is no private key in it"),
        (
            &good,
            &good,
            "ssl_key_file",
            "there is no private key in it",
        ),
        (&good, encrypted, "ssl_key_file", "the key is encrypted"),
        (&good, old, "ssl_key_file", "the key is encrypted"),
        (
            &good,
            foreign,
            "ssl_key_file",
            "a kind that is not supported",
        ),
        (
            &good,
            &other_key,
            "ssl_key_file",
            "the key does not belong to the certificate in /",
        ),
    ] {
        let folder = Folder::new();
        let error = error(vec![
            folder.put(Role::Chain, "the-chain", chain),
            folder.put(Role::Key, "the-key", key),
        ]);
        let file = if option == "ssl_cert_file" {
            "/the-chain: "
        } else {
            "/the-key: "
        };
        for part in [&format!("option '{option}': /"), file, reason] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn a_key_that_everybody_can_read_is_a_matter_of_warnings() {
    let folder = Folder::new();
    let (chain, key) = pair(&["a.example"]);
    let files = vec![
        folder.put(Role::Chain, "chain", chain),
        folder.put(Role::Key, "key", key),
    ];
    fs::set_permissions(&files[1].path, Permissions::from_mode(0o644)).unwrap();
    let warnings = read(files, None).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].ends_with("/key: every user of this machine can read the key (mode 644)"),
        "{warnings:?}"
    );
}

#[test]
fn time_is_a_matter_of_warnings() {
    let folder = Folder::new();
    let key = KeyPair::generate().unwrap();
    let mut files = Vec::new();
    for (name, begin, end) in [("old", 2001, 2002), ("new", 4000, 4001)] {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(begin, 1, 1);
        params.not_after = rcgen::date_time_ymd(end, 1, 1);
        let certificate = params.self_signed(&key).unwrap().pem();
        files.push(folder.put(Role::Chain, name, certificate));
        files.push(folder.put(Role::Key, "key", key.serialize_pem()));
    }
    let warnings = read(files, None).unwrap().warnings;
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings[0].contains("/old: the certificate expired on Jan  1"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("/new: the certificate is not valid before"),
        "{warnings:?}"
    );
}

#[test]
fn authorities_of_a_folder_stand_among_other_files() {
    let folder = Folder::new();
    let (one, _) = pair(&["ca"]);
    let files = || {
        vec![
            folder.put(Role::InFolder, "README", "no certificate"),
            folder.put(Role::InFolder, "ca", format!("{one}{one}")),
        ]
    };
    assert_eq!(read(files(), None).unwrap().authorities.len(), 2);
    // Where a callback judges clients it is a warning.
    for judge in [Judge::App, Judge::Anything, Judge::Nothing] {
        let warnings = read(vec![files().remove(0)], Some(judge)).unwrap();
        let warnings = warnings.warnings;
        assert!(warnings[0].ends_with("no file in it holds a certificate"));
    }
    let readme = files().remove(0);
    let error = error(vec![readme]);
    assert!(error.starts_with("option 'ssl_ca_path': /"), "{error}");
    assert!(
        error.ends_with("no file in it holds a certificate"),
        "{error}"
    );
    // Named one by one, a file must hold what it is named for.
    let error = self::error(vec![folder.put(Role::Authorities, "README", "none")]);
    assert!(error.contains("'ssl_ca_file'"), "{error}");
}

#[test]
fn revocation_lists_are_looked_at() {
    let folder = Folder::new();
    let damaged = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    for (text, reason) in [
        ("", "there is no revocation list in it"),
        (damaged, "its revocation list is damaged"),
    ] {
        let error = error(vec![folder.put(Role::Revocations, "crl", text)]);
        assert!(error.contains("option 'ssl_crl_file': /"), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}
