//! The standalone binary's own interpreter, from its command line to its END blocks.

use std::ffi::CString;
use std::os::raw::c_char;

use perl_sys::gp_serve_fn;

use super::{Failure, Perl};

/// An interpreter that we made, so that we destroy it. One for a process.
pub struct Interpreter {
    perl: Perl,
}

unsafe extern "C" {
    static environ: *mut *mut c_char;
}

impl Interpreter {
    /// Makes the interpreter as `perl ARGUMENTS -e 0` would, for example with `-I` and `-M` arguments.
    ///
    /// `Gepok::_serve` calls `serve`. The error is the exit status of a perl that did not get past its `BEGIN` side;
    /// its message has been printed.
    pub fn start(arguments: &[String], serve: gp_serve_fn) -> Result<Self, i32> {
        let mut owned: Vec<CString> = Vec::with_capacity(arguments.len() + 3);
        for argument in std::iter::once("perl")
            .chain(arguments.iter().map(String::as_str))
            .chain(["-e", "0"])
        {
            owned.push(CString::new(argument).map_err(|_| 2)?);
        }
        // Perl keeps the pointers for `$0` and re-execution: the strings stay until the process ends.
        let mut pointers: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
        let count = pointers.len();
        pointers.push(std::ptr::null_mut());
        let pointers = Vec::leak(pointers);

        let mut status = 0;
        // SAFETY: the arguments live for ever and end with NULL; `environ` is the process's own.
        let raw = unsafe {
            perl_sys::gp_embed_start(
                count as i32,
                pointers.as_mut_ptr(),
                environ,
                serve,
                &mut status,
            )
        };
        if raw.is_null() {
            return Err(status);
        }
        // SAFETY: it was made on this thread and is destroyed by `finish` alone.
        let perl = unsafe { Perl::attach(raw) };
        Ok(Interpreter { perl })
    }

    /// The interpreter, to be used.
    pub fn perl(&self) -> Perl {
        self.perl
    }

    /// Makes `$^X` the perl that this one would be: `system $^X` must not run us.
    pub fn name_executable(&self) -> Result<(), Failure> {
        self.perl
            .eval(
                "gepok",
                "require Config; $^X = $Config::Config{perlpath}; undef",
            )
            .map(drop)
    }

    /// Runs END blocks and destroys the interpreter. The result is the process's exit status: `status`, unless an END
    /// block changes it. Values of the interpreter's must be gone.
    pub fn finish(self, status: i32) -> i32 {
        // SAFETY: made by `start`, and used no more.
        unsafe { perl_sys::gp_embed_finish(self.perl.raw(), status) }
    }
}
