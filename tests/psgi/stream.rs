//! Delayed and streaming responses: responder, writer, and what apps do with them too early, too late or never.

use gepok::worker::Called;

use crate::world::{World, request};

#[test]
fn a_delayed_response_leaves_when_the_responder_is_called() {
    let mut world =
        World::new("sub { sub { $_[0]->([200, ['X-a', 1], ['x']]); push @log, 'after' } }");
    assert_eq!(
        world.get("/"),
        [
            "1 head 200 [X-a: 1] 1",
            "1 chunk x",
            "1 end",
            "flush",
            "idle",
            "flush"
        ]
    );
}

#[test]
fn a_writer_sends_each_write_at_once() {
    let mut world = World::new(
        "sub { sub {
            my $writer = $_[0]->([200, []]);
            push @log, map { $writer->write($_) } 'a', '', undef, 0;
            push @log, defined $writer->close ? 'defined' : 'undef';
            $writer->close;
        } }",
    );
    assert_eq!(
        world.get("/"),
        [
            "1 head 200 [] ?",
            "flush",
            "1 chunk a",
            "flush",
            "1 chunk 0",
            "flush",
            "1 end",
            "flush",
            "idle",
            "flush",
        ]
    );
    assert_eq!(world.text("join ' ', @log"), "1 1 1 1 undef");
}

#[test]
fn a_write_tells_that_the_client_has_left_and_keeps_errno() {
    let mut world = World::new(
        "sub { sub {
            my $writer = $_[0]->([200, []]);
            local $! = 7;
            push @log, $writer->write('a') ? 'sent' : 'gone', $! + 0;
            $writer->close;
        } }",
    );
    world.recorder.gone.set(true);
    world.get("/");
    assert_eq!(world.text("join ' ', @log"), "gone 7");
}

#[test]
fn a_closed_writer_refuses_writes() {
    let mut world = World::new(
        "sub { sub {
            my $writer = $_[0]->([200, []]);
            $writer->close;
            eval { $writer->write('a') }; push @log, $@;
        } }",
    );
    assert_eq!(world.get("/")[2], "1 end");
    assert!(world.text("@log").contains("closed writer"));
}

#[test]
fn only_the_first_call_of_a_responder_counts() {
    let mut world = World::new(
        "sub { sub { $_[0]->([200, [], ['x']]); eval { $_[0]->([201, [], ['y']]) }; push @log, $@ } }",
    );
    assert_eq!(
        world.get("/")[..3],
        ["1 head 200 [] 1", "1 chunk x", "1 end"]
    );
    assert!(world.text("@log").contains("called twice"));
}

#[test]
fn a_responder_that_is_never_called_is_a_500_and_useless_later() {
    let mut world = World::new(
        "my $kept; sub { errors($_[0]);
            eval { $kept->([200, [], ['late']]); 1 } or push @log, $@ if $kept;
            sub { $kept = $_[0] } }",
    );
    assert_eq!(
        world.get("/")[0],
        "1 head 500 [Content-Type: text/plain] 21"
    );
    assert!(
        world
            .text("$errors")
            .contains("without calling the responder")
    );
    assert_eq!(
        world.get("/")[0],
        "2 head 500 [Content-Type: text/plain] 21"
    );
    assert!(world.text("@log").contains("after the request was over"));
}

#[test]
fn a_responder_given_something_else_dies_in_the_app() {
    for wrong in [
        "'x'",
        "undef",
        "[200]",
        "[200, 'x']",
        "['x', []]",
        "[200, [], 'x']",
    ] {
        let mut world = World::new(&format!(
            "sub {{ errors($_[0]); sub {{ eval {{ $_[0]->({wrong}); 1 }} or push @log, 'died' }} }}"
        ));
        assert_eq!(
            world.get("/")[0],
            "1 head 500 [Content-Type: text/plain] 21",
            "{wrong}"
        );
        assert_eq!(world.text("@log"), "died", "{wrong}");
    }
}

#[test]
fn a_writer_that_goes_out_of_scope_ends_its_response() {
    for code in [
        "sub { my $writer = $_[0]->([200, []]); $writer->write('a'); 1 }",
        "sub { $_[0]->([200, []])->write('a') }",
        "sub { my $responder = shift; $responder->([200, []])->write('a'); undef }",
    ] {
        let said = World::new(&format!("sub {{ {code} }}")).get("/");
        assert_eq!(
            said,
            [
                "1 head 200 [] ?",
                "flush",
                "1 chunk a",
                "flush",
                "1 end",
                "idle",
                "flush"
            ],
            "{code}"
        );
    }
}

#[test]
fn a_response_that_is_only_a_writer_as_return_value_ends() {
    let said = World::new("sub { sub { $_[0]->([200, []]) } }").get("/");
    assert_eq!(said, ["1 head 200 [] ?", "flush", "1 end", "idle", "flush"]);
}

#[test]
fn a_kept_writer_goes_on_behind_its_call_until_it_is_gone() {
    let mut world = World::new(
        "my $kept; sub {
            if ($kept) { $kept->write('later'); undef $kept; return [200, [], ['second']] }
            sub { $kept = $_[0]->([200, []]) }
        }",
    );
    assert_eq!(
        world.get("/"),
        ["1 head 200 [] ?", "flush", "idle", "flush"]
    );
    assert_eq!(
        world.get("/"),
        [
            "1 chunk later",
            "flush",
            "1 end",
            "flush",
            "2 head 200 [] 6",
            "2 chunk second",
            "2 end",
            "idle",
            "flush",
        ]
    );
}

#[test]
fn a_writer_kept_in_the_env_ends_with_it() {
    let said =
        World::new("sub { my $env = shift; sub { $env->{kept} = $_[0]->([200, []]) } }").get("/");
    assert_eq!(
        said,
        [
            "1 head 200 [] ?",
            "flush",
            "idle",
            "flush",
            "1 end",
            "flush"
        ]
    );
}

#[test]
fn an_exception_behind_the_head_cuts_the_response() {
    for code in [
        "my $writer = $_[0]->([200, []]); $writer->write('a'); die 'mid'",
        "our $kept = $_[0]->([200, []]); $kept->write('a'); die 'mid'",
    ] {
        let mut world = World::new(&format!("sub {{ errors($_[0]); sub {{ {code} }} }}"));
        assert_eq!(
            world.get("/"),
            [
                "1 head 200 [] ?",
                "flush",
                "1 chunk a",
                "flush",
                "1 abort",
                "idle",
                "flush"
            ]
        );
        assert!(world.text("$errors").starts_with("mid at app"));
    }
}

#[test]
fn an_exception_before_the_head_is_a_500() {
    let said = World::new("sub { errors($_[0]); sub { die 'early' } }").get("/");
    assert_eq!(said[0], "1 head 500 [Content-Type: text/plain] 21");
}

#[test]
fn an_exception_behind_a_complete_response_changes_nothing_of_it() {
    let mut world =
        World::new("sub { errors($_[0]); sub { $_[0]->([200, [], ['x']]); die 'late' } }");
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
    assert!(world.text("$errors").starts_with("late at app"));
}

#[test]
fn exit_in_the_middle_cuts_the_response() {
    let mut world = World::new("sub { sub { my $writer = $_[0]->([200, []]); exit 3 } }");
    let (called, said) = world.call(request("GET", "/", &[]), false);
    assert_eq!(called, Called::Exit(3));
    assert_eq!(said, ["1 head 200 [] ?", "flush", "1 abort", "flush"]);
    assert_eq!(world.finish(3), 3);
}

#[test]
fn methods_of_the_writer_refuse_what_is_none() {
    let mut world = World::new(
        "sub {
            for my $wrong (\"'Gepok::Writer'\", 'bless({}, q(Gepok::Writer))', '\\\\1', 'undef') {
                for my $method ('write', 'close') {
                    eval \"Gepok::Writer::$method($wrong\" . ($method eq 'write' ? ', 1)' : ')');
                    push @log, $@ =~ /not a writer/ ? 'refused' : \"<$@>\";
                }
            }
            [200, [], [@log]]
        }",
    );
    assert_eq!(
        world.get("/")[1],
        format!("1 chunk {}", "refused".repeat(8))
    );
}

#[test]
fn a_writer_that_outlives_its_worker_is_harmless() {
    let mut world = World::new("our $kept; sub { sub { $kept = $_[0]->([200, []]) } }");
    world.get("/");
    assert_eq!(world.finish(0), 0);
}

#[test]
fn responders_of_two_requests_do_not_mix() {
    let mut world = World::new(
        "my @kept; sub { sub { push @kept, [$_[0], $_[0]->([200, []])]; $kept[0][1]->write('to first') } }",
    );
    world.get("/");
    assert_eq!(world.get("/")[2], "1 chunk to first");
}

#[test]
fn signal_handlers_run_while_a_slow_client_is_waited_for() {
    let mut world = World::new(
        "my @parts = ('one', 'two', 'three');
        $SIG{USR2} = sub { push @log, 'handler'; @parts = () };
        sub { [200, [], \\@parts] }",
    );
    world.recorder.interrupt.set(true);
    let said = world.get("/");
    assert_eq!(
        said[..3],
        ["1 head 200 [] 11", "1 chunk o", "1 chunk netwothree"]
    );
    assert_eq!(world.text("join ' ', @log"), "handler");
}

#[test]
fn a_handler_that_dies_ends_a_write_to_a_slow_client() {
    let mut world = World::new(
        "sub { sub {
            local $SIG{USR2} = sub { die \"in time\\n\" };
            my $writer = $_[0]->([200, []]);
            push @log, eval { $writer->write('abc'); 1 } ? 'sent' : $@;
            $writer->close;
        } }",
    );
    world.recorder.interrupt.set(true);
    let said = world.get("/");
    assert_eq!(said[2..4], ["1 chunk a", "1 end"], "{said:?}");
    assert_eq!(world.text("join ' ', @log"), "in time");
}
