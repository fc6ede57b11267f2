//! An interpreter with an app in it, and a `Respond` that writes down what it is told.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gepok::channel::respond::{Lost, Respond};
use gepok::perl::{Code, Exit, Failure, Hooks, Interpreter, Perl};
use gepok::psgi::PsgiApp;
use gepok::semantics::field::{Fields, Line, Span};
use gepok::semantics::message::{Content, Length, Request, RequestHead, Timestamp, Tls, Version};
use gepok::semantics::source::{Endpoints, Source};
use gepok::worker::{Address, HostApps, Listener, Remote, ServerFacts};
use gepok::worker::{App, Called};
use gepok::xs::{Entries, Pairs, trampoline};

/// What was said, one line for each call, and when the client is to be gone.
#[derive(Default)]
pub(crate) struct Recorder {
    said: RefCell<Vec<String>>,
    /// The next chunk finds the client gone.
    pub(crate) gone: Cell<bool>,
    /// The next chunk is interrupted by USR2 behind its first byte.
    pub(crate) interrupt: Cell<bool>,
    /// The client's end of the socket that was taken last.
    pub(crate) client: RefCell<Option<UnixStream>>,
    /// Such a client is at its end at once, but reads on.
    pub(crate) hang_up: Cell<bool>,
}

impl Recorder {
    fn say(&self, what: String) -> Result<(), Lost> {
        self.said.borrow_mut().push(what);
        Ok(())
    }
}

fn shown(fields: &[(&[u8], &[u8])]) -> String {
    let shown: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii()))
        .collect();
    format!("[{}]", shown.join(", "))
}

impl Respond for Recorder {
    fn informational(&self, id: u64, status: u16, fields: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        self.say(format!("{id} informational {status} {}", shown(fields)))
    }

    fn trailers(&self, id: u64, fields: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        self.say(format!("{id} trailers {}", shown(fields)))
    }

    fn head(
        &self,
        id: u64,
        status: u16,
        fields: &[(&[u8], &[u8])],
        length: Length,
    ) -> Result<(), Lost> {
        let length = length
            .known()
            .map_or("?".into(), |length| length.to_string());
        self.say(format!("{id} head {status} {} {length}", shown(fields)))
    }

    fn chunk(&self, id: u64, content: &[u8]) -> Result<usize, Lost> {
        if self.gone.get() {
            return Err(Lost::Client);
        }
        let mut content = content;
        if self.interrupt.take() {
            nix::sys::signal::raise(nix::sys::signal::SIGUSR2).unwrap();
            content = &content[..1];
        }
        let shown = if content.len() > 1000 {
            format!("of {}", content.len())
        } else {
            content.escape_ascii().to_string()
        };
        self.say(format!("{id} chunk {shown}"))?;
        Ok(content.len())
    }

    fn file(&self, id: u64, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Lost> {
        let file = std::fs::File::from(file.try_clone_to_owned().unwrap());
        let mut first = [0; 3];
        file.read_exact_at(&mut first, offset).unwrap();
        self.say(format!(
            "{id} file from {} for {length}",
            first.escape_ascii()
        ))
    }

    fn look(&self, _: u64) -> Result<(), Lost> {
        if self.gone.get() {
            Err(Lost::Client)
        } else {
            Ok(())
        }
    }

    fn end(&self, id: u64) -> Result<(), Lost> {
        self.say(format!("{id} end"))
    }

    /// The one end of a socket pair.
    fn take(&self, id: u64) -> Result<OwnedFd, Lost> {
        self.say(format!("{id} take"))?;
        if self.gone.get() {
            return Err(Lost::Client);
        }
        let (one, other) = UnixStream::pair().map_err(|_| Lost::Client)?;
        // A test that waits for bytes in vain fails.
        other
            .set_read_timeout(Some(Duration::from_secs(10)))
            .map_err(|_| Lost::Client)?;
        if self.hang_up.get() {
            other.shutdown(Shutdown::Write).map_err(|_| Lost::Client)?;
        }
        *self.client.borrow_mut() = Some(other);
        Ok(one.into())
    }

    fn abort(&self, id: u64) {
        let _ = self.say(format!("{id} abort"));
    }

    fn idle(&self) {
        let _ = self.say("idle".into());
    }

    fn flush(&self) -> Result<(), Lost> {
        self.say("flush".into())
    }
}

/// One interpreter at a time: what the boundary remembers is the process's.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) fn one_interpreter() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An app in an interpreter of its own.
pub(crate) struct World {
    psgi: Option<PsgiApp>,
    pub(crate) recorder: Rc<Recorder>,
    interpreter: Option<Interpreter>,
    next: u64,
    _one: MutexGuard<'static, ()>,
}

/// Perl code can call nothing here.
pub(crate) const NO_SERVER: Entries = Entries {
    serve: no_server,
    command: no_command,
};

pub(crate) fn no_command(_: &[u8], _: Pairs) -> Result<i32, String> {
    Err("no server here".into())
}

fn no_server(_: Pairs, _: Hooks) -> Result<Exit, String> {
    Err("no server here".into())
}

pub(crate) fn listeners() -> Vec<Listener> {
    vec![
        Listener {
            server_name: "gepok.example".into(),
            server_port: "80".into(),
            remote: Remote::Peer,
            address: Address::Ip("127.0.0.1:80".parse().unwrap()),
            tls: false,
        },
        Listener {
            server_name: "/run/gepok".into(),
            server_port: "0".into(),
            remote: Remote::Loopback,
            address: Address::Unix("/run/gepok".into()),
            tls: false,
        },
        Listener {
            server_name: "0".into(),
            server_port: "/run/starlet".into(),
            remote: Remote::Undefined,
            address: Address::Unix("/run/starlet".into()),
            tls: false,
        },
    ]
}

/// What every test's Perl code can use: `@log` gathers words, `errors` and `said` read what came of it.
const PRELUDE: &str = r#"
    package T;
    use strict; use warnings;
    our (@log, $errors);
    sub errors { $errors = ''; open my $handle, '>>', \$errors or die; $_[0]{'psgi.errors'} = $handle }
    1;
"#;

/// Failures of the app come to psgi.errors without time, process and request, and the last one is in `$T::failure`. What the
/// whole line says is tested in t/28-error-log.t.
const BARE_FAILURES: &str = "no warnings; *Gepok::Logger::failure = sub { $T::failure = $_[1] }; 1";

impl World {
    /// `source` is an expression that gives the app; it is compiled in package `T` under strict.
    pub(crate) fn new(source: &str) -> World {
        World::with_multiprocess(source, true)
    }

    pub(crate) fn with_multiprocess(source: &str, multiprocess: bool) -> World {
        World::with(
            source,
            ServerFacts {
                listeners: listeners(),
                multiprocess,
                ssl_env: false,
                psgix_io: true,
                event_loop: None,
                xsendfile: false,
                hosts: HostApps::of_one_host(),
                compress: None,
            },
        )
    }

    pub(crate) fn with(source: &str, server: ServerFacts) -> World {
        let one = one_interpreter();
        let interpreter = Interpreter::start(&[], trampoline(NO_SERVER)).unwrap();
        let perl = interpreter.perl();
        perl.eval("prelude", PRELUDE).unwrap();
        let source = format!("package T; use strict; use warnings; our (@log, $errors); {source}");
        let app = perl.eval("app", &source).unwrap().unwrap();
        let recorder = Rc::new(Recorder::default());
        let psgi = PsgiApp::new(perl, app.into(), server, recorder.clone(), None).unwrap();
        perl.eval("failure", BARE_FAILURES).unwrap();
        World {
            psgi: Some(psgi),
            recorder,
            interpreter: Some(interpreter),
            next: 1,
            _one: one,
        }
    }

    pub(crate) fn perl(&self) -> Perl {
        self.interpreter.as_ref().unwrap().perl()
    }

    pub(crate) fn call(&mut self, request: Request, last: bool) -> (Called, Vec<String>) {
        let id = self.next;
        self.next += 1;
        let called = self.psgi.as_mut().unwrap().call(id, request, last);
        (called, self.recorder.said.take())
    }

    /// Answers a GET; the app is called and goes on.
    pub(crate) fn get(&mut self, target: &str) -> Vec<String> {
        let (called, said) = self.call(request("GET", target, &[]), false);
        assert_eq!(called, Called::Done, "{said:?}");
        said
    }

    pub(crate) fn at_certificate(&mut self, callback: Code) {
        self.psgi.as_mut().unwrap().at_certificate(callback);
    }

    pub(crate) fn verify(&mut self, tls: &Tls) -> Result<bool, i32> {
        self.psgi.as_mut().unwrap().verify(tls)
    }

    pub(crate) fn signals_due(&self) -> bool {
        self.psgi.as_ref().unwrap().signals_due()
    }

    pub(crate) fn signals(&mut self) -> Option<i32> {
        self.psgi.as_mut().unwrap().signals()
    }

    /// What was said outside of calls.
    pub(crate) fn said(&self) -> Vec<String> {
        self.recorder.said.take()
    }

    /// A Perl expression's value as text, shown by an exception because that needs nothing of the app.
    pub(crate) fn text(&self, expression: &str) -> String {
        let source =
            format!("package T; our (@log, $errors); die join('', 'text:', {expression}), \"\\n\"");
        match self.perl().eval("text", &source) {
            Err(Failure::Died(text)) => text
                .strip_prefix("text:")
                .unwrap_or_else(|| panic!("{text}"))
                .trim_end_matches('\n')
                .to_owned(),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }

    /// Ends the worker alone.
    pub(crate) fn close(&mut self) {
        self.psgi = None;
    }

    /// Ends the worker and the interpreter; the exit status.
    pub(crate) fn finish(mut self, status: i32) -> i32 {
        self.psgi = None;
        self.interpreter.take().unwrap().finish(status)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.psgi = None;
        if let Some(interpreter) = self.interpreter.take() {
            interpreter.finish(0);
        }
    }
}

/// A request by TCP without content.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request {
    let mut text = Vec::new();
    let mut put = |part: &str| {
        let start = text.len() as u32;
        text.extend_from_slice(part.as_bytes());
        Span {
            start,
            end: text.len() as u32,
        }
    };
    let method = put(method);
    let target = put(target);
    let lines = fields
        .iter()
        .map(|(name, value)| Line {
            name: put(name),
            value: put(value),
        })
        .collect();
    let at = |seconds| Timestamp {
        seconds,
        micros: 500_000,
    };
    Request {
        head: RequestHead {
            method,
            target,
            version: Version::Http11,
            fields: Fields::new(text.into(), lines).unwrap(),
        },
        content: Content::Empty,
        content_length: None,
        listener: 0,
        vhost: None,
        source: Source::from(Endpoints::Ip {
            peer: "192.0.2.7:4711".parse().unwrap(),
            local: "192.0.2.1:80".parse().unwrap(),
        }),
        tls: None,
        http2: None,
        connected: at(10),
        started: at(11),
        finished: at(12),
    }
}
