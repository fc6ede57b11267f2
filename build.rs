//! Links perl into what runs on its own, and into nothing that a perl loads.
//!
//! The shared library must find perl's functions in the perl that loads it: a second libperl beside that one would be a
//! second interpreter.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(perl_multiplicity)");
    println!("cargo:rerun-if-changed=Cargo.lock");
    for (name, variable) in [("rustls", "GEPOK_RUSTLS"), ("aws-lc-rs", "GEPOK_AWS_LC_RS")] {
        println!("cargo:rustc-env={variable}={}", locked(name));
    }
    if std::env::var_os("CARGO_FEATURE_PERL").is_none() {
        return;
    }
    // perl-sys has asked perl (its build.rs).
    if std::env::var("DEP_GEPOK_PERL_MULTIPLICITY").is_ok_and(|value| value == "1") {
        println!("cargo:rustc-cfg=perl_multiplicity");
    }
    let options = std::env::var("DEP_GEPOK_PERL_LDOPTS").unwrap_or_default();
    for option in options.split(' ').filter(|option| !option.is_empty()) {
        println!("cargo:rustc-link-arg-bins={option}");
        println!("cargo:rustc-link-arg-tests={option}");
        println!("cargo:rustc-link-arg-examples={option}");
        // For the library's own unit tests, which neither of these lines reaches: see the end of src/perl/mod.rs.
        if let Some(folder) = option.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        }
    }
}

/// The version of a crate that Cargo.lock names.
fn locked(name: &str) -> String {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let begin = format!("name = \"{name}\"\nversion = \"");
    let version = lock
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("?", |(version, _)| version).to_owned()
}
