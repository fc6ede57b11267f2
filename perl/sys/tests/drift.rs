//! The checked-in bindings are those of the header: cargo test -p perl-sys --features regenerate
#![cfg(feature = "regenerate")]

#[test]
fn bindings_are_those_of_the_header() {
    // Set by build.rs, which has written the new ones by now.
    assert_eq!(
        env!("BINDINGS_WERE_CURRENT"),
        "true",
        "c/shim.h had changed; src/bindings.rs is new now: commit it"
    );
}
