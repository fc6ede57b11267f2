//! The C shim through which Gepok speaks to Perl, and its bindings.
//!
//! `c/shim.h` documents every function. There is one ABI for every perl: pointers are opaque, and no function of
//! perl's own is declared here, because most of them can `longjmp`.

#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    clippy::missing_safety_doc
)]
#[rustfmt::skip]
mod bindings;

pub use bindings::*;
