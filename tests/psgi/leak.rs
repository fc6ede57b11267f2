//! Nothing stays behind of a request, however it ended.

use std::io::Write;

use gepok::semantics::message::{Content, Request};

use crate::world::{World, request};

/// Bytes that malloc has given out. Values of Perl's come from arenas that grow by some KiB.
fn in_use() -> usize {
    // SAFETY: reads malloc's own counters.
    unsafe { libc::mallinfo2() }.uordblks
}

const APPS: [(&str, &str); 25] = [
    ("array", "[200, ['X-a', 1], ['a', 'b', 3]]"),
    ("many elements", "[200, [], [1 .. 20]]"),
    (
        "wide",
        "no warnings; [200, ['X-a', \"\\xe9\"], [\"\\x{263a}\", do { my $s = \"\\xe9\"; utf8::upgrade($s); $s }]]",
    ),
    ("magic", "'abc' =~ /(b)/; [200, [], [$1]]"),
    (
        "overloaded",
        "{ package Shown; use overload '\"\"' => sub { 'text' } } [200, ['X-a', bless []], [bless [], 'Shown']]",
    ),
    (
        "socket kept for a while",
        "our $kept = $_[0]{'psgix.io'}; [200, [], []]",
    ),
    ("socket closed", "close $_[0]{'psgix.io'}; [200, [], []]"),
    ("socket fetched", "fileno $_[0]{'psgix.io'}; [200, [], []]"),
    (
        "socket taken",
        "my $env = $_[0]; sub { print {$env->{'psgix.io'}} 'x' }",
    ),
    (
        "socket taken and kept for a while",
        "our $kept = $_[0]{'psgix.io'}; sub { print $kept 'x' }",
    ),
    ("exception", "die 'text'"),
    (
        "exception object",
        "{ package Thrown; use overload '\"\"' => sub { 'text' } } die bless { a => [1] }, 'Thrown'",
    ),
    ("bad status", "['x', [], []]"),
    ("bad field", "[200, ['a b', 1], []]"),
    ("no response", "'text'"),
    ("loop control", "no warnings; last"),
    ("delayed", "sub { $_[0]->([200, [], ['x']]) }"),
    (
        "writer",
        "sub { my $w = $_[0]->([200, []]); $w->write('x'); $w->close }",
    ),
    ("writer dropped", "sub { $_[0]->([200, []])->write('x') }"),
    (
        "writer kept for a while",
        "sub { our $kept = $_[0]->([200, []]) }",
    ),
    ("responder kept for a while", "sub { our $kept = $_[0] }"),
    (
        "object",
        "{ package Lines; sub getline { shift @{$_[0]} } sub close { } } [200, [], bless ['a', 'b'], 'Lines']",
    ),
    ("handle", "open my $h, '<', \\'text' or die; [200, [], $h]"),
    (
        "cleanup",
        "push @{$_[0]{'psgix.cleanup.handlers'}}, sub { die 'x' }, sub { 1 }; [200, [], []]",
    ),
    (
        "input",
        "close $_[0]{'psgi.input'}; our $kept = $_[0]{'psgix.informational'}; $kept->(103, ['a', 1]); [200, [], []]",
    ),
];

fn grows(name: &str, code: &str, mut make: impl FnMut() -> Request) {
    const ROUNDS: usize = 3000;
    let mut world = World::new(&format!(
        "open my $null, '>', '/dev/null' or die; sub {{ $_[0]{{'psgi.errors'}} = $null; {code} }}"
    ));
    for _ in 0..ROUNDS / 3 {
        world.call(make(), false);
    }
    let before = in_use();
    for _ in 0..ROUNDS {
        world.call(make(), false);
    }
    let grown = in_use().saturating_sub(before);
    // The smallest value is 24 bytes.
    assert!(grown < ROUNDS * 12, "{name}: {grown} bytes");
}

#[test]
fn no_response_leaves_memory_behind() {
    for (name, code) in APPS {
        grows(name, code, || {
            request(
                "GET",
                "/a%20b",
                &[("Host", "a"), ("X-Own", "b"), ("x-own", "c")],
            )
        });
    }
}

#[test]
fn no_content_leaves_memory_behind() {
    let read = "my $text = join '', readline $_[0]{'psgi.input'}; [200, [], [$text]]";
    grows("inline", read, || Request {
        content: Content::Inline("abc".into()),
        content_length: Some(3),
        ..request("POST", "/", &[])
    });
    grows("file", read, || {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        Request {
            content: Content::File {
                file: file.into(),
                length: 3,
            },
            content_length: Some(3),
            ..request("POST", "/", &[])
        }
    });
}
