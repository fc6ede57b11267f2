# An operator's mistakes: each row of docs/messages.md is made true, and nothing is said that does not stand there.
use strict;
use warnings;

use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Test::More;

use Gepok::Test;

gepok_only();

my $root = root();
my @perl = ($^X, map {"-I$root/blib/$_"} qw(arch lib));
my $bin  = "$root/blib/script/gepok";
my $hello = 'sub { [200, [], ["hello"]] }';

# The messages of the tables, by the words of the left side.
my %documented;
open my $page, '<', "$root/docs/messages.md" or die $!;
while (<$page>) {
    my ($mistake, $message) = /^\| (.*?) \| `(.*)` \|$/ or next;
    ok !$documented{$mistake}, "'$mistake' is one row" or next;
    $documented{$mistake} = $message;
}
my %tested;

# Capitals in it stand for anything; those that belong to the sentence do not.
sub pattern {
    my $text = join '|', qw(HTTP HTTPS PSGI Unix);
    return join '', map { /\A(?:$text|N, :N, \*:N, host:N or \[v6\]:N)\z/ ? quotemeta : /\A[A-Z]+\z/ ? '.+?' : quotemeta }
        split /(N, :N, \*:N, host:N or \[v6\]:N|\b[A-Z]+\b)/, $_[0];
}

sub spew { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }

# Runs the command with these arguments, and the class with these attributes where they are given.
sub mistake {
    my ($mistake, $args, %how) = @_;
    my $message = $documented{$mistake};
    $tested{$mistake} = 1;
    ok $message, "docs/messages.md tells what happens: $mistake" or return;
    my $pattern = pattern($message);
    my $status  = $how{status} // 2;
    my $command = $how{command} // [$bin, @$args, $how{app} ? @{$how{app}} : ('-e', $hello)];
    my ($got, $output) = $how{nobody} ? as_nobody(@$command) : run_command($command);
    is defined $got ? $got >> 8 : 'killed', $status, "gepok: $mistake: status $status";
    like $output, qr/\A(?:\[.*\[warn\].*\n)*gepok: $pattern\n\z/, 'and nothing but the documented line'
        unless $how{more};
    like $output, qr/^gepok: $pattern$/m, 'and the documented line' if $how{more};

    my $attributes = $how{new} or return;
    my $code = 'package My; use parent -norequire, "Gepok"; sub before_prefork { print "prefork\n" } package main; '
        . "eval { My->new(%{JSON::PP::decode_json(shift)})->run($hello); 1 } or print 'caught: ', \$@";
    ($got, $output) = run_command([@perl, '-MGepok', '-MJSON::PP', '-e', $code,
        JSON::PP::encode_json({daemonize => 0, %$attributes})]);
    like $output, qr/^caught: $pattern\n\z/m, "the class: the same as an exception";
    unlike $output, qr/^prefork$/m, 'before anything is forked';
}

sub as_nobody {
    my $code = 'use POSIX (); $) = "65534 65534"; POSIX::setgid(65534); POSIX::setuid(shift); exec @ARGV or exit 126';
    return run_command([$^X, '-e', $code, scalar getpwnam('nobody'), @_]);
}

# Whether a process without root's rights can be made, and reaches the checkout.
my $nobody = !$> && (as_nobody('test', '-x', $bin))[0] == 0;

my $folder = scratch();
my $listen = '127.0.0.1:' . free_port();
my @http   = ('--http-ports', $listen);

check 'options' => sub {
    mistake('an unknown option on the command line of `gepok`', [@http, '--pid-pat', 'x']);
    mistake('no value at the end of the command line', [], command => [$bin, @http, '-e', $hello, '--pid-path']);
    mistake('not a number', [@http, '--backlog', 'many'],
        new => {http_ports => $listen, backlog => 'many'});
    mistake('neither yes nor no', [@http, '--keepalive=perhaps'], new => {http_ports => $listen, keepalive => 'perhaps'});
    mistake('not a duration', [@http, '--timeout', 'soon'], new => {http_ports => $listen, timeout => 'soon'});
    for my $row (
        ['not a number of bytes',                                   max_content       => 'lots'],
        ['not a path for the health check',     check_path        => 'ready'],
        ['an unknown level of the error log',                log_level         => 'loud'],
        ['an unknown directive of the access log',      access_log_format => '%y', access_log_path => '-'],
        ['a limit of 0 for a request head',                    max_header_size   => 0],
        ['too high a limit for a request head', max_target_size  => '1M'],
        ['fewer spare workers at most than at least',            max_spare_servers => 2, min_spare_servers => 5],
        ['fewer requests of a worker at most than at least',     min_reqs_per_child => 5, max_requests_per_child => 2],
        ['an event loop that is no class',                       loop              => 'a b'],
        ['requests at a time without an event loop',             worker_requests   => 2],
        ['an event loop whose class is not installed',           loop              => 'No::Such'],
        ['a value that would break the Server field',            product_name      => "a\nb"],
        )
    {
        my ($mistake, %options) = @$row;
        mistake($mistake, [@http, map { ('--' . tr/_/-/r, $options{$_}) } sort keys %options],
            new => {http_ports => $listen, %options});
    }
    mistake('permissions that are not octal', [@http, '--umask', '088'], new => {http_ports => $listen, umask => '088'});
    mistake('not a path for the status page', [@http, '--status-path', 'status'],
        new => {http_ports => $listen, status_path => 'status'});
    mistake('not a path for metrics', [@http, '--metrics-path', 'metrics'],
        new => {http_ports => $listen, metrics_path => 'metrics'});
    mistake('one path for two pages', [@http, '--metrics-path', '/s', '--status-path', '/s'],
        new => {http_ports => $listen, metrics_path => '/s', status_path => '/s'});
    mistake('neither an address nor a network', [@http, '--status-path', '/s', '--status-allow', 'localhost'],
        new => {http_ports => $listen, status_path => '/s', status_allow => 'localhost'});
    mistake('a trusted proxy that is no address', [@http, '--trusted-proxies', 'localhost'],
        new => {http_ports => $listen, trusted_proxies => 'localhost'});
    mistake('a field for forwarded addresses that is none', [@http, '--forwarded-header', 'X Real IP'],
        new => {http_ports => $listen, forwarded_header => 'X Real IP'});
    my $open = '0.0.0.0:' . free_port();
    mistake('a port for the PROXY protocol that anybody can reach', ['--http-ports', $open, '--proxy-protocol'],
        new => {http_ports => $open, proxy_protocol => 1});
    for (
        ['a directory of files without a path',        directory  => 'static'],
        ["a directory of files that can't be opened",  documents  => '/nowhere'],
        ['an unknown rule for symbolic links',                  symlinks   => 'some'],
        ['an unknown fallback for missing files',              fallback   => '500'],
        ['a fallback without a directory',              fallback   => '/index.html'],
        ['an index file that is not a name',              index_file => 'a/b'],
        ['an invalid charset',                     charset    => 'x y'],
        ['a file that does not hold media types',         mime_types => $0],
        )
    {
        my ($mistake, $name, $value) = @$_;
        mistake($mistake, [@http, '--' . tr/_/-/r, $value], new => {http_ports => $listen, $name => $value}) for $name;
    }
    my $none = 'no address in the class, which has no default port';
    $tested{$none} = 1;
    my (undef, $output) = run_command([@perl, '-MGepok', '-e', "eval { Gepok->new->run($hello) }; print \$@"]);
    like $output, qr/\A${\pattern($documented{$none})}\n\z/, $none;
};

check 'addresses' => sub {
    mistake('not a TCP address', ['--http-ports', 'here:there'], new => {http_ports => 'here:there'});
    my $tcp = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $!;
    my $busy = '127.0.0.1:' . $tcp->sockport;
    mistake('another process listens there', ['--http-ports', $busy], new => {http_ports => [$busy]});
    # An address of RFC 5737, which no machine has.
    mistake('the address is not one of this machine', ['--http-ports', '192.0.2.1:8080'],
        new => {http_ports => '192.0.2.1:8080'});
    my $low = 'a port below 1024 without the right to it';
    open my $first, '<', '/proc/sys/net/ipv4/ip_unprivileged_port_start';
    if ($nobody && $first && <$first> > 81) { mistake($low, ['--http-ports', '127.0.0.1:81'], nobody => 1) }
    else                                    { $tested{$low} = 1 }

    my $path = "$folder/live";
    my $unix = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die $!;
    mistake('a Unix socket on which a process listens', ['--unix-sockets', $path], new => {unix_sockets => [$path]});
    ok -S $path, 'which is still there';
    spew("$folder/file", 'precious');
    mistake("another file at the path of a Unix socket", ['--unix-sockets', "$folder/file"],
        new => {unix_sockets => "$folder/file"});
    is -s "$folder/file", 8, 'which is still there';
    mistake('the folder of a Unix socket does not exist', ['--unix-sockets', "$folder/none/s"],
        new => {unix_sockets => "$folder/none/s"});
    mistake('a relative path', ['--unix-sockets', 'here'], new => {unix_sockets => 'here'});
    my $long = '/' . 'x' x 107;
    mistake('a path that is too long for a socket', ['--unix-sockets', $long], new => {unix_sockets => $long});
    mistake('no such user to own it', [@http, '--unix-socket-owner', 'none-such'],
        new => {http_ports => $listen, unix_socket_owner => 'none-such'});
    mistake('no such group to own it', [@http, '--unix-socket-group', 'none-such'],
        new => {http_ports => $listen, unix_socket_group => 'none-such'});
};

check 'users, files and folders' => sub {
    mistake('no such user', [@http, '--user', 'none-such'], new => {http_ports => $listen, user => 'none-such'});
    mistake('no such group', [@http, '--group', 'none-such'], new => {http_ports => $listen, group => 'none-such'});
    mistake('a number that no user has, without a group', [@http, '--user', '4000000000'],
        new => {http_ports => $listen, user => 4000000000});
    for my $row (['another user, without being root', '--user', 'root'],
        ['another group, without being root', '--group', 'daemon'], ['`require_root`, without being root', '--require-root'])
    {
        my ($mistake, @args) = @$row;
        if ($nobody) { mistake($mistake, [@http, @args], nobody => 1) }
        elsif ($>)   { mistake($mistake, [@http, @args]) }
        else         { $tested{$mistake} = 1 }
    }

    my $server = server(entry => 'bin', app => $hello, options => {'pid-path' => "$folder/pid"});
    mistake("the pid file's server is running", [@http, '--pid-path', "$folder/pid"],
        new => {http_ports => $listen, pid_path => "$folder/pid"});
    is $server->get('/')->content, 'hello', 'which is not harmed';
    mistake("another file at the path of the pid file", [@http, '--pid-path', "$folder/file"],
        new => {http_ports => $listen, pid_path => "$folder/file"});
    is -s "$folder/file", 8, 'which is not harmed';
    my $running = server(entry => 'bin', app => $hello, options => {scoreboard_path => "$folder/board"});
    mistake('the scoreboard file of a server that is running', [@http, '--scoreboard-path', "$folder/board"],
        new => {http_ports => $listen, scoreboard_path => "$folder/board"});
    is $running->stop, 0, 'that one ends well';
    mistake("a folder or a device at the path of the pid file", [@http, '--pid-path', '/dev/null'],
        new => {http_ports => $listen, pid => '/dev/null'});
    mistake("the pid file's folder does not exist", [@http, '--pid-path', "$folder/none/pid"],
        new => {http_ports => $listen, pid_path => "$folder/none/pid"});
    mistake("a name with a slash, from which the pid file's path can't be made", [@http, '--name', 'a/b', '-D'],
        new => {http_ports => $listen, name => 'a/b', daemonize => 1});
    mistake("the scoreboard file's folder does not exist", [@http, '--scoreboard-path', "$folder/none/board"],
        new => {http_ports => $listen, scoreboard_path => "$folder/none/board"});
    mistake("another file at the path of the scoreboard file", [@http, '--scoreboard-path', "$folder/file"],
        new => {http_ports => $listen, scoreboard_path => "$folder/file"});
    is -s "$folder/file", 8, 'which is not harmed';
    mistake("a log's folder does not exist", [@http, "--$_-log-path", "$folder/none/log"],
        new => {http_ports => $listen, "${_}_log_path" => "$folder/none/log"})
        for qw(access error);
    mistake('a relative path for large content', [@http, '--spool-dir', 'here'],
        new => {http_ports => $listen, spool_dir => 'here'});
    mistake('the folder for large content does not exist', [@http, '--spool-dir', "$folder/none"],
        new => {http_ports => $listen, spool_dir => "$folder/none"});
    mistake("a folder for large content that the server's user may not write to", [@http, '--spool-dir', "$folder", '--user', 'nobody'],
        new => {http_ports => $listen, spool_dir => "$folder", user => 'nobody'}) if !$>;
    $tested{"a folder for large content that the server's user may not write to"} = 1;
    mistake('fewer descriptors than the server needs', [],
        command => ['sh', '-c', 'ulimit -n 20 && exec "$@"', 'sh', $bin, @http, '-e', $hello]);
    mistake('the folder to run in does not exist', [@http, '--chdir', "$folder/none"],
        new => {http_ports => $listen, chdir => "$folder/none"});
    mistake('it is a file', [@http, '--chdir', "$folder/file"], new => {http_ports => $listen, chdir => "$folder/file"});
};

check 'the app' => sub {
    mistake('no such file', [@http], app => ["$folder/none.psgi"]);
    spew("$folder/broken.psgi", "my \$x = ;\n");
    mistake('it does not compile', [@http], app => ["$folder/broken.psgi"], more => 1);
    spew("$folder/other.psgi", "42;\n");
    mistake('its last value is not an app', [@http], app => ["$folder/other.psgi"]);
    mistake('a misspelled command', [], app => ['stopp']);
    mistake('two apps', [@http], app => ["$folder/one.psgi", "$folder/other.psgi"]);
};

check 'commands' => sub {
    for my $command (qw(stop restart reload status)) {
        mistake('no server holds the pid file', [], command => [$bin, $command, '--pid-path', "$folder/no-pid"],
            status => 3);
    }
    my $others = "another user's server";
    if ($nobody) {
        chmod 0755, "$folder";
        my $server = server(entry => 'bin', app => $hello, options => {'pid-path' => "$folder/roots"});
        mistake($others, [], command => [$bin, $_, '--pid-path', "$folder/roots"], status => 4, nobody => 1)
            for qw(stop restart reload);
        is $server->get('/')->content, 'hello', 'which goes on';
    }
    else {
        $tested{$others} = 1;
    }
    my $one = server(entry => 'bin', app => $hello, options => {'pid-path' => "$folder/one", start_servers => 0});
    is $one->get('/')->content, 'hello', 'one process';
    mistake('`restart` of a server in one process (`start_servers 0`)', [],
        command => [$bin, 'restart', '--pid-path', "$folder/one"], status => 1);
    is $one->get('/')->content, 'hello', 'which serves on';
    spew("$folder/changing.psgi", $hello);
    my $changing = server(entry => 'bin', app => "$folder/changing.psgi", args => ['--no-preload-app'],
        options => {'pid-path' => "$folder/changing"});
    is $changing->get('/')->content, 'hello', 'an app that can be loaded';
    spew("$folder/changing.psgi", 'die "by intent\n"');
    mistake("`reload` or `restart` with an app that can't serve", [],
        command => [$bin, 'reload', '--pid-path', "$folder/changing"], status => 1);
    is $changing->get('/')->content, 'hello', 'which serves on';
    mistake('an app after the command', [], command => [$bin, 'stop', 'app.psgi']);
};

is_deeply [grep { !$tested{$_} } sort keys %documented], [], 'every row of docs/messages.md was tried';

done_testing;
