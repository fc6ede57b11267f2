//! Every form of response that PSGI has, as the core gets it.

use gepok::worker::Called;

use crate::world::{World, request};

const BROKEN: [&str; 5] = [
    "1 head 500 [Content-Type: text/plain] 21",
    "1 chunk Internal Server Error",
    "1 end",
    "idle",
    "flush",
];

/// The answer to one GET, without the closing idle and flush.
fn answer(app: &str) -> Vec<String> {
    let mut said = World::new(app).get("/");
    assert_eq!(said.split_off(said.len() - 2), ["idle", "flush"]);
    said
}

/// The app's own mistake: 500, and a message that contains `why` in psgi.errors.
fn refused(response: &str, why: &str) {
    let mut world = World::new(&format!("sub {{ errors($_[0]); {response} }}"));
    assert_eq!(world.get("/"), BROKEN, "{response}");
    let errors = world.text("$errors");
    assert!(errors.contains(why), "{response}: {errors}");
}

#[test]
fn an_array_body_is_one_chunk_of_known_length() {
    assert_eq!(
        answer(
            "sub { [200, ['Content-Type', 'text/plain', 'X-a', 1], ['hello ', $_[0]{PATH_INFO}]] }"
        ),
        [
            "1 head 200 [Content-Type: text/plain, X-a: 1] 7",
            "1 chunk hello /",
            "1 end"
        ]
    );
}

#[test]
fn an_empty_body_is_no_chunk() {
    assert_eq!(
        answer("sub { [200, [], []] }"),
        ["1 head 200 [] 0", "1 end"]
    );
}

#[test]
fn undefined_and_empty_elements_are_skipped_and_zero_is_sent() {
    assert_eq!(
        answer("sub { [200, [], ['Content', '', 'Again', undef, 0]] }"),
        ["1 head 200 [] 13", "1 chunk ContentAgain0", "1 end"]
    );
}

#[test]
fn more_elements_than_the_stack_holds() {
    assert_eq!(
        answer("sub { [200, [], [('x') x 20]] }"),
        ["1 head 200 [] 20", "1 chunk xxxxxxxxxxxxxxxxxxxx", "1 end"]
    );
}

#[test]
fn elements_may_be_tied_magical_or_overloaded() {
    assert_eq!(
        answer(
            r#"
            { package Tied; require Tie::Array; our @ISA = 'Tie::StdArray'; }
            { package Shown; use overload '""' => sub { "<${$_[0]}>" }, fallback => 1; }
            sub {
                tie my @body, 'Tied';
                push @body, 'tied ', bless(\(my $text = 'object'), 'Shown'), undef;
                'abc' =~ /(b)/;
                tie my @headers, 'Tied';
                push @headers, 'X-Object', bless(\(my $other = 'h'), 'Shown');
                push @body, $1;
                [200, \@headers, \@body]
            }"#
        ),
        [
            "1 head 200 [X-Object: <h>] 14",
            "1 chunk tied <object>b",
            "1 end"
        ]
    );
}

#[test]
fn an_element_that_changes_its_neighbours_while_read_harms_nothing() {
    assert_eq!(
        answer(
            r#"
            { package Evil; use overload '""' => sub { $_[0][0][0] = 'z' x 5000; 'evil' }; }
            sub { my @body = ('first'); push @body, bless([\@body], 'Evil'); [200, [], \@body] }"#
        ),
        ["1 head 200 [] 9", "1 chunk firstevil", "1 end"]
    );
}

#[test]
fn characters_of_one_byte_are_bytes_however_perl_keeps_them() {
    assert_eq!(
        answer(
            r#"sub { my $text = "\xe9"; utf8::upgrade($text); [200, ['X-a', $text], [$text]] }"#
        ),
        [r"1 head 200 [X-a: \xe9] 1", r"1 chunk \xe9", "1 end"]
    );
}

#[test]
fn wide_characters_are_sent_as_utf8_with_a_warning() {
    let mut world = World::new(
        r#"BEGIN { $SIG{__WARN__} = sub { push @log, $_[0] } } sub { [200, [], ["\x{263a}", "\xe9"]] }"#,
    );
    assert_eq!(
        world.get("/")[..2],
        ["1 head 200 [] 4", r"1 chunk \xe2\x98\xba\xe9"]
    );
    assert!(
        world
            .text("@log")
            .starts_with("Wide character in a response")
    );
}

#[test]
fn a_status_may_carry_a_reason() {
    for (status, sent) in [
        ("'404 Not here'", 404),
        ("'201'", 201),
        ("204.0", 204),
        ("999", 999),
    ] {
        let said = answer(&format!("sub {{ [{status}, [], ['x']] }}"));
        assert!(said[0].starts_with(&format!("1 head {sent} ")), "{said:?}");
    }
}

#[test]
fn what_is_no_status_is_refused() {
    for status in [
        "'abc'", "''", "undef", "20", "2000", "'200OK'", "100", "103", "-200", "[]",
    ] {
        refused(&format!("[{status}, [], []]"), "has the status");
    }
}

#[test]
fn what_could_split_a_message_is_refused() {
    for (headers, why) in [
        (r#"['X-a', "b\r\nc"]"#, "header X-a has a CR, LF or NUL"),
        (r#"['X-a', "b\n"]"#, "CR, LF or NUL"),
        (r#"['X-a', "b\0"]"#, "CR, LF or NUL"),
        (r#"["X-a\r\nX-b", 1]"#, "no token"),
        (r#"['X a', 1]"#, "no token"),
        (r#"['', 1]"#, "no token"),
        (r#"['X-a']"#, "pairs"),
        ("{}", "array reference"),
        ("undef", "array reference"),
    ] {
        refused(&format!("[200, {headers}, ['x']]"), why);
    }
}

#[test]
fn an_undefined_header_value_is_empty() {
    assert_eq!(
        answer("sub { [200, ['X-a', undef], []] }")[0],
        "1 head 200 [X-a: ] 0"
    );
}

#[test]
fn what_is_no_response_is_refused() {
    refused("undef", "neither an array nor a code reference");
    refused("'text'", "neither an array nor a code reference");
    refused("{}", "neither an array nor a code reference");
    refused("[200, []]", "2 elements instead of 3");
    refused("[200, [], [], 1]", "4 elements");
    refused("[]", "0 elements");
    refused("[200, [], 'text']", "neither an array nor a handle");
    refused("[200, [], undef]", "neither an array nor a handle");
    refused("[200, [], {}]", "neither an array nor a handle");
}

#[test]
fn a_plain_file_goes_to_the_core_from_where_the_handle_stands() {
    assert_eq!(
        answer(
            r#"sub {
                open my $handle, '+>', undef or die $!;
                print $handle "skipped\n", 'abc', 'x' x 70_000;
                seek $handle, 0, 0;
                <$handle>;
                [200, [], $handle]
            }"#
        ),
        ["1 head 200 [] 70003", "1 file from abc for 70003", "1 end"]
    );
}

#[test]
fn a_small_file_is_read_and_unwritten_bytes_are_in_it() {
    assert_eq!(
        answer(
            r#"sub {
                open my $handle, '+>', undef or die $!;
                print $handle "skipped\n", 'small';
                seek $handle, 0, 0;
                <$handle>;
                [200, [], $handle]
            }"#
        ),
        ["1 head 200 [] 5", "1 chunk small", "1 end"]
    );
    assert_eq!(
        answer(
            r#"sub {
                open my $handle, '+>', undef or die $!;
                print $handle 'at the end';
                [200, [], $handle]
            }"#
        ),
        ["1 head 200 [] 0", "1 end"]
    );
}

#[test]
fn a_file_object_with_its_own_getline_is_asked_by_method() {
    assert_eq!(
        answer(
            r#"
            { package Own; require IO::File; our @ISA = 'IO::File';
              sub getline { my $line = shift->SUPER::getline; defined $line ? uc $line : $line } }
            sub { my $handle = Own->new_tmpfile; print $handle 'abc'; seek $handle, 0, 0; [200, [], $handle] }"#
        ),
        ["1 head 200 [] ?", "1 chunk ABC", "1 end"]
    );
}

#[test]
fn handles_in_memory_and_with_layers_are_read_by_getline() {
    assert_eq!(
        answer(r#"sub { open my $handle, '<', \"one\ntwo\n" or die $!; [200, [], $handle] }"#),
        ["1 head 200 [] ?", r"1 chunk one\ntwo\n", "1 end"]
    );
    assert_eq!(
        answer(
            r#"sub {
                open my $handle, '+>:raw', undef or die $!;
                print $handle "\xc3\xa9";
                seek $handle, 0, 0;
                binmode $handle, ':utf8';
                [200, [], $handle]
            }"#
        ),
        ["1 head 200 [] ?", r"1 chunk \xe9", "1 end"]
    );
}

#[test]
fn pipes_and_io_references_are_handles() {
    assert_eq!(
        answer("sub { open my $handle, '-|', 'echo piped' or die $!; [200, [], $handle] }"),
        ["1 head 200 [] ?", r"1 chunk piped\n", "1 end"]
    );
    assert_eq!(
        answer(r#"sub { open my $handle, '<', \'io' or die $!; [200, [], *$handle{IO}] }"#),
        ["1 head 200 [] ?", "1 chunk io", "1 end"]
    );
}

const LINES: &str = r#"
    { package Lines;
      sub new { shift; bless [@_], 'Lines' }
      sub getline { push @T::log, ref $/ ? ${$/} : $/; my $line = shift @{$_[0]}; die $line if ref $line; $line }
      sub close { push @T::log, 'close' } }
"#;

#[test]
fn an_object_is_read_by_getline_with_a_block_size_and_closed_once() {
    let mut world = World::new(&format!(
        "{LINES} sub {{ [200, [], Lines->new('a', '', 'b')] }}"
    ));
    assert_eq!(
        world.get("/"),
        [
            "1 head 200 [] ?",
            "1 chunk a",
            "1 chunk b",
            "1 end",
            "idle",
            "flush"
        ]
    );
    assert_eq!(
        world.text("join ' ', @log"),
        "65536 65536 65536 65536 close"
    );
    assert_eq!(
        world.text("$/ eq \"\\n\" ? 'newline' : 'changed'"),
        "newline"
    );
}

#[test]
fn an_object_without_close_needs_none() {
    assert_eq!(
        answer(
            "{ package Bare; sub getline { shift @{$_[0]} } } sub { [200, [], bless ['x'], 'Bare'] }"
        ),
        ["1 head 200 [] ?", "1 chunk x", "1 end"]
    );
}

#[test]
fn a_body_is_closed_although_the_client_has_left() {
    let mut world = World::new(&format!(
        "{LINES} sub {{ [200, [], Lines->new('a', 'b', 'c')] }}"
    ));
    world.recorder.gone.set(true);
    assert_eq!(
        world.get("/"),
        ["1 head 200 [] ?", "1 end", "idle", "flush"]
    );
    assert_eq!(world.text("join ' ', @log"), "65536 close");
}

#[test]
fn a_body_that_dies_at_its_first_line_is_a_500_and_later_an_abort() {
    let mut world = World::new(&format!(
        "{LINES} sub {{ errors($_[0]); [200, [], Lines->new($_[0]{{PATH_INFO}} eq '/2' ? 'a' : (), {{}})] }}"
    ));
    assert_eq!(world.get("/"), BROKEN);
    assert_eq!(
        world.get("/2"),
        ["2 head 200 [] ?", "2 chunk a", "2 abort", "idle", "flush"]
    );
    assert_eq!(
        world.text("join ' ', @log"),
        "65536 close 65536 65536 close"
    );
}

#[test]
fn a_close_that_dies_is_logged_only() {
    let mut world = World::new(
        r#"{ package Sour; sub getline { shift @{$_[0]} } sub close { die "sour\n" } }
        sub { [200, [], bless ['x'], 'Sour'] }"#,
    );
    assert_eq!(world.get("/")[2], "1 end");
    assert_eq!(world.text("$T::failure"), "the body's close: sour");
}

#[test]
fn responses_without_content_send_none_but_close_the_body() {
    for status in [204, 304] {
        let mut world = World::new(&format!(
            "{LINES} sub {{ [{status}, [], Lines->new('a')] }}"
        ));
        assert_eq!(
            world.get("/"),
            [&format!("1 head {status} [] ?"), "1 end", "idle", "flush"]
        );
        assert_eq!(world.text("@log"), "close");
    }
    let mut world = World::new("sub { [200, [], ['abc']] }");
    let (_, said) = world.call(request("HEAD", "/", &[]), false);
    assert_eq!(said[..2], ["1 head 200 [] 3", "1 end"]);
}

#[test]
fn a_head_whose_content_middleware_has_taken_tells_no_length() {
    let mut world = World::new("sub { [200, ['Content-Length', 9], []] }");
    let (_, said) = world.call(request("HEAD", "/", &[]), false);
    assert_eq!(said[0], "1 head 200 [Content-Length: 9] ?");
}

#[test]
fn informational_responses_go_out_at_once_and_in_order() {
    assert_eq!(
        answer(
            "sub { my $tell = $_[0]{'psgix.informational'};
                   $tell->(100, ['foo', 123, 'bar', 456]); $tell->(103, ['Link', '</a>']);
                   [200, [], ['x']] }"
        ),
        [
            "1 informational 100 [foo: 123, bar: 456]",
            "flush",
            "1 informational 103 [Link: </a>]",
            "flush",
            "1 head 200 [] 1",
            "1 chunk x",
            "1 end",
        ]
    );
}

#[test]
fn an_informational_sub_kept_past_its_request_tells_nothing() {
    let mut world = World::new(
        "my $kept; sub { $kept->(103) if $kept; $kept ||= $_[0]{'psgix.informational'}; [200, [], []] }",
    );
    assert_eq!(world.get("/")[0], "1 head 200 [] 0");
    assert_eq!(world.get("/")[0], "2 head 200 [] 0");
}

#[test]
fn an_informational_status_out_of_range_dies_in_the_app() {
    for status in [99, 101, 200] {
        refused(
            &format!("$_[0]{{'psgix.informational'}}->({status}); 1"),
            "informational",
        );
    }
}

#[test]
fn the_last_response_of_a_worker_does_not_say_idle() {
    let mut world = World::new("sub { [200, [], []] }");
    let (called, said) = world.call(request("GET", "/", &[]), true);
    assert_eq!(called, Called::Leave);
    assert_eq!(said, ["1 head 200 [] 0", "1 end", "flush"]);
}
