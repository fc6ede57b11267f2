//! psgix.io and gepok.socket: one handle a request, which fetches the client's socket when it is used.

use std::io::{Read, Write};

use gepok::worker::Called;

use crate::world::{World, request};

/// An app that returns what the expressions give, as one text; `$io` is the handle.
fn answering(expressions: &str) -> World {
    World::new(&format!(
        "sub {{ my $env = shift; my $io = $env->{{'psgix.io'}};
            [200, [], [join ';', map {{ defined ? $_ : 'undef' }} do {{ {expressions} }}]] }}"
    ))
}

/// The response's text.
fn content(said: &[String]) -> &str {
    let chunk = said.iter().find_map(|line| line.split_once(" chunk "));
    chunk.map_or("", |(_, text)| text)
}

fn takes(said: &[String]) -> usize {
    said.iter().filter(|line| line.ends_with(" take")).count()
}

#[test]
fn what_looks_at_the_handle_without_using_it_fetches_nothing() {
    let mut world = answering(
        "require PerlIO; my %copy = %$env; my $text = \"$io\"; my $flags = PerlIO::get_layers($io);
            binmode $io; $io->autoflush(1); my $old = select $io; select $old;
            $io == $env->{'gepok.socket'}, ref $io, $io->peerhost, $io->peerport, $io->connected ? 1 : 0, $io->protocol,
            (map { $io->isa($_) ? 1 : 0 } qw(IO::Socket::INET IO::Socket::IP IO::Socket IO::Handle IO::Socket::UNIX))",
    );
    for _ in 0..2 {
        let said = world.get("/");
        assert_eq!(
            content(&said),
            "1;Gepok::Socket::TCP;192.0.2.7;4711;1;6;1;1;1;1;0"
        );
        assert_eq!(takes(&said), 0, "{said:?}");
    }
}

#[test]
fn an_unused_handle_is_taken_again_and_knows_the_new_client() {
    let mut world = answering("$io + 0, $io->peerport");
    let first = content(&world.get("/")).to_owned();
    let mut other = request("GET", "/", &[]);
    other.source.endpoints = gepok::semantics::source::Endpoints::Ip {
        peer: "192.0.2.7:4712".parse().unwrap(),
        local: "192.0.2.1:80".parse().unwrap(),
    };
    let (_, said) = world.call(other, false);
    assert_eq!(content(&said), first.replace("4711", "4712"));
}

#[test]
fn every_first_use_fetches_once() {
    for first in [
        "fileno $io",
        "print $io 'x'",
        "syswrite $io, 'x'",
        "sysread $io, my $x, 1",
        "read $io, my $x, 1",
        "my $x = <$io>",
        "getc $io",
        "eof $io",
        "$io->blocking(0)",
        "$io->opened",
        "$io->sockopt(Socket::SO_TYPE())",
        "getpeername $io",
        "getsockname $io",
        "setsockopt $io, Socket::SOL_SOCKET(), Socket::SO_KEEPALIVE(), 1",
        "shutdown $io, 1",
        "-S $io",
        "stat $io",
        "send $io, 'x', 0",
        "recv $io, my $x, 1, 0",
        "open my $copy, '+<&', $io or die $!",
        "open my $same, '+<&=', $io or die $!",
        "require IO::Select; IO::Select->new($io)",
    ] {
        let mut world = World::new(&format!(
            "sub {{ my $env = shift; my $io = $env->{{'gepok.socket'}};
                sub {{ {first}; fileno $io; fileno($env->{{'psgix.io'}}) == fileno $io or die 'two' }} }}"
        ));
        // Reads shall not block.
        world.recorder.hang_up.set(true);
        assert_eq!(
            world.get("/"),
            ["1 take", "1 end", "idle", "flush"],
            "{first}"
        );
    }
}

#[test]
fn both_directions_by_builtins_and_methods() {
    let mut world = World::new(
        "sub { my $env = shift; my $io = $env->{'psgix.io'}; sub {
            print $io \"one \"; printf $io '%s ', 'two'; syswrite $io, 'three '; $io->print('four '); $io->syswrite(\"five\\n\");
            $log[0] = $io; vec(my $bits = '', fileno $io, 1) = 1; $log[1] = select undef, $bits, undef, 0;
        } }",
    );
    assert_eq!(world.get("/"), ["1 take", "1 end", "idle", "flush"]);
    let mut client = world.recorder.client.take().unwrap();
    client.write_all(b"line\nsecond\nrest").unwrap();
    // The app has kept it: it stays this client's, whatever request is in work.
    assert_eq!(world.text("scalar(readline $log[0]) . '.'"), "line\n.");
    assert_eq!(
        world.text(
            "do { read $log[0], my $x, 3; syswrite $log[0], 'late'; close $log[0]; $x . $log[1] }"
        ),
        "sec1"
    );
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "one two three four five\nlate");
}

#[test]
fn a_socket_that_nobody_keeps_is_closed_with_its_request() {
    let mut world = World::new("sub { my $env = shift; sub { fileno $env->{'psgix.io'} } }");
    world.get("/");
    let mut client = world.recorder.client.take().unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_unfetched_handle_is_dead_behind_its_request() {
    let mut world = answering(
        "my @seen; if (my $old = $log[0]) {
            @seen = (fileno $old, syswrite($old, 'x'), $!{EBADF} ? 1 : 0, (print {$old} 'x') ? 1 : 0, scalar <$old>,
                $old->peerport, $old == $io ? 'same' : 'other', close $old);
        } $log[0] = $io; @seen",
    );
    // Should it be fetched after all, reads shall not block.
    world.recorder.hang_up.set(true);
    world.get("/");
    let said = world.get("/");
    assert_eq!(content(&said), "-1;undef;1;0;undef;4711;other;");
    assert_eq!(takes(&said), 0);
}

#[test]
fn what_an_app_leaves_on_a_handle_does_not_reach_the_next_request() {
    for leave in [
        "$log[0] = *{$io}{IO}",
        "$log[0] = \\${*$io}",
        "${*$io}{mine} = 1",
        "@{*$io} = 1",
        "*T::alias = $io",
        "bless $io, 'T'",
        "require Scalar::Util; Scalar::Util::weaken($log[0] = $io)",
        "binmode $io, ':utf8'",
        "binmode $io, ':pop'",
        "$io->autoflush(0); print $io 'unsent'",
        "$io->ungetc(65)",
        "close $io",
        "${*$io} = bless []",
        "Internals::SvREADONLY(${*$io}, 1)",
        "*$io = sub { 1 }",
        "tie *$io, 'Tied'; sub Tied::TIEHANDLE { bless [] }",
        "undef *$io",
        "open $io, '<', '/dev/null'",
    ] {
        let mut world = World::new(&format!(
            "sub {{ my $env = shift; my $io = $env->{{'psgix.io'}};
                if ($env->{{PATH_INFO}} eq '/leave') {{ no warnings; {leave}; return [200, [], ['left']] }}
                sub {{ fileno $io; print $io ref $io, ' ', $io->peerport, ' ', join ',', PerlIO::get_layers($io);
                    print $io ' clean' unless ${{*$io}}{{mine}} || @{{*$io}} || tied *$io || $log[0] && $log[0] == $io }} }}"
        ));
        let said = world.get("/leave");
        assert_eq!(content(&said), "left", "{leave}: {said:?}");
        assert_eq!(
            world.get("/"),
            ["2 take", "2 end", "idle", "flush"],
            "{leave}"
        );
        let mut client = world.recorder.client.take().unwrap();
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, "Gepok::Socket::TCP 4711 unix,perlio clean", "{leave}");
    }
}

#[test]
fn a_response_behind_a_fetch_is_sent_as_any_other() {
    let mut world = answering("fileno $io > 2 ? 1 : 0");
    let said = world.get("/");
    assert_eq!(said[..2], ["1 take", "1 head 200 [] 1"], "{said:?}");
}

#[test]
fn a_failure_behind_a_fetch_sends_nothing() {
    for way in ["die 'no'", "exit 3", "return 'nothing'", "$_[0] = 0; undef"] {
        let mut world = World::new(&format!(
            "sub {{ my $env = shift; T::errors($env); fileno $env->{{'psgix.io'}}; {way} }}"
        ));
        let (called, said) = world.call(request("GET", "/", &[]), false);
        assert_eq!(said[..2], ["1 take", "1 abort"], "{way}");
        assert_eq!(called == Called::Exit(3), way == "exit 3");
    }
}

#[test]
fn without_a_fetch_the_responder_must_be_called() {
    let mut world =
        World::new("sub { my $env = shift; T::errors($env); sub { close $env->{'psgix.io'} } }");
    let said = world.get("/");
    assert!(said[0].starts_with("1 head 500"), "{said:?}");
}

#[test]
fn a_client_that_has_gone_has_no_socket() {
    let mut world = answering("fileno $io, syswrite($io, 'x'), $!{EBADF} ? 1 : 0");
    world.recorder.gone.set(true);
    let (called, said) = world.call(request("GET", "/", &[]), false);
    assert_eq!(called, Called::Done);
    assert_eq!(said[..2], ["1 take", "1 take"], "{said:?}");
}

#[test]
fn a_listener_answers_what_needs_no_descriptor() {
    let mut world = answering(
        "my $l = $env->{'gepok.httpd_socket'};
            (map { $l->isa($_) ? 1 : 0 } qw(IO::Socket::INET IO::Socket::UNIX)), $l->sockhost, $l->sockport, $l->peerhost,
            $l->opened ? 1 : 0, fileno $l, $l->sockdomain == Socket::AF_INET() ? 1 : 0, $l->socktype, scalar $l->accept, $l->timeout",
    );
    for _ in 0..2 {
        assert_eq!(
            content(&world.get("/")),
            "1;0;127.0.0.1;80;undef;0;undef;1;1;undef;undef"
        );
    }
}

#[test]
fn fetched_handles_survive_the_worker() {
    let mut world =
        World::new("sub { my $env = shift; $log[0] = $env->{'psgix.io'}; sub { fileno $log[0] } }");
    world.get("/");
    let mut client = world.recorder.client.take().unwrap();
    world.close();
    assert_eq!(world.text("syswrite $log[0], 'still'"), "5");
    let mut word = [0; 5];
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"still");
}

#[test]
fn a_thread_of_the_apps_has_no_socket() {
    let look = "fileno($io) // 'closed', $io->peerport";
    let mut world = answering(&format!(
        "require Config; require threads if $Config::Config{{usethreads}};
            my $run = sub {{ my $code = shift; $Config::Config{{usethreads}} ? threads->create({{ context => 'list' }}, $code)->join : $code->() }};
            my @seen = $Config::Config{{usethreads}} ? $run->(sub {{ {look} }}) : ('closed', 4711);
            my $mine = fileno $io; (@seen, $mine > 2 ? 'fetched' : 'none', $run->(sub {{ $io->peerport }}))"
    ));
    for _ in 0..2 {
        assert_eq!(content(&world.get("/")), "closed;4711;fetched;4711");
    }
}
