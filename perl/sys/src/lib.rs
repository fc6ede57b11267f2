//! The C shim through which Gepok speaks to Perl, and its bindings.
