package Gepok::Bench::Scenarios;

# What is measured: a table of scenarios, in the order of the report.
#
# name, title, text; servers; measure($how, $server): {figure => value} of one run, `how` being {folder, seconds, quick, tls,
# file}; figures: [name, title, decimals], the first is the one that is compared; rounds, if it needs a number of its own;
# cost: seconds beside `seconds` that a run takes, about (quick_cost, where that is less), and load: how often `seconds`
# is spent.

use strict;
use warnings;
use utf8;

use Exporter       qw(import);
use File::Basename qw(dirname);

use Gepok::Bench::Http   ();
use Gepok::Bench::Launch qw(check launch);
use Gepok::Bench::Wrk    ();
use Gepok::Bench::Alone  ();
use Gepok::Bench::Idle   ();
use Gepok::Bench::Memory ();
use Gepok::Bench::Mixed  ();

our @EXPORT_OK = qw(@SCENARIOS);

# Where the apps are.
our $APPS = dirname(__FILE__) . '/../../../apps';

my $HELLO = "Hello World\n";
my $POST  = 16 * 1024;
my $FILE  = 1024 * 1024;

my @RATE = (
    ['rate', 'requests/s',          0],
    ['cpu',  'server CPU µs/request', 1],
    ['core', 'the core\'s part', 1],
    ['p50',  'p50 ms',              2],
    ['p99',  'p99 ms',              2],
);

my @WITH_APP = qw(Gepok Starman Starlet Feersum Twiggy uWSGI-http uWSGI-http11);

our @SCENARIOS = (
    (map { hello($_) } 1, 32, 256),
    {
        name    => 'closing',
        title   => 'Hello world, Connection: close, 32 connections',
        text    => 'Each request brings a connection of its own. wrk spends most of its CPU on connecting: the server\'s CPU time per '
            . 'request is the steadier figure.',
        servers => [qw(Gepok Starman Starlet Feersum Twiggy HTTP-Server-PSGI uWSGI-http core-alone nginx)],
        load(app => 'hello', connections => 32, content => $HELLO, fields => ['Connection: close'], closing => 1),
    },
    {
        name    => 'proxied',
        title   => 'Hello world by a Unix socket behind nginx, which keeps its connections to the server',
        text    => 'nginx runs on the server\'s CPU as well and takes the larger part of it; the CPU time is the server\'s alone.',
        servers => [qw(Gepok Starman Starlet uWSGI-http11)],
        load(app => 'hello', connections => 32, content => $HELLO, via => 'keep'),
    },
    {
        name    => 'proxied-closing',
        title   => 'Hello world by a Unix socket behind nginx, one connection per request',
        text    => 'As above, as nginx does it without further settings.',
        servers => [qw(Gepok Starman Starlet Feersum uWSGI-socket)],
        load(app => 'hello', connections => 32, content => $HELLO, via => 'close'),
    },
    {
        name    => 'json',
        title   => '2 KiB of JSON, 32 connections',
        text    => 'Encoded by Cpanel::JSON::XS for each request.',
        servers => \@WITH_APP,
        load(app => 'json', connections => 32, content => sub { $_[0] =~ /\A\{"items":\[.*\],"total":16\}\z/ && length $_[0] > 2000 }),
    },
    {
        name    => 'post',
        title   => 'POST of 16 KiB, 32 connections',
        text    => 'The app reads all of it.',
        servers => \@WITH_APP,
        load(app => 'post', connections => 32, content => $POST, post => $POST),
    },
    {
        name    => 'stream',
        title   => 'Streaming, ten pieces of 1 KiB, 32 connections',
        text    => 'By the writer of PSGI\'s streaming interface. uWSGI\'s --http11-socket can\'t tell the end of such an answer on a kept connection.',
        servers => [grep { $_ ne 'uWSGI-http11' } @WITH_APP],
        load(app => 'stream', connections => 32, content => join('', map { $_ x 1024 } 0 .. 9)),
    },
    {
        name    => 'large',
        title   => '1 MiB from memory, 8 connections',
        text    => 'The app answers with one string. Gepok\'s worker is free as soon as its core has it all.',
        servers => \@WITH_APP,
        load(app => 'large', connections => 8, content => 'x' x $FILE),
    },
    {
        name    => 'file',
        title   => 'A file of 1 MiB, 8 connections',
        text    => 'The app opens it and answers with the handle; nginx serves it itself.',
        servers => [@WITH_APP, 'nginx'],
        load(app => 'file', connections => 8, content => sub { length $_[0] == $FILE && $_[0] !~ /[^\n 0-9]/ }, length => $FILE, file => 1),
    },
    {
        name    => 'https',
        title   => 'Hello world by HTTPS, keep-alive, 32 connections',
        text    => 'A P-256 certificate, the handshakes behind the measurement.',
        servers => [qw(Gepok Starman uWSGI-router nginx)],
        load(app => 'hello', connections => 32, content => $HELLO, tls => 1),
    },
    {
        name    => 'dancer2',
        title   => 'A Dancer2 app with a template and a session, 32 connections',
        text    => 'bench/apps/shop: a page by Template Toolkit in a layout, a session that is read and written.',
        servers => [qw(Gepok Starman Starlet Feersum Twiggy HTTP-Server-PSGI uWSGI-http11 no-server)],
        load(
            app         => 'shop/shop',
            path        => '/wares?most=10',
            connections => 32,
            length      => 1000,
            content     => sub { $_[0] =~ /<p>2 in your basket/ && $_[0] =~ /Article 10</ && $_[0] =~ m{</html>\s*\z} },
            visit       => \&shop_visit,
        ),
    },
    {
        name    => 'start',
        title   => 'Start to first answer',
        text    => 'From the start of the process until a client, who asks each half millisecond, has the answer of the hello app.',
        servers => [qw(Gepok Gepok-command Starman Starlet Feersum Twiggy HTTP-Server-PSGI uWSGI-http)],
        figures => [['ms', 'ms', 0]],
        rounds  => 9,
        cost    => 0.4,
        measure => sub { Gepok::Bench::Memory::first_answer("$APPS/hello.psgi", @_) },
    },
    {
        name    => 'memory',
        title   => 'Memory with one worker',
        text    => 'PSS: what processes share counts for each in part. The worker is the process that answers; all are the server\'s '
            . 'processes together, so with Gepok the master and the core, too. Busy: under the load of 32 kept connections.',
        servers => [qw(Gepok Gepok-command Starman Starlet Feersum Twiggy HTTP-Server-PSGI uWSGI-http11)],
        figures => [
            ['idle',     'idle worker MiB', 1],
            ['idle_all', 'all, idle MiB',   1],
            ['busy',     'busy worker MiB', 1],
            ['busy_all', 'all, busy MiB',   1],
        ],
        rounds  => 3,
        cost    => 0.8,
        load    => 1,
        measure => sub { Gepok::Bench::Memory::of_worker("$APPS/pid.psgi", @_) },
    },
    {
        name    => 'mixed',
        title   => 'Fast requests beside slow ones',
        text    => $Gepok::Bench::Mixed::TEXT,
        servers => [qw(Gepok Starman Starlet)],
        figures => [
            ['p99_slow', 'p99 ms with slow clients',    2],
            ['p99',      'p99 ms without',              2],
            ['more',     'difference ms (of each pair)', 2],
            ['p50_slow', 'p50 ms with',                 2],
            ['p50',      'p50 ms without',              2],
        ],
        rounds  => 7,
        cost    => 0.8,
        load    => 2,
        measure => sub { Gepok::Bench::Mixed::measure("$APPS/mixed.psgi", @_) },
    },
    {
        name    => 'cores',
        title   => 'Two workers on two cores with an app that takes 300 µs of CPU',
        text    => '16 connections. One worker on CPU 0 with the load on CPU 1, against two workers with the load on both.',
        servers => [qw(Gepok Starman uWSGI-http11)],
        figures => [['gain', 'two : one', 2], ['one', 'one worker, requests/s', 0], ['two', 'two workers, requests/s', 0]],
        cost    => 1.2,
        load    => 2,
        measure => \&cores,
    },
    {
        name    => 'idle',
        title   => 'Idle keep-alive connections',
        text    => $Gepok::Bench::Idle::TEXT,
        servers => [qw(Gepok nginx)],
        figures => [
            ['front',       'largest process MiB',            1],
            ['front_more',  'more than without them MiB',     1],
            ['worker_more', 'worker\'s growth MiB',           1],
            ['cpu',         'CPU s in 5 s',                   2],
            ['connections', 'connections',                    0],
        ],
        rounds     => 1,
        cost       => 12,
        quick_cost => 4,
        measure => sub { Gepok::Bench::Idle::measure("$APPS/pid.psgi", @_) },
    },
);

sub hello {
    my ($connections) = @_;
    my @servers = qw(Gepok Starman Starlet Feersum Twiggy uWSGI-http uWSGI-http11 uWSGI-router core-alone nginx);
    # At 256 those that close each time measure wrk.
    @servers = grep { !/^(?:Twiggy|uWSGI-http)$/ } @servers if $connections == 256;
    return {
        name    => "hello-$connections",
        title   => "Hello world, keep-alive, $connections connection" . ($connections == 1 ? '' : 's'),
        text    => $connections == 1
            ? 'One request at a time: latency.'
            : 'Feersum of this version, Twiggy and --http-socket close each connection, whatever the client wishes.',
        servers => \@servers,
        load(app => 'hello', connections => $connections, content => $HELLO),
    };
}

# What the scenarios have in common whose load is wrk's.
sub load {
    my (%load) = @_;
    return (figures => \@RATE, cost => 0.55, load => 1, measure => sub { throughput(\%load, @_) });
}

# `load`: app, path, connections, content and request as for `check`, length of the content if that is a sub, fields, post,
# via, tls, file, closing; visit($target): fields that the load sends because of what the server said.
sub throughput {
    my ($load, $how, $server) = @_;
    my $path = $load->{path} // '/';
    return Gepok::Bench::Alone::measure("$APPS/$load->{app}.psgi", $path, $how) if $server eq 'no-server';

    my $running = launch(
        server => $server,
        folder => $how->{folder},
        app    => "$APPS/$load->{app}.psgi",
        path   => $path,
        via    => $load->{via},
        $load->{tls}  ? (tls => $how->{tls}) : (),
        $load->{file} ? (file => $how->{file}, env => {BENCH_FILE => $how->{file}}) : (),
        answer => {type => 'text/plain', content => $HELLO},
    );
    $running->{closes} = 1 if $load->{closing};
    my @fields  = (@{$load->{fields} || []}, $load->{visit} ? $load->{visit}->($running->{target}) : ());
    my $content = $load->{post} ? 'x' x $load->{post} : undef;
    my @request = (defined $content ? 'POST' : 'GET', $path, \@fields, $content);
    my $right   = $load->{content};
    if ($load->{post}) {
        my @sum = @request;
        $sum[1] .= '?sum';
        check($running, \@sum, "$load->{post} " . unpack '%32C*', $content);
    }
    check($running, \@request, $right) for 1 .. 20;

    # Gepok has a process for the network beside its workers.
    my @parts  = (undef, $server eq 'Gepok' ? qr/\[core\]/ : ());
    my @before = map { $running->{process}->cpu($_) } @parts;
    my $seen   = Gepok::Bench::Wrk::run(
        url         => $running->{url} . $path,
        connections => $load->{connections},
        seconds     => $how->{seconds},
        length      => $load->{length} // (ref $right ? 1 : length $right),
        fields      => \@fields,
        post        => $load->{post},
    );
    my ($cpu, $core) = map { 1e6 * ($running->{process}->cpu($_) - shift @before) / $seen->{requests} } @parts;
    check($running, \@request, $right);
    $_->stop for grep {defined} @$running{qw(front process)};
    return {
        rate => $seen->{requests} / $seen->{seconds},
        cpu  => $cpu,
        core => $core,
        p50  => $seen->{p50},
        p99  => $seen->{p99},
    };
}

# A visitor's first steps in the shop: the cookie that belongs to a basket with two wares.
sub shop_visit {
    my ($target) = @_;
    my $cookie;
    for my $number (3, 7) {
        my $client = Gepok::Bench::Http->connect($target) or die "it can't be connected to\n";
        my $answer = $client->ask(
            'POST', '/basket',
            ['Connection: close', 'Content-Type: application/x-www-form-urlencoded', $cookie // ()],
            "number=$number"
        );
        die "status $answer->{status} instead of 302\n" if $answer->{status} != 302;
        my ($set) = ($answer->{fields}{'set-cookie'} // '') =~ /^([^;]+)/;
        $cookie //= "Cookie: $set" if defined $set;
    }
    return $cookie // die "no cookie came\n";
}

# One worker against two.
sub cores {
    my ($how, $server) = @_;
    my %rate;
    for my $workers (1, 2) {
        my @pinned  = $workers == 1 ? () : (cpu => undef);
        my $running = launch(
            server  => $server,
            folder  => $how->{folder},
            app     => "$APPS/burn.psgi",
            workers => $workers,
            @pinned
        );
        check($running, ['GET', '/'], $HELLO);
        my $seen = Gepok::Bench::Wrk::run(
            url         => "$running->{url}/",
            connections => 16,
            seconds     => $how->{seconds},
            length      => length $HELLO,
            @pinned
        );
        $running->{process}->stop;
        $rate{$workers} = $seen->{requests} / $seen->{seconds};
    }
    return {one => $rate{1}, two => $rate{2}, gain => $rate{2} / $rate{1}};
}

1;
