use strict;
use warnings;

# Standard error and what goes there: error_log_path, log_level, psgix.logger, and the hook access_log of subclasses.

use lib 't/lib';

use POSIX ();
use Test::More;

use Gepok::Test;

gepok_only();

my $APP = <<'APP';
sub {
    my $env = shift;
    my ($path, $query) = @$env{qw(PATH_INFO QUERY_STRING)};
    warn "warned\n" if $path eq '/warn';
    system 'echo from a child >&2' if $path eq '/child';
    $env->{'psgi.errors'}->print("printed\n") if $path eq '/print';
    die "died\n" if $path eq '/die';
    POSIX::_exit(3) if $path eq '/crash';
    if ($path eq '/logger') {
        my $logger = $env->{'psgix.logger'};
        $logger->({level => $_, message => "message of $_"}) for qw(debug info warn error fatal);
        $logger->({level => 'error', message => "one\n[2026-01-01 00:00:00] [1] [error] forged\e[2J\n"});
        $logger->({level => 'strange', message => "\x{20ac}"});
        $logger->({level => 'error', message => "abc\x{202e}cba\x{2028}"});
        $logger->({level => 'error'});
    }
    return sub { my $writer = shift->([202, ['X-A' => 'b']]); $writer->write('ab'); $writer->close } if $path eq '/stream';
    return [200, ['X-A' => 'b'], ['hello']];
};
APP

# How a line of Gepok's own about a failure begins.
my $LINE = qr/\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] \[\d+\] \[error\]/;

my @folders;
sub slurp { open my $file, '<', $_[0] or return ''; local $/; return scalar(<$file>) // '' }
sub folder { push @folders, my $folder = scratch(); return "$folder" }

each_entry {
    my $entry = shift;
    for my $workers ($entry eq 'bin' ? (1, 0) : 1) {
        my $folder = folder();
        my $server = server(
            app => "use POSIX ();\n$APP", dir => $folder, entry => $entry,
            options => {start_servers => $workers, error_log_path => 'e.log', access_log_path => ''},
        );
        $server->get($_) for qw(/warn /child /print /die);
        ok soon { slurp("$folder/e.log") =~ s/^.* \[notice\] .*\n//mgr =~ m{^warned\nfrom a child\nprinted\n$LINE GET /die: died\n}m },
            "$workers: all that is written to standard error" or diag slurp("$folder/e.log");
        if ($workers) {
            $server->get('/crash');
            ok soon { slurp("$folder/e.log") =~ /^\[[-\d]+ [:\d]+\] \[\d+\] \[warn\] worker \d+ exited with status 3$/m },
                q{and Gepok's own lines, with time and level};
            ok soon { eval { $server->get('/')->status == 200 } }, 'another worker serves';
        }
        rename "$folder/e.log", "$folder/e.1";
        $server->signal('HUP');
        ok soon { -e "$folder/e.log" }, 'HUP opens it anew';
        ok soon { $server->get('/warn'); slurp("$folder/e.log") =~ /^warned$/m }, 'and workers write there';
        is $server->stop, 0, 'it ends with status 0';
        unlike $server->log, qr/warned|printed|from a child/, 'and nowhere else' or diag $server->log;
    }
};

# Whatever way the app fails: when, which process, which request. What the app itself prints is left as it is.
check 'failures of the app' => sub {
    my $app = <<'APP';
package Body { sub new { my $class = shift; bless [@_], $class } sub getline { shift(@{$_[0]})->() } sub close { $_[0][0]->() } }
my %ways = (
    string    => sub { die "oops\n" },
    line      => sub { die 'oops' },
    lines     => sub { die "one\n[2026-01-01 00:00:00] [1] [error] forged\e[2J\n" },
    none      => sub { },
    status    => sub { ['x', [], []] },
    header    => sub { [200, ["a b" => 1], []] },
    large     => sub { [200, ['X-Large' => 'x' x 2**20], []] },
    early     => sub { $_[0]{'psgix.informational'}->(103, ['X-Large' => 'x' x 2**20]); [200, [], []] },
    body      => sub { [200, [], 'text'] },
    getline   => sub { [200, [], Body->new(sub { die "no line\n" }, sub { })] },
    close     => sub { [200, [], Body->new(sub { }, sub { die "not closed\n" })] },
    both      => sub { [200, [], Body->new(sub { die "no line\n" }, sub { die "not closed\n" })] },
    delayed   => sub { sub { die "no response\n" } },
    streaming => sub { sub { $_[0]->([200, []])->write('x'); die "cut\n" } },
    cleanup   => sub { push @{$_[0]{'psgix.cleanup.handlers'}}, sub { die "not clean\n" }; [200, [], []] },
    errors    => sub { open my $own, '>', "$ENV{FOLDER}/own" or die $!; $_[0]{'psgi.errors'} = $own; die "own log\n" },
    prints    => sub { $_[0]{'psgi.errors'}->print("its own\n"); warn "warned\n"; [200, [], []] },
);
sub { $ways{substr $_[0]{PATH_INFO}, 1}->(@_) };
APP
    my %expected = (
        string    => ['string: oops'],
        line      => [qr/^line: oops at \S+ line \d+\.$/],
        lines     => ['lines: one', "\t[2026-01-01 00:00:00] [1] [error] forged\\x1b[2J"],
        none      => [qr/^none: Gepok: the app returned neither /],
        status    => ["status: Gepok: a response has the status 'x'."],
        header    => [qr/^header: Gepok: /],
        large     => [qr/^large: Gepok: the header of a response has more than 1 MiB/],
        early     => [qr/^early: Gepok: the header of an informational response has more than 1 MiB/],
        body      => [qr/^body: Gepok: /],
        getline   => ['getline: no line'],
        close     => [q{close: the body's close: not closed}],
        both      => ['both: no line', q{both: the body's close: not closed}],
        delayed   => ['delayed: no response'],
        streaming => ['streaming: cut'],
        cleanup   => ['cleanup: a cleanup handler: not clean'],
        errors    => [],
        prints    => ['its own', 'warned'],
    );
    for my $workers (1, 0) {
        my $folder = folder();
        my $server = server(entry => 'bin', app => $app, options => {start_servers => $workers}, env => {FOLDER => $folder});
        for my $way (sort keys %expected) {
            my $before = length $server->log;
            my $client = $server->connect;
            $client->send("GET /$way?secret HTTP/1.0\r\n\r\n");
            my $status = eval { $client->response->status };
            is $status, 500, "$way, $workers workers: nothing has left yet" if $way =~ /^(?:large|early|header|getline)$/;
            # After it a cleanup handler has died too. Without workers a thread writes the failures, so that they may come after
            # what the app itself prints.
            $server->get('/prints');
            my @lines;
            soon { @lines = grep { !/\[notice\]/ } split /\n/, substr $server->log, $before; @lines >= 2 + @{$expected{$way}} };
            for my $printed ('warned', 'its own') {
                my ($last) = grep { $lines[$_] eq $printed } reverse 0 .. $#lines;
                splice @lines, $last, 1 if defined $last;
            }
            s{^$LINE GET /}{} or $way eq 'prints' or /^\t/ or $_ = "not ours: $_" for @lines;
            is scalar @lines, scalar @{$expected{$way}}, "$way, $workers workers: lines" or diag "@lines";
            for my $at (0 .. $#lines) {
                my $expected = $expected{$way}[$at] // '';
                ref $expected ? like $lines[$at], $expected, 'line' : is $lines[$at], $expected, 'line';
            }
        }
        like slurp("$folder/own"), qr{^$LINE GET /errors: own log$}, 'psgi.errors of the env gets it';
    }
    my $server = server(app => $app, options => {start_servers => 1, log_level => 'off'});
    $server->get('/string');
    unlike $server->log, qr/oops/, 'log_level off: not logged';
};

check "a request's name" => sub {
    my $server = server(app => 'sub { die "oops\n" }', options => {start_servers => 1});
    my $long   = 'x' x 300;
    $server->exchange("GET $_ HTTP/1.0\r\n\r\n") for "/$long", "/\xff", '/';
    # Other processes write lines between these.
    logged $server, qr{ GET /x{195}\.\.\.: oops\n.* GET /\\xff: oops\n.* GET /: oops\n}s, 'is short and plain'
        or diag $server->log;
};

# Who comes from another server looks for them in vain.
check 'header fields that are dropped are told of at debug' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, log_level => 'debug'});
    $server->get('/', 'X_Auth' => 'secret', 'Proxy' => 'evil');
    logged $server, qr/header field X_Auth was dropped: option 'underscores_in_headers' lets it in/, 'with the option';
    logged $server, qr/header field Proxy was dropped/, 'Proxy too';
    unlike $server->log, qr/secret|evil/, 'without the value';
};

check 'psgix.logger' => sub {
    for my $case ([undef, qr/^warn error fatal$/], ['debug', qr/^debug info warn error fatal$/], ['error', qr/^error fatal$/], ['off', qr/^$/]) {
        my ($level, $expected) = @$case;
        my $server = server(app => $APP, options => {start_servers => 1, $level ? (log_level => $level) : ()});
        is $server->get('/logger')->status, 200, 'the app goes on';
        my @levels;
        soon { @levels = $server->log =~ /^\[[-\d]+ [:\d]+\] \[\d+\] \[\w+\] message of (\w+)$/mg; "@levels" =~ $expected };
        like "@levels", $expected, ($level // 'no level') . ' lets these through';
        next if defined $level && $level eq 'off';
        logged $server, qr/\] one\n\t\[2026-01-01 00:00:00\] \[1\] \[error\] forged\\x1b\[2J\n/, 'no message forges a line';
        logged $server, qr/\] abc\\xe2\\x80\\xaecba\\xe2\\x80\\xa8\n/, 'nor turns the text around it';
        logged $server, qr/\[error\] \xe2\x82\xac\n/, 'an unknown level is an error, in UTF-8';
        unlike $server->log, qr/ at \S+ line \d+/, 'without a warning' or diag $server->log;
    }
};

# A class with an access_log of its own, and what it adds to the class.
sub subclass {
    my ($body, %args) = @_;
    my $folder = folder();
    return server(
        %args, app => $APP, entry => 'new', dir => $folder,
        options  => {start_servers => 1, %{$args{options} // {}}},
        prologue => "package My; require Gepok; our \@ISA = 'Gepok'; $body package main; {no warnings; *Gepok::new = "
            . "do { my \$new = \\&Gepok::new; sub { shift; \$new->('My', \@_) } }; }\n",
    );
}

check 'a subclass with access_log gets what the core would log' => sub {
    my $server = subclass(<<'PERL', options => {start_servers => 2});
sub access_log {
    my ($self, $req, $res, $sock) = @_;
    # One string, so that one write: two workers write here at once.
    print STDERR join('|', 'HOOK', ref $self, ref $req, $req->method, $req->uri, $req->protocol,
        $req->header('X-Two'), $res->[0], "@{$res->[1]}", $res->[2] ? "@{$res->[2]}" : 'none', $sock->peerhost) . "\n";
}
PERL
    $server->exchange("GET /a%20b?c HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n\r\n");
    $server->exchange("GET /stream HTTP/1.0\r\nX-Two: x\r\n\r\n");
    $server->get('/die', 'X-Two' => 'y');
    $server->exchange("GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n");
    is $server->stop, 0, 'it ends with status 0';
    my @lines = grep {/^HOOK/} split /\n/, $server->log;
    is_deeply [sort @lines], [sort
        'HOOK|My|HTTP::Request|GET|/a%20b?c|HTTP/1.1|1, 2|200|X-A b|hello|127.0.0.1',
        'HOOK|My|HTTP::Request|GET|/stream|HTTP/1.0|x|202|X-A b|none|127.0.0.1',
        'HOOK|My|HTTP::Request|GET|/die|HTTP/1.1|y|500||none|127.0.0.1',
    ], 'for each request that reached the app' or diag $server->log;
    unlike $server->log, qr/ 400 /, 'and the core writes no log of its own';
};

check 'SUPER::access_log writes the line' => sub {
    my $server = subclass('sub access_log { my $self = shift; $self->SUPER::access_log(@_) }', options => {access_log_path => 'a.log'});
    $server->get('/', 'User-Agent' => 'x"y');
    $server->get('/stream');
    is $server->stop, 0, 'it ends with status 0' or diag $server->log;
    my $log = slurp($folders[-1] . '/a.log');
    like $log, qr{^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET / HTTP/1\.1" 200 5 "-" "x\\"y"$}m, 'of an array';
    like $log, qr{"GET /stream HTTP/1\.1" 202 - "-" "-"$}m, 'of a stream';
};

check 'what goes wrong in the hook harms nobody' => sub {
    my $server = subclass('sub access_log { my ($self, $req) = @_; exit 4 if $req->uri eq "/exit"; die "hook died\n" }');
    is $server->get('/')->content, 'hello', 'a request whose hook dies';
    is $server->get('/exit')->content, 'hello', 'one whose hook exits';
    ok soon { eval { $server->get('/')->content eq 'hello' } }, 'and the next';
    logged $server, qr{^$LINE GET /: access_log: hook died$}m, 'the log tells';
    is $server->stop, 0, 'it ends with status 0';
};

done_testing;
