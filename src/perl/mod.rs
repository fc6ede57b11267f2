//! The safe face of the boundary to Perl: an interpreter, its code references, and how calls of them end.
//!
//! Knows no PSGI and no HTTP. The rules of the boundary: Rust calls nothing of perl's but the total functions of
//! `perl-sys`; no `longjmp` crosses a frame of Rust's, no panic one of C's; every Perl value stays on the thread of
//! its interpreter.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use perl_sys::{gp_outcome, gp_perl, gp_slice, gp_sv};

mod interpreter;

pub use interpreter::Interpreter;

/// Bytes as C takes them.
pub(crate) fn slice(bytes: &[u8]) -> gp_slice {
    gp_slice {
        ptr: bytes.as_ptr().cast(),
        len: bytes.len(),
    }
}

/// What C calls `undef` where a value may be undefined.
pub(crate) const UNDEF: gp_slice = gp_slice {
    ptr: std::ptr::null(),
    len: 0,
};

/// The bytes that C points to.
///
/// # Safety
/// `bytes` must be readable, and unchanged, for as long as the result lives.
pub(crate) unsafe fn bytes<'a>(bytes: gp_slice) -> &'a [u8] {
    if bytes.ptr.is_null() || bytes.len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.ptr.cast(), bytes.len) }
}

/// The elements that C points to.
///
/// # Safety
/// As for [`bytes`].
pub(crate) unsafe fn elements<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// How Perl code failed to return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It died with this message.
    Died(String),
    /// It called `exit` with this status. The interpreter can do nothing more but run its END blocks.
    Exit(i32),
    /// This process or thread is not the interpreter's.
    Elsewhere,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Died(message) => f.write_str(message.trim_end()),
            Failure::Exit(status) => write!(f, "Perl code called exit({status})"),
            Failure::Elsewhere => {
                f.write_str("the interpreter belongs to another process or thread")
            }
        }
    }
}

impl std::error::Error for Failure {}

/// What the process has to do once the server has ended. The C entry does it, with no Rust frame below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Return to the Perl code that started the server.
    Return,
    /// Leave with this status; END blocks run.
    Leave(i32),
}

/// An interpreter, as the one thread that it runs on may use it.
///
/// A copyable name, not an owner: perl itself or [`Interpreter`] owns it, and outlives every use.
#[derive(Clone, Copy)]
pub struct Perl {
    raw: *mut gp_perl,
    /// Neither `Send` nor `Sync`.
    _thread: PhantomData<*mut ()>,
}

impl Perl {
    /// The interpreter that calls us.
    ///
    /// # Safety
    /// `raw` must be the current thread's interpreter and outlive every use of the result.
    pub(crate) unsafe fn attach(raw: *mut gp_perl) -> Self {
        Perl {
            raw,
            _thread: PhantomData,
        }
    }

    /// For calls of the shim.
    pub(crate) fn raw(self) -> *mut gp_perl {
        self.raw
    }

    /// The failure that an outcome other than `GP_OK` stands for.
    pub(crate) fn failure(self, outcome: gp_outcome) -> Failure {
        match outcome {
            gp_outcome::GP_EXIT => {
                // SAFETY: `attach`'s promise.
                Failure::Exit(unsafe { perl_sys::gp_exit_status(self.raw) })
            }
            gp_outcome::GP_DIED => {
                // SAFETY: `attach`'s promise; the text is copied before the next call.
                let text = unsafe { bytes(perl_sys::gp_error(self.raw)) };
                Failure::Died(String::from_utf8_lossy(text).into_owned())
            }
            _ => Failure::Elsewhere,
        }
    }

    /// Evaluates Perl source; messages name it as file `name`. Nothing for an undefined value.
    pub fn eval(self, name: &str, source: &str) -> Result<Option<Code>, Failure> {
        let mut value = std::ptr::null_mut();
        // SAFETY: `attach`'s promise; the slices outlive the call.
        let outcome = unsafe {
            perl_sys::gp_eval(
                self.raw,
                slice(source.as_bytes()),
                slice(name.as_bytes()),
                &mut value,
            )
        };
        self.value(outcome, value)
    }

    /// Defines a module whose source is built into us, unless the interpreter has it: `file` as in `%INC`.
    pub fn provide(self, file: &str, source: &str) -> Result<(), Failure> {
        let known = format!("$INC{{'{file}'}}");
        if self.eval("gepok", &known)?.is_none() {
            self.eval(file, source)?;
            self.eval("gepok", &format!("{known} = '{file}'; undef"))?;
        }
        Ok(())
    }

    fn value(self, outcome: gp_outcome, value: *mut gp_sv) -> Result<Option<Code>, Failure> {
        match outcome {
            gp_outcome::GP_OK => Ok(NonNull::new(value).map(|sv| Code { sv, perl: self })),
            other => Err(self.failure(other)),
        }
    }

    /// Forks as Perl's `fork` does: nothing in the parent but the child's process id, zero in the child.
    ///
    /// Both processes own the interpreter's values afterwards; the child is one of ours and may run Perl code.
    pub fn fork(self) -> std::io::Result<i32> {
        // SAFETY: `attach`'s promise.
        match unsafe { perl_sys::gp_fork(self.raw) } {
            -1 => Err(std::io::Error::last_os_error()),
            pid => Ok(pid),
        }
    }

    /// Makes the next `rand` seed itself again: forked workers would all draw the same numbers.
    pub fn reseed(self) {
        // SAFETY: `attach`'s promise.
        unsafe { perl_sys::gp_reseed(self.raw) }
    }
}

/// A Perl value that we hold, commonly a code reference.
pub struct Code {
    sv: NonNull<gp_sv>,
    perl: Perl,
}

impl Code {
    /// Takes over one reference count.
    ///
    /// # Safety
    /// `sv` must be a value of `perl`'s, and one reference count of it the caller's to give.
    pub(crate) unsafe fn own(perl: Perl, sv: NonNull<gp_sv>) -> Self {
        Code { sv, perl }
    }

    /// For calls of the shim.
    pub(crate) fn raw(&self) -> *mut gp_sv {
        self.sv.as_ptr()
    }

    /// The interpreter it lives in.
    pub fn perl(&self) -> Perl {
        self.perl
    }

    /// Whether it is a code reference, or an object that can be called as one.
    pub fn is_callable(&self) -> bool {
        // SAFETY: `own`'s promise.
        unsafe { perl_sys::gp_is_code(self.perl.raw, self.raw()) != 0 }
    }

    /// Calls it in scalar context; an argument of nothing is `undef`. Nothing for an undefined value.
    pub fn call(&self, arguments: &[Option<&[u8]>]) -> Result<Option<Code>, Failure> {
        let arguments: Vec<gp_slice> = arguments
            .iter()
            .map(|argument| argument.map_or(UNDEF, slice))
            .collect();
        let mut value = std::ptr::null_mut();
        // SAFETY: `own`'s promise; the arguments outlive the call.
        let outcome = unsafe {
            perl_sys::gp_call(
                self.perl.raw,
                self.raw(),
                arguments.as_ptr(),
                arguments.len(),
                &mut value,
            )
        };
        self.perl.value(outcome, value)
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: the reference count is ours; the shim guards what a destructor may do.
        unsafe { perl_sys::gp_release(self.perl.raw, self.raw()) }
    }
}

/// Named code references that came with the call of the server: the app, `server_ready` and the like.
pub struct Hooks {
    perl: Perl,
    named: Vec<(Vec<u8>, Code)>,
}

impl Hooks {
    /// Hooks of one interpreter.
    pub fn new(perl: Perl, named: Vec<(Vec<u8>, Code)>) -> Self {
        Hooks { perl, named }
    }

    /// The interpreter they live in.
    pub fn perl(&self) -> Perl {
        self.perl
    }

    /// The hook of that name, if it was given; a second call finds nothing.
    pub fn take(&mut self, name: &str) -> Option<Code> {
        let at = self
            .named
            .iter()
            .position(|(own, _)| own == name.as_bytes())?;
        Some(self.named.swap_remove(at).1)
    }
}

// The executable of the library's unit tests: build.rs can't give it link arguments of its own (cargo 10937), and the
// shim in it wants perl's functions. The reference keeps the linker from dropping a library that nothing before it needs.
#[cfg(test)]
#[link(name = "perl")]
unsafe extern "C" {
    fn perl_parse();
}

#[cfg(test)]
#[used]
static KEEP_PERL: unsafe extern "C" fn() = perl_parse;
