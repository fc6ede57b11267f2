package Gepok::Test::WaysOut;

# The matrix of Perl's ways out of a request: t/16-ways-out.t tries each row, docs/ways-out.md shows them.
#
#   perl -It/lib -MGepok::Test::WaysOut -e 'print Gepok::Test::WaysOut::markdown()' > docs/ways-out.md
#
# A row: name (of the sub in t/apps/ways-out.psgi) | what the app does | the client gets | the worker then | log
#   client  a status, and the content if it matters; "cut CONTENT": 200, that content, then no clean end
#   worker  "serves": the same process serves the next request
#           "leaves N": END blocks have run once, with $? = N, and the process is gone
#           "gone N", "gone by NAME": ended without Perl's knowing, status N or a signal
#           "(workers)": tried only where there are workers: alone, the one process is the server
#   log     a pattern of what the log says

use strict;
use warnings;

my $TABLE = <<'END';
# Exceptions
die-string       | dies with a string | 500 | serves | a string\n
die-line         | dies with a string without a line's end | 500 | serves | a string at \S+ line \d+
die-object       | dies with an object | 500 | serves | Plain=HASH
die-shown        | dies with an object that has a text | 500 | serves | the object's text
die-false        | dies with an object that is false | 500 | serves | false object
die-empty        | dies with an empty string | 500 | serves | Died at
die-cursed       | dies with an object whose bool and "" die | 500 | serves | can't be shown
die-text-exits   | dies with an object whose "" exits | 500 | leaves 3
die-wide         | dies with wide characters | 500 | serves | \xe2\x98\xba
die-reference    | dies with a code reference | 500 | serves | CODE
die-caught       | catches its own exception | 200 caught | serves
die-hook-dies    | dies, and $SIG{__DIE__} dies again | 500 | serves | again
die-hook-exits   | dies, and $SIG{__DIE__} exits | 500 | leaves 5
die-warn-hook    | warns, and $SIG{__WARN__} dies | 500 | serves | warned to death
die-sort         | dies in a sort block | 500 | serves | sort died
die-regex        | dies in a regex's code block | 500 | serves | regex died
die-deep         | dies 20 000 calls deep | 500 | serves | the bottom
die-local        | dies while $_, $/, $\, $,, $; and $" are localized | 500 | serves | localized
die-require      | requires a module that isn't there | 500 | serves | Can't locate
die-delayed      | dies in the callback, before the response | 500 | serves | delayed
die-streaming    | dies after it has written a part | cut part | serves | streaming
die-after-close  | dies after it has closed the writer | 200 part | serves | afterwards
die-after-whole  | dies in the callback, after a whole response | 200 whole | serves | afterwards
die-responder    | gives the responder what is no response | 500 | serves | array
die-getline      | dies in the first getline | 500 | serves | getline died
die-getline-late | dies in the second getline | cut part | serves | getline died
die-close        | dies in the body's close | 200 part | serves | close died
die-body-destroy | dies in DESTROY of the body | 200 part | serves | destroyed
die-env-destroy  | dies in DESTROY of something in the env | 200 env | serves | destroyed
die-response-destroy | dies in DESTROY of the response | 200 response | serves | destroyed
die-exception-destroy | dies with an object whose DESTROY dies | 500 | serves | destroyed
die-cleanup      | dies in a cleanup handler | 200 cleanup | serves | cleanup died
die-harakiri     | dies in a cleanup handler, with harakiri committed | 200 cleanup | leaves 0 (workers) | cleanup died

# exit
exit-0           | exit 0 | 500 | leaves 0
exit-7           | exit 7 | 500 | leaves 7
exit-eval        | exit within eval | 500 | leaves 4
exit-sort        | exit in a sort block | 500 | leaves 4
exit-deep        | exit, 20 000 calls deep | 500 | leaves 4
exit-_exit       | POSIX::_exit(3) | 502 | gone 3
exit-delayed     | exit in the callback, before the response | 500 | leaves 5
exit-streaming   | exit after it has written a part | cut part | leaves 5
exit-after-close | exit after it has closed the writer | 200 part | leaves 5
exit-getline     | exit in the first getline | 500 | leaves 6
exit-getline-late | exit in the second getline | cut part | leaves 6
exit-close       | exit in the body's close | 200 part | leaves 6
exit-body-destroy | exit in DESTROY of the body | 200 part | leaves 8
exit-env-destroy | exit in DESTROY of something in the env | 200 env | leaves 8
exit-response-destroy | exit in DESTROY of the response | 200 response | leaves 8
exit-exception-destroy | dies with an object whose DESTROY exits | 500 | leaves 8
exit-cleanup     | exit in a cleanup handler | 200 cleanup | leaves 9
exit-warn        | warns, and $SIG{__WARN__} exits | 500 | leaves 9
exec             | becomes another program | 502 | gone 0
harakiri         | commits harakiri | 200 harakiri | leaves 0 (workers)

# Loop controls
last             | last, out of the app | 500 | serves | Can't "last" outside a loop block
next             | next, out of the app | 500 | serves | Can't "next" outside a loop block
redo             | redo, out of the app | 500 | serves | Can't "redo" outside a loop block
last-label       | last LABEL | 500 | serves | Label not found for "last
next-label       | next LABEL | 500 | serves | Label not found for "next
goto-label       | goto LABEL | 500 | serves | Can't find label
last-getline     | last, in getline | 500 | serves | Can't "last" outside a loop block
last-streaming   | last, after it has written a part | cut part | serves | Can't "last" outside a loop block
goto-sub         | goto &SUB | 200 elsewhere | serves
loops            | leaves loops of its own | 200 loops | serves

# Processes
fork-returns     | forks; the child returns a response | 200 parent 0 | serves
fork-exits       | forks; the child exits | 200 parent 768 | serves
fork-dies        | forks; the child dies | 200 parent 65280 | serves | the child died
fork-_exits      | forks; the child calls POSIX::_exit | 200 parent 1024 | serves
fork-execs       | forks; the child becomes another program | 200 parent 256 | serves
fork-killed      | forks; the child is killed | 200 parent 9 | serves
fork-responds    | forks in the callback; the child calls the responder | 200 parent 65280 | serves | only by the process
fork-writes      | forks while streaming; the child writes | 200 parent 65280 | serves | only by the process
fork-closes      | forks while streaming; the child closes the writer | 200 parent 65280 | serves | only by the process
fork-drops       | forks while streaming; the child drops the writer | 200 parent 0 | serves
fork-getline     | forks in getline; the child goes on | 200 parent 0 | serves
fork-cleanup     | forks in a cleanup handler; the child returns | 200 cleanup | serves
fork-twice       | forks a child that forks another, both return | 200 parent 0 | serves
fork-lives       | forks; the child lives on | 200 parent | serves
fork-lives-exit  | the same, and exits itself | 500 | leaves 4
fork-lives-_exit | the same, with POSIX::_exit | 502 | gone 4 (workers)
system           | system | 200 system 0 256 -1 | serves
backticks        | backticks | 200 out 1792 | serves
pipe-open        | reads from a command, writes to a command | 200 piped 512 | serves
pipe-broken      | writes to a command that has ended | 200 EPIPE | serves
wait-none        | waits though it has no child | 200 -1 | serves
close-fds        | closes every descriptor from 3 to 999 | 200 closed | serves (workers)
close-std        | closes STDIN and STDOUT | 200 closed | serves
chdir            | changes its folder | 200 / | serves

# Signals
alarm-caught     | alarm, its die caught | 200 alarm | serves
alarm-dies       | alarm, with a handler that dies | 500 | serves | alarm died
alarm-loop       | the same, in a loop without system calls | 500 | serves | alarm died
alarm-default    | alarm, no handler | 502 | gone by ALRM
alarm-late       | leaves an alarm behind, with a handler that dies | 200 late | serves | late alarm
kill-self        | kills itself | 502 | gone by KILL
term-self        | sends itself TERM | 200 term | leaves 0
signal-busy      | a handler runs while the app is busy | 200 handled | serves
signal-nested    | a handler dies in the app's eval | 200 died in eval | serves
signal-exit      | a handler exits while the app is busy | 500 | leaves 11
signal-idle      | leaves a handler; a signal comes while idle | 200 ready | serves
signal-idle-dies | leaves a handler that dies while idle | 200 ready | serves | idle handler died
signal-idle-exit | leaves a handler that exits while idle | 200 ready | leaves 12
signal-idle-child | leaves a CHLD handler; a child ends while idle | 200 ready | serves
signal-ignored   | leaves USR1 ignored | 200 ready | serves

# Characters
wide-body        | a body with wide characters | 200 \xe2\x98\xba | serves | Wide character
wide-body-upgraded | a body of upgraded Latin-1 | 200 caf\xe9 | serves
wide-written     | writes wide characters | 200 \xe2\x98\xba | serves | Wide character
wide-getline     | getline with wide characters | 200 \xe2\x98\xba | serves | Wide character
wide-header      | a header value with wide characters | 200 header | serves | Wide character
wide-header-name | a header name with wide characters | 500 | serves | no token
long-header      | a header value of 60 000 bytes | 200 header | serves
many-headers     | 500 headers | 200 header | serves

# Values that run code
tied-status      | a tied status | 201 tied | serves
tied-header      | a tied header value | 200 tied header | serves
tied-headers     | a tied headers array | 200 tied headers | serves
tied-body        | a tied body array | 200 tied body | serves
tied-element     | a tied body element | 200 tied element | serves
tied-response    | a tied response array | 200 tied response | serves
tied-dies        | a tied body element whose FETCH dies | 500 | serves | FETCH died
tied-exits       | a tied body element whose FETCH exits | 500 | leaves 13
magic            | a substr and a vec in the body | 200 two4 | serves
dualvar          | $! as the body | 200 Operation not permitted | serves
overload-status  | an object with a text as the status | 201 overloaded | serves
overload-header  | an object with a text as a header value | 200 overloaded header | serves
overload-element | an object with a text as a body element | 200 overloaded | serves
overload-dies    | one whose text dies | 500 | serves | text died
overload-exits   | one whose text exits | 500 | leaves 13
overload-clears  | one whose text empties the body | 200 ab | serves
overload-clears-headers | one whose text empties the headers | 200 header | serves
overload-body-headers | one in the body whose text empties the headers | 200 part | serves
overload-response | one whose text undoes the response | 200 ab | serves
overload-grows   | one as the status whose text makes the response longer | 200 grown | serves
overload-shrinks | one as the status whose text empties the response | 500 | serves | must be an array reference
overload-drops   | one as the status whose text frees the response | 200 dropped | serves
overload-itself  | one as a header value, and one in the body, whose text frees it | 200 itself | serves
overload-written | one that is written, whose text frees it | 200 partwritten | serves
overload-commit  | one as psgix.harakiri.commit whose bool frees it | 200 commit | serves
getline-clears   | getline drops the body's last reference | 200 part | serves
getline-response | getline empties the response | 200 part | serves
getline-headers  | getline assigns to the headers' values | 200 part | serves
getline-responds | getline calls the responder again | 500 | serves | called twice
write-closes     | writes an object whose text closes the writer | 200 part | serves
write-dies       | writes an object whose text dies | cut part | serves | text died
getline-reference | getline returns an overloaded object | 200 overloaded | serves
close-redefined  | redefines getline while it runs | 200 part | serves
blessed-response | a blessed response array | 200 blessed | serves
blessed-code     | a blessed code reference | 200 blessed | serves
readonly         | constants in the response | 200 constant | serves

# Responses that are none
none-undef       | returns undef | 500 | serves | neither an array nor a code reference
none-empty       | returns an empty list | 500 | serves | neither an array nor a code reference
none-list        | returns a list | 500 | serves | neither an array nor a code reference
none-string      | returns a string | 500 | serves | neither an array nor a code reference
none-hash        | returns a hash | 500 | serves | neither an array nor a code reference
none-glob        | returns a handle | 500 | serves | neither an array nor a code reference
none-elements-0  | [] | 500 | serves | 0 elements instead of 3
none-elements-1  | [200] | 500 | serves | 1 elements instead of 3
none-elements-2  | [200, []] | 500 | serves | 2 elements instead of 3
none-elements-4  | [200, [], [], []] | 500 | serves | 4 elements instead of 3
none-headers     | [200, {}, []] | 500 | serves | must be an array reference
none-headers-odd | an odd list of headers | 500 | serves | must be pairs
none-headers-undef | [200, undef, []] | 500 | serves | must be an array reference
none-status-word | the status abc | 500 | serves | status 'abc'
none-status-99   | the status 99 | 500 | serves | status '99'
none-status-100  | the status 100 | 500 | serves | status '100'
none-status-1000 | the status 1000 | 500 | serves | status '1000'
none-status-undef | the status undef | 500 | serves | status 'undef'
none-body-undef  | the body undef | 500 | serves | body of a response
none-body-string | a string as the body | 500 | serves | body of a response
none-body-hash   | a hash as the body | 500 | serves | body of a response
none-body-object | an object without getline | 500 | serves | getline
none-called      | a code reference that never calls the responder | 500 | serves | without calling the responder
none-twice       | calls the responder twice | 200 once | serves | called twice
none-twice-writer | calls the responder twice, for a writer | cut  | serves | called twice
none-late        | calls the responder when the request is over | 200 whole | serves | late: .*called twice
none-late-write  | writes when the writer is closed | 200 part | serves | closed writer
none-injection   | a header value with a line's end | 500 | serves | CR, LF or NUL

# Neighbours
keep-env         | keeps its env for ever | 200 kept | serves
keep-writer      | keeps the writer, and drops it later | 200 part | serves
keep-responder   | keeps the responder, and never calls it | 500 | serves | without calling the responder
env-assigned     | assigns to every value of the env | 200 assigned | serves
env-emptied      | empties the env | 200 emptied | serves
env-undone       | undef %$env | 200 undone | serves
env-locked       | locks the env's keys and values | 200 locked | serves
env-replaced     | assigns to $_[0] | 200 replaced | serves
env-cycle        | puts the env into itself | 200 cycle | serves
env-cleanup      | makes the list of cleanup handlers something else | 200 cleanup | serves
env-input        | replaces psgi.input and closes the old one | 200 input | serves
input-closed     | closes psgi.input | 200 closed | serves
input-blessed    | blesses psgi.input into another class | 200 blessed | serves
input-layer      | puts a layer on psgi.input | 200 layer | serves
env-errors       | replaces psgi.errors with an object that dies | 500 | serves
write-keeps      | looks at $_, $@, $!, $/ around a write | 200 a kept kept 5 newline | serves
print-words      | prints to psgi.errors with $, and $\ set | 200 printed | serves | one-two!
globals-array    | sets $, and $\ and $/, an array as the body | 200 ab | serves
globals-object   | the same, an object as the body | 200 ab | serves
globals-handle   | the same, a file as the body | 200 a\nb\n | serves
globals-writer   | the same, streaming | 200 ab | serves
getline-separator | looks at $/ in getline | 200 65536 | serves
select           | selects another handle | 200 selected | serves
deep             | recurses 100 000 deep | 200 100000 | serves
END

# The rows, as hashes, in order; `section` is the heading above them.
sub rows {
    my ($section, @rows);
    for my $line (split /\n/, $TABLE) {
        if ($line =~ /^# (.*)/) { $section = $1; next }
        my ($name, $does, $client, $worker, $log) = split / *\| ?(?=\S)/, $line, 5;
        next unless defined $name && length $name;
        $client =~ s/\A(\d+|cut) ?//;
        my ($status, $content) = ($1, $client);
        s/ +\z// for $worker, $content;
        push @rows, {
            section => $section,
            name    => $name,
            does    => $does,
            status  => $status,
            content => $content =~ s/\\(n|x..)/$1 eq 'n' ? "\n" : chr hex substr $1, 1/ger,
            shown   => $content,
            worker  => $worker =~ s/ \(workers\)//r,
            workers => scalar($worker =~ /\(workers\)/),
            log     => $log,
        };
    }
    return @rows;
}

sub markdown {
    my $text = <<'END';
# Every way out of a request

What an app may do, what its client then gets, and what becomes of the worker. The last column names the row in
`t/16-ways-out.t`, which tries each through plackup and through the command, with workers and without.

- *cut*: 200 has left already, so the connection is broken off and the client sees that the content is not whole.
- *serves*: the same process serves the next request as if nothing had been.
- *leaves N*: END blocks run once, the process ends with that status, another takes its place.
- *gone*: the process has ended without perl's knowing; another takes its place.
- With `start_servers` 0 the one process is the server. It ends where a worker would, and where a worker's
  end would be a 502 the connection just ends. Rows marked (workers) have no meaning there.

`script/valgrind` runs the rows under memcheck with `start_servers` 0, forked children included. Version 0.300, through the command and through
plackup: 53 processes each, no error, no definite leak.

This page is made of the table in `t/lib/Gepok/Test/WaysOut.pm`.
END
    my $section = '';
    for my $row (rows()) {
        if ($section ne $row->{section}) {
            $section = $row->{section};
            $text .= "\n## $section\n\n| the app | the client gets | the worker then | test |\n|---|---|---|---|\n";
        }
        my $client = join ' ', $row->{status}, length $row->{shown} ? "`$row->{shown}`" : ();
        my $worker = $row->{worker} . ($row->{workers} ? ' (workers)' : '');
        $text .= "| $row->{does} | $client | $worker | $row->{name} |\n";
    }
    return $text;
}

1;
