//! The two entries from Perl's side: `Gepok::_serve` within a perl ([`embedded`]), and the command with a perl of its own
//! ([`command`]).
//!
//! Both end in [`server::run`](crate::server::run); what differs is who made the interpreter, and who loads the app. What controls a running server
//! ends in [`server::running`](crate::server::running).

use crate::xs::{self, Entries};

mod apps;
pub mod command;
mod control;
mod embedded;
mod perl_entry;
mod serve;

/// What Perl code calls.
const ENTRIES: Entries = Entries {
    serve: embedded::serve,
    command: embedded::control,
};

/// What XSLoader calls. In Rust, because a shared library exports no C symbol of the static library in it.
///
/// # Safety
/// To be called by perl alone.
#[unsafe(no_mangle)]
#[cfg(perl_multiplicity)]
pub unsafe extern "C" fn boot_Gepok(perl: *mut xs::RawPerl, _: *mut std::ffi::c_void) {
    // SAFETY: perl gives its interpreter.
    unsafe { xs::boot(perl, ENTRIES) }
}

/// As above, for a perl that has only one interpreter.
///
/// # Safety
/// To be called by perl alone.
#[unsafe(no_mangle)]
#[cfg(not(perl_multiplicity))]
pub unsafe extern "C" fn boot_Gepok(_: *mut std::ffi::c_void) {
    // SAFETY: NULL stands for the only interpreter.
    unsafe { xs::boot(std::ptr::null_mut(), ENTRIES) }
}
