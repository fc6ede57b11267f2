//! Entry 1: what `use Gepok` defines, `Gepok::_serve(\@pairs, \%hooks)`, and its way into Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::OnceLock;

use perl_sys::{gp_hook, gp_pair, gp_perl, gp_serve_fn, gp_served};

use crate::perl::{Code, Exit, Hooks, Perl, bytes, elements};

/// An interpreter, as perl gives it.
pub type RawPerl = gp_perl;

/// The server: options as names and values, in order, and the hooks. An error's text is what the Perl caller dies with.
pub type Serve = fn(Vec<(Vec<u8>, Vec<u8>)>, Hooks) -> Result<Exit, String>;

static SERVE: OnceLock<Serve> = OnceLock::new();

/// Defines the subs of package Gepok; for `boot_Gepok`, which XSLoader calls.
///
/// # Safety
/// `perl` must be the interpreter that calls, or NULL where perl was built to have only one.
pub unsafe fn boot(perl: *mut gp_perl, serve: Serve) {
    // SAFETY: the caller's promise.
    unsafe { perl_sys::gp_boot(perl, trampoline(serve)) }
}

/// The function that C calls for `serve`. The first one given stays.
pub fn trampoline(serve: Serve) -> gp_serve_fn {
    SERVE.get_or_init(|| serve);
    Some(run)
}

unsafe extern "C" fn run(
    perl: *mut gp_perl,
    options: *const gp_pair,
    option_count: usize,
    hooks: *const gp_hook,
    hook_count: usize,
    served: *mut gp_served,
) {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let serve = SERVE.get().ok_or("Gepok was not booted")?;
        // SAFETY: C calls from that interpreter's thread and waits for our return; the arrays outlive the call, and the
        // hooks' reference counts are ours.
        let (perl, options, hooks) = unsafe {
            (
                Perl::attach(perl),
                elements(options, option_count),
                elements(hooks, hook_count),
            )
        };
        let options = options
            .iter()
            // SAFETY: as above.
            .map(|pair| unsafe { (bytes(pair.name).to_vec(), bytes(pair.value).to_vec()) })
            .collect();
        let named = hooks
            .iter()
            .filter_map(|hook| {
                let code = NonNull::new(hook.code)?;
                // SAFETY: as above.
                Some(unsafe { (bytes(hook.name).to_vec(), Code::own(perl, code)) })
            })
            .collect();
        serve(options, Hooks::new(perl, named))
    }));
    // SAFETY: C gives a zeroed structure of its own.
    let served = unsafe { &mut *served };
    let message = match ended {
        Ok(Ok(Exit::Return)) => return,
        Ok(Ok(Exit::Leave(status))) => {
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
