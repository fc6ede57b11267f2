//! Every way out of an app but a response: exceptions, exit, loop controls, destructors, signals, forks. The request is
//! answered, the next one is as if nothing had been.

use gepok::worker::Called;

use crate::world::{World, request};

const BROKEN: [&str; 5] = [
    "head 500 [Content-Type: text/plain] 21",
    "chunk Internal Server Error",
    "end",
    "idle",
    "flush",
];

/// One request is broken by `code`, the one before and the one behind it are well, and the loop around them is whole.
fn breaks(code: &str) -> String {
    let mut world = World::new(&format!(
        "sub {{ errors($_[0]); if ($_[0]{{PATH_INFO}} eq '/break') {{ {code} }} [200, [], ['well']] }}"
    ));
    for round in 0..3 {
        let id = 2 * round + 1;
        assert_eq!(world.get("/")[1], format!("{id} chunk well"), "{code}");
        let said = world.get("/break");
        let plain: Vec<_> = said
            .iter()
            .map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '))
            .collect();
        assert_eq!(plain, BROKEN, "{code}");
    }
    world.text("$errors")
}

#[test]
fn exceptions_of_every_kind_are_a_500() {
    assert_eq!(breaks("die 'text'; "), "text at app line 1.");
    assert!(breaks("die { a => 1 };").starts_with("HASH("));
    assert!(breaks("{ package False; use overload 'bool' => sub { 0 }, '\"\"' => sub { '' } } die bless {}, 'False';").starts_with("Died"));
    assert_eq!(breaks("die '';"), "Died at app line 1.");
    assert_eq!(
        breaks("local $SIG{__DIE__} = sub { die 'again: ', @_ }; die \"x\\n\";"),
        "again: x"
    );
    assert_eq!(
        breaks("my @list = (1); for (@list) { for my $x (1) { die \"nested\\n\" } }"),
        "nested"
    );
    assert_eq!(breaks("[sort { die \"in sort\\n\" } 2, 1];"), "in sort");
}

#[test]
fn an_exception_that_can_not_be_shown_is_still_logged() {
    let text = breaks(
        "{ package Evil; use overload '\"\"' => sub { die 'no' }, 'bool' => sub { die 'no' } } die bless {}, 'Evil';",
    );
    assert!(text.contains("can't be shown"), "{text}");
}

#[test]
fn loop_controls_out_of_the_app_are_exceptions() {
    assert!(breaks("no warnings; last;").contains("Can't \"last\" outside a loop block"));
    assert!(breaks("no warnings; next OUTER;").contains("Label not found"));
    assert!(breaks("no warnings; goto NOWHERE;").contains("Can't find label"));
    assert!(breaks("no warnings; redo;").contains("Can't \"redo\""));
}

#[test]
fn goto_another_sub_is_a_call_of_that() {
    let said =
        World::new("sub other { [200, [], [\"other $_[0]{PATH_INFO}\"]] } sub { goto &other }")
            .get("/");
    assert_eq!(said[1], "1 chunk other /");
}

#[test]
fn a_failing_psgi_errors_does_not_break_the_answer() {
    breaks(
        "{ package Mute; sub print { die 'no errors today' } } $_[0]{'psgi.errors'} = bless {}, 'Mute'; die \"(a test's message)\\n\";",
    );
    breaks("delete $_[0]{'psgi.errors'}; die \"(a test's message)\\n\";");
    breaks("%{$_[0]} = (); die \"(a test's message)\\n\";");
    breaks("undef $_[0]; $_[0] = 1; die \"(a test's message)\\n\" if 1;");
}

#[test]
fn variables_of_the_neighbours_are_untouched() {
    let mut world = World::new(
        "sub {
            my @found = (defined $_ ? $_ : 'undef', $@ eq '' ? 'none' : $@);
            $_ = 'mine'; eval { die 'old' };
            [200, [], [join ' ', @found]]
        }",
    );
    assert_eq!(world.get("/")[1], "1 chunk undef none");
    assert_eq!(world.get("/")[1], "2 chunk undef none");
}

#[test]
fn exit_answers_500_and_ends_the_worker_with_its_status() {
    for (code, status) in [
        ("exit 7", 7),
        ("exit", 0),
        ("eval { exit 4 }", 4),
        ("local $SIG{__DIE__} = sub { exit 5 }; die 'x'", 5),
        ("bless [], 'Leaver'; undef", 9),
    ] {
        let mut world = World::new(&format!(
            "{{ package Leaver; our $done; sub DESTROY {{ exit 9 unless $done++ }} }} END {{ $? = $? == 7 ? 17 : $? }} sub {{ {code} }}"
        ));
        let (called, said) = world.call(request("GET", "/", &[]), false);
        assert_eq!(called, Called::Exit(status), "{code}");
        assert_eq!(
            said,
            [
                "1 head 500 [Content-Type: text/plain] 21",
                "1 chunk Internal Server Error",
                "1 end",
                "flush"
            ],
            "{code}"
        );
        // END blocks see and may change it.
        let end = if status == 7 { 17 } else { status };
        assert_eq!(world.finish(status), end, "{code}");
    }
}

#[test]
fn exit_in_a_destructor_of_the_response_leaves_the_response_whole() {
    let mut world = World::new(
        "{ package Leaver; use overload '\"\"' => sub { 'x' }; our $done; sub DESTROY { exit 9 unless $done++ } }
         sub { [200, [], [bless [], 'Leaver']] }",
    );
    let (called, said) = world.call(request("GET", "/", &[]), false);
    assert_eq!(called, Called::Exit(9));
    assert_eq!(
        said[..5],
        ["1 head 200 [] 1", "1 chunk x", "1 end", "idle", "flush"]
    );
}

#[test]
fn a_destructor_that_dies_harms_nobody() {
    let mut world = World::new(
        "BEGIN { $SIG{__WARN__} = sub { push @log, $_[0] } }
        { package Sour; sub DESTROY { die 'sour' } }
        sub { $_[0]{sour} = bless [], 'Sour'; [200, [], [$_[0]{PATH_INFO}]] }",
    );
    assert_eq!(
        world.get("/a"),
        ["1 head 200 [] 2", "1 chunk /a", "1 end", "idle", "flush"]
    );
    assert_eq!(world.get("/b")[1], "2 chunk /b");
    assert!(world.text("@log").contains("(in cleanup) sour"));
}

#[test]
fn a_destructor_runs_only_when_the_client_has_its_answer() {
    let mut world = World::new(
        "{ package Late; sub DESTROY { $_[0][0]->(103) } }
        sub { $_[0]{late} = bless [$_[0]{'psgix.informational'}], 'Late'; [200, [], ['x']] }",
    );
    // The request is over by then, so nothing is told.
    assert_eq!(
        world.get("/"),
        ["1 head 200 [] 1", "1 chunk x", "1 end", "idle", "flush"]
    );
}

#[test]
fn cleanup_handlers_run_behind_the_response_with_its_env() {
    let mut world = World::new(
        "sub { my $env = shift; errors($env);
            push @{$env->{'psgix.cleanup.handlers'}},
                sub { push @log, $_[0] == $env ? 'env' : 'other'; push @{$_[0]{'psgix.cleanup.handlers'}}, sub { push @log, 'added' } },
                sub { die \"cleanup\\n\" },
                'no code',
                sub { push @log, 'last' };
            [200, [], ['x']] }",
    );
    assert_eq!(
        world.get("/"),
        [
            "1 head 200 [] 1",
            "1 chunk x",
            "1 end",
            "flush",
            "idle",
            "flush"
        ]
    );
    assert_eq!(world.text("join ' ', @log"), "env last added");
    assert!(
        world
            .text("$errors")
            .starts_with("a cleanup handler: cleanup\n")
    );
}

#[test]
fn cleanup_handlers_run_behind_a_500_too() {
    let mut world = World::new(
        "sub { errors($_[0]); push @{$_[0]{'psgix.cleanup.handlers'}}, sub { push @log, 'run' }; die 'x' }",
    );
    assert_eq!(world.get("/")[3..], ["flush", "idle", "flush"]);
    assert_eq!(world.text("@log"), "run");
}

#[test]
fn exit_in_a_cleanup_handler_ends_the_worker() {
    let mut world = World::new(
        "sub { push @{$_[0]{'psgix.cleanup.handlers'}}, sub { exit 6 }; [200, [], ['x']] }",
    );
    let (called, said) = world.call(request("GET", "/", &[]), false);
    assert_eq!(called, Called::Exit(6));
    assert_eq!(
        said[..4],
        ["1 head 200 [] 1", "1 chunk x", "1 end", "flush"]
    );
    assert!(!said.contains(&"idle".to_owned()));
}

#[test]
fn harakiri_ends_the_worker_behind_response_and_cleanup() {
    let mut world = World::new(
        "sub { $_[0]{'psgix.harakiri.commit'} = 1 if $_[0]{'psgix.harakiri'};
            push @{$_[0]{'psgix.cleanup.handlers'}}, sub { push @log, 'cleanup' };
            [200, [], ['x']] }",
    );
    let (called, said) = world.call(request("GET", "/", &[]), false);
    assert_eq!(called, Called::Leave);
    assert_eq!(
        said,
        ["1 head 200 [] 1", "1 chunk x", "1 end", "flush", "flush"]
    );
    assert_eq!(world.text("@log"), "cleanup");
}

#[test]
fn a_single_process_commits_no_harakiri() {
    let mut world = World::with_multiprocess(
        "sub { $_[0]{'psgix.harakiri.commit'} = 1; [200, [], [$_[0]{'psgix.harakiri'}]] }",
        false,
    );
    assert_eq!(
        world.get("/"),
        ["1 head 200 [] 1", "1 chunk 0", "1 end", "idle", "flush"]
    );
}

fn raise(signal: i32) {
    // SAFETY: the test's own process, on this thread, with a handler installed.
    unsafe { libc::raise(signal) };
}

#[test]
fn signal_handlers_run_while_idle_and_may_die_or_exit() {
    let mut world = World::new(
        "$SIG{USR1} = sub { push @log, 'usr1' };
         $SIG{USR2} = sub { die \"(a test's message)\\n\" };
         $SIG{WINCH} = sub { exit 8 };
         sub { [200, [], [@log]] }",
    );
    assert!(!world.signals_due());
    assert_eq!(world.signals(), None);
    raise(libc::SIGUSR1);
    assert!(world.signals_due());
    assert_eq!(world.signals(), None);
    raise(libc::SIGUSR2);
    assert_eq!(world.signals(), None);
    assert_eq!(world.get("/")[1], "1 chunk usr1");
    raise(libc::SIGWINCH);
    assert_eq!(world.signals(), Some(8));
    assert_eq!(world.said(), Vec::<String>::new());
}

/// The child's report comes by a pipe, and its status is what the parent's waitpid sees.
fn forked(child: &str) -> (Vec<String>, String) {
    let mut world = World::new(&format!(
        "my $parent = $$;
        pipe my $read, my $write or die $!;
        END {{ syswrite $write, 'end ' if $write && $$ != $parent }}
        sub {{
            my $env = shift;
            my $pid = fork;
            die $! unless defined $pid;
            if (!$pid) {{ {child} }}
            waitpid $pid, 0;
            push @log, $? >> 8, ' ', $? & 127;
            close $write; undef $write;
            [200, [], ['parent ', <$read>]]
        }}"
    ));
    let said = world.get("/");
    (said, world.text("@log"))
}

#[test]
fn a_forked_child_answers_nothing_whatever_way_it_ends() {
    for (child, report, status) in [
        ("return [200, [], ['child']]", "end ", "0 0"),
        ("exit 5", "end ", "5 0"),
        ("close STDERR; die 'child'", "end ", "255 0"),
        // A code reference is returned to nobody.
        ("return sub { syswrite $write, 'called ' }", "end ", "0 0"),
        (
            "eval { $env->{'psgix.informational'}->(103) }; syswrite $write, $@ =~ /can be answered only/ ? 'dead ' : 'alive '; exit",
            "dead end ",
            "0 0",
        ),
        ("require POSIX; POSIX::_exit(3)", "", "3 0"),
        ("exec 'true' or exit 1", "", "0 0"),
        (
            "print STDOUT ''; push @{$env->{'psgix.cleanup.handlers'}}, sub { syswrite $write, 'cleanup ' }; return [200, [], []]",
            "end ",
            "0 0",
        ),
    ] {
        let (said, waited) = forked(child);
        assert_eq!(
            said[1..],
            [
                &format!("1 chunk parent {report}"),
                "1 end",
                "idle",
                "flush"
            ],
            "{child}"
        );
        assert_eq!(waited, status, "{child}");
    }
}

#[test]
fn a_child_forked_in_a_delayed_response_can_not_answer() {
    let mut world = World::new(
        "my $parent = $$;
        sub {
            sub {
                my $responder = shift;
                pipe my $read, my $write or die $!;
                my $pid = fork;
                die $! unless defined $pid;
                if (!$pid) {
                    eval { $responder->([200, [], ['child']]); 1 } or syswrite $write, 'dead';
                    return;
                }
                waitpid $pid, 0;
                close $write;
                my $writer = $responder->([200, []]);
                $writer->write(join ' ', $? >> 8, <$read>);
                $pid = fork;
                die $! unless defined $pid;
                return if !$pid;
                waitpid $pid, 0;
                $writer->write('alive');
                $writer->close;
            }
        }",
    );
    let said = world.get("/");
    let chunks: Vec<_> = said.iter().filter(|line| line.contains("chunk")).collect();
    assert_eq!(chunks, ["1 chunk 0 dead", "1 chunk alive"]);
}

#[test]
fn a_child_forked_while_a_body_is_read_does_not_go_on_with_it() {
    let mut world = World::new(
        "{ package Forking; sub getline {
            my $self = shift;
            my $pid = fork;
            die $! unless defined $pid;
            return 'child' if !$pid;
            waitpid $pid, 0;
            $self->[0]++ ? undef : 'parent' . ($? >> 8) } }
        sub { [200, [], bless [], 'Forking'] }",
    );
    assert_eq!(
        world.get("/"),
        [
            "1 head 200 [] ?",
            "1 chunk parent0",
            "1 end",
            "idle",
            "flush"
        ]
    );
}

#[test]
fn commands_run_as_in_plain_perl() {
    let mut world = World::new(
        "sub { my $out = `echo out; exit 3`; my $status = $? >> 8; system 'false'; [200, [], [$out, $status, $? >> 8]] }",
    );
    assert_eq!(world.get("/")[1], r"1 chunk out\n31");
}
