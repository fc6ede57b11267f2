//! Gepok::_serve, code references, and processes: what Perl and Rust call of each other besides requests.

use std::cell::RefCell;
use std::sync::MutexGuard;

use gepok::perl::{Exit, Failure, Hooks, Interpreter};
use gepok::xs::{Entries, Pairs, trampoline};

use crate::world::one_interpreter;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn see(what: impl Into<String>) {
    SEEN.with_borrow_mut(|seen| seen.push(what.into()));
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

const ENTRIES: Entries = Entries {
    serve: server,
    command,
};

/// Stands for a server whose pid is the number of options.
fn command(word: &[u8], options: Pairs) -> Result<i32, String> {
    see(format!("command {}", text(word)));
    match word {
        b"status" => Ok(options.len() as i32),
        _ => Err("it has refused".into()),
    }
}

/// A server that writes down its options, and does what they ask for.
fn server(options: Pairs, mut hooks: Hooks) -> Result<Exit, String> {
    for (name, value) in &options {
        see(format!("{}={}", text(name), text(value)));
    }
    if let Some(ready) = hooks.take("server_ready") {
        match ready.call(&[Some(b"host"), None, Some(b"80")]) {
            Ok(value) => see(format!("ready {}", value.is_some())),
            Err(failure) => see(failure.to_string()),
        }
    }
    if let Some(app) = hooks.take("app") {
        see(format!("app callable {}", app.is_callable()));
    }
    match options.first().map(|(name, _)| &name[..]) {
        Some(b"fail") => Err("no such port".into()),
        Some(b"panic") => panic!("(a test's panic)"),
        Some(b"leave") => Ok(Exit::Leave(5)),
        _ => Ok(Exit::Return),
    }
}

struct Started {
    interpreter: Option<Interpreter>,
    _one: MutexGuard<'static, ()>,
}

impl Started {
    fn new(arguments: &[&str]) -> Self {
        let one = one_interpreter();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        SEEN.take();
        Started {
            interpreter: Some(Interpreter::start(&arguments, trampoline(ENTRIES)).unwrap()),
            _one: one,
        }
    }

    fn eval(&self, source: &str) -> Result<bool, Failure> {
        let perl = self.interpreter.as_ref().unwrap().perl();
        perl.eval("test", source).map(|value| value.is_some())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(interpreter) = self.interpreter.take() {
            interpreter.finish(0);
        }
    }
}

#[test]
fn options_and_hooks_arrive_in_order_and_as_bytes() {
    let perl = Started::new(&[]);
    let returned = perl.eval(
        "Gepok::_serve(
            ['port', 80, 'empty', '', 'none', undef, 'name', \"caf\\xe9\", 'port', '81'],
            { app => sub { 1 }, server_ready => sub { $got = join '|', map { defined $_ ? $_ : 'undef' } @_; undef }, other => 1 });
        $@ = 'kept'; die $got if $got ne 'host|undef|80'; 1",
    );
    assert_eq!(returned, Ok(true));
    assert_eq!(
        SEEN.take(),
        [
            "port=80",
            "empty=",
            r"name=caf\xe9",
            "port=81",
            "ready false",
            "app callable true"
        ]
    );
}

#[test]
fn an_error_of_the_server_dies_in_the_caller() {
    let perl = Started::new(&[]);
    let died = perl.eval(
        "eval { Gepok::_serve(['fail', 1], {}); 1 }; die \"<$@>\" if $@ ne \"no such port\\n\"; 1",
    );
    assert_eq!(died, Ok(true));
    let died =
        perl.eval("eval { Gepok::_serve(['panic', 1], {}) }; die $@ unless $@ =~ /panicked/; 1");
    assert_eq!(died, Ok(true));
    for wrong in ["", "[], {}, 1", "{}, []", "'a', {}", "[], undef"] {
        let source = format!(
            "eval {{ Gepok::_serve({wrong}) }}; die $@ unless $@ =~ /^Usage: Gepok::_serve/; 1"
        );
        assert_eq!(perl.eval(&source), Ok(true), "{wrong}");
    }
}

#[test]
fn a_command_returns_a_number_or_dies() {
    let perl = Started::new(&[]);
    let source = "my $got = Gepok::_control('status', [name => 'x', none => undef, pid_path => '/p']); die $got if $got != 2; \
         eval { Gepok::_control('stop', []); 1 }; die \"<$@>\" if $@ ne \"it has refused\\n\"; 1";
    assert_eq!(perl.eval(source), Ok(true));
    assert_eq!(SEEN.take(), ["command status", "command stop"]);
    for wrong in ["", "'stop'", "'stop', {}", "'stop', [], 1"] {
        let source = format!(
            "eval {{ Gepok::_control({wrong}) }}; die $@ unless $@ =~ /^Usage: Gepok::_control/; 1"
        );
        assert_eq!(perl.eval(&source), Ok(true), "{wrong}");
    }
}

#[test]
fn leaving_is_perls_exit() {
    let mut perl = Started::new(&[]);
    let left =
        perl.eval("END { $? += 2 } eval { Gepok::_serve(['leave', 1], {}) }; die 'came back'");
    assert_eq!(left, Err(Failure::Exit(5)));
    assert_eq!(perl.interpreter.take().unwrap().finish(5), 7);
}

#[test]
fn a_hook_may_die_or_exit() {
    let perl = Started::new(&[]);
    assert_eq!(
        perl.eval("Gepok::_serve([], { server_ready => sub { die \"not ready\\n\" } }); 1"),
        Ok(true)
    );
    assert_eq!(SEEN.take(), ["not ready"]);
    let left = perl.eval("Gepok::_serve([], { server_ready => sub { exit 3 } }); 1");
    assert_eq!(SEEN.take(), ["Perl code called exit(3)"]);
    // Whatever the server answers then, the interpreter can't go on.
    assert_eq!(left, Err(Failure::Exit(3)));
}

#[test]
fn source_that_does_not_compile_is_a_failure_with_its_file() {
    let perl = Started::new(&[]);
    let Err(Failure::Died(message)) = perl.eval("use strict; $undeclared = 1;") else {
        panic!("it compiled");
    };
    assert!(message.contains("at test line 1"), "{message}");
    assert_eq!(perl.eval("exit 4"), Err(Failure::Exit(4)));
    assert_eq!(perl.eval("1"), Err(Failure::Exit(4)));
}

#[test]
fn the_command_line_is_perls() {
    let perl = Started::new(&["-I/some/folder", "-MList::Util=sum"]);
    assert_eq!(
        perl.eval("die \"@INC\" unless $INC[0] eq '/some/folder'; sum(1, 2) == 3 or die; 1"),
        Ok(true)
    );
}

#[test]
fn what_does_not_get_past_begin_is_an_exit_status() {
    let _one = one_interpreter();
    let status =
        Interpreter::start(&["-MNo::Such::Module".into()], trampoline(ENTRIES)).map(|_| ());
    assert_eq!(status, Err(2));
    let status = Interpreter::start(
        &["-e".into(), "BEGIN { exit 9 }".into()],
        trampoline(ENTRIES),
    )
    .map(|_| ());
    assert_eq!(status, Err(9));
}

#[test]
fn the_executable_named_is_a_perl() {
    let perl = Started::new(&[]);
    perl.interpreter
        .as_ref()
        .unwrap()
        .name_executable()
        .unwrap();
    assert_eq!(
        perl.eval("`$^X -e 'print 6 * 7'` eq '42' or die $^X; 1"),
        Ok(true)
    );
}

#[test]
fn xs_modules_load() {
    let perl = Started::new(&[]);
    assert_eq!(perl.eval("use POSIX (); use Socket (); use Encode (); use Storable (); POSIX::floor(1.5) == 1 or die; 1"), Ok(true));
}

#[test]
fn what_is_callable_is_told() {
    let perl = Started::new(&[]);
    let handle = perl.interpreter.as_ref().unwrap().perl();
    for (source, callable) in [
        ("sub { 1 }", true),
        ("\\&main::named", true),
        (
            "package Called; use overload '&{}' => sub { sub { 1 } }; bless [], 'Called'",
            true,
        ),
        ("[]", false),
        ("'text'", false),
        (
            "package Evil; use overload '&{}' => sub { die 'no' }; bless [], 'Evil'",
            false,
        ),
    ] {
        let value = handle.eval("test", source).unwrap().unwrap();
        assert_eq!(value.is_callable(), callable, "{source}");
    }
}

/// The exit status of a child that `work` is done in.
fn child(perl: &Started, work: impl FnOnce() -> i32) -> i32 {
    let handle = perl.interpreter.as_ref().unwrap().perl();
    match handle.fork().unwrap() {
        // SAFETY: the child of a test leaves without the test harness's ends.
        0 => unsafe { libc::_exit(work()) },
        pid => {
            let mut status = 0;
            // SAFETY: plain system call with a valid pointer.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            libc::WEXITSTATUS(status)
        }
    }
}

#[test]
fn our_own_forks_go_on_and_draw_numbers_of_their_own() {
    let perl = Started::new(&[]);
    assert_eq!(
        perl.eval("srand 1; our $next = do { srand 1; my $n = rand; srand 1; $n }; 1"),
        Ok(true)
    );
    let handle = perl.interpreter.as_ref().unwrap().perl();
    let same = "rand() == $next or die; 1";
    assert_eq!(child(&perl, || i32::from(perl.eval(same) == Ok(true))), 1);
    let reseeded = child(&perl, || {
        handle.reseed();
        i32::from(perl.eval(same) == Ok(true))
    });
    assert_eq!(reseeded, 0);
}

#[test]
fn a_child_forked_while_an_app_loads_never_comes_back() {
    let perl = Started::new(&[]);
    // The child would go on as a second server behind this eval.
    let status =
        "my $pid = fork; if (!$pid) { 1 } else { waitpid $pid, 0; die 'status ', $? if $?; 1 }";
    assert_eq!(perl.eval(status), Ok(true));
}
