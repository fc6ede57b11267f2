//! Entry 1: what `use Gepok` defines, `Gepok::_serve(\@pairs, \%hooks)` and `Gepok::_control($command, \@pairs)`, and
//! their way into Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::OnceLock;

use perl_sys::{gp_hook, gp_pair, gp_perl, gp_serve_fn, gp_served, gp_slice};

use crate::perl::{Code, Exit, Hooks, Perl, bytes, elements};

/// An interpreter, as perl gives it.
pub type RawPerl = gp_perl;

/// Options as names and values, in order.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What Perl code calls. An error's text is what it dies with.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// The server
    pub serve: fn(Pairs, Hooks) -> Result<Exit, String>,
    /// What a command does with a server that runs; its result, as the method of class Gepok returns it
    pub command: fn(&[u8], Pairs) -> Result<i32, String>,
}

static ENTRIES: OnceLock<Entries> = OnceLock::new();

/// Defines the subs of package Gepok; for `boot_Gepok`, which XSLoader calls.
///
/// # Safety
/// `perl` must be the interpreter that calls, or NULL where perl was built to have only one.
pub unsafe fn boot(perl: *mut gp_perl, entries: Entries) {
    // SAFETY: the caller's promise.
    unsafe { perl_sys::gp_boot(perl, trampoline(entries)) }
}

/// The function that C calls for both. The first ones given stay.
pub fn trampoline(entries: Entries) -> gp_serve_fn {
    ENTRIES.get_or_init(|| entries);
    Some(run)
}

enum Returned {
    Served(Exit),
    Number(i32),
}

unsafe extern "C" fn run(
    perl: *mut gp_perl,
    command: gp_slice,
    options: *const gp_pair,
    option_count: usize,
    hooks: *const gp_hook,
    hook_count: usize,
    served: *mut gp_served,
) {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let entries = ENTRIES.get().ok_or("Gepok was not booted")?;
        // SAFETY: C calls from that interpreter's thread and waits for our return; the arrays outlive the call, and the
        // hooks' reference counts are ours.
        let (perl, command, options, hooks) = unsafe {
            (
                Perl::attach(perl),
                bytes(command),
                elements(options, option_count),
                elements(hooks, hook_count),
            )
        };
        let options = options
            .iter()
            // SAFETY: as above.
            .map(|pair| unsafe { (bytes(pair.name).to_vec(), bytes(pair.value).to_vec()) })
            .collect();
        if !command.is_empty() {
            return (entries.command)(command, options).map(Returned::Number);
        }
        let named = hooks
            .iter()
            .filter_map(|hook| {
                let code = NonNull::new(hook.code)?;
                // SAFETY: as above.
                Some(unsafe { (bytes(hook.name).to_vec(), Code::own(perl, code)) })
            })
            .collect();
        (entries.serve)(options, Hooks::new(perl, named)).map(Returned::Served)
    }));
    // SAFETY: C gives a zeroed structure of its own.
    let served = unsafe { &mut *served };
    let message = match ended {
        Ok(Ok(Returned::Served(Exit::Return))) => return,
        Ok(Ok(Returned::Number(number))) => {
            served.status = number;
            return;
        }
        Ok(Ok(Returned::Served(Exit::Leave(status)))) => {
            served.leave = 1;
            served.status = status;
            return;
        }
        Ok(Err(message)) => message,
        Err(_) => "Gepok: the server panicked".to_owned(),
    };
    let message = message.trim_end().bytes().chain(*b"\n");
    for (to, from) in served.message.iter_mut().zip(message) {
        *to = from as _;
        served.message_len += 1;
    }
}
