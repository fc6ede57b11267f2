//! Links perl into what runs on its own, and into nothing that a perl loads.
//!
//! The shared library must find perl's functions in the perl that loads it: a second libperl beside that one would be a
//! second interpreter.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(perl_multiplicity)");
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
