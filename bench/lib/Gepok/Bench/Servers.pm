package Gepok::Bench::Servers;

# The servers that are compared, and how each is started: one worker, no recycling, no access log, a long backlog, idle
# connections kept as long as it goes. Each argument's reason stands beside it, and goes into the report.

use strict;
use warnings;
use utf8;

use Exporter       qw(import);
use File::Basename qw(dirname);

use Gepok::Bench::Nginx ();

our @EXPORT_OK = qw(%SERVERS @SERVERS certificate);

my $ROOT = dirname(__FILE__) . '/../../../..';

# The kernel cuts longer ones to this, and uWSGI refuses them.
my $BACKLOG = do {
    open my $file, '<', '/proc/sys/net/core/somaxconn' or die "/proc/sys/net/core/somaxconn: $!\n";
    my $most = <$file>;
    $most < 4096 ? $most + 0 : 4096;
};

# In the order of the tables.
our @SERVERS = qw(Gepok Gepok-command Starman Starlet Feersum Twiggy HTTP-Server-PSGI uWSGI-http uWSGI-http11 uWSGI-router
    uWSGI-socket core-alone nginx no-server);

# command: what is started for {port | socket, tls => {certificate, key}, app, workers, keepalive, folder}.
# package: the Debian package whose version is told.
# say_close: closes each connection without a word, so that the app says it.
# say_length: ends an answer of unknown length by the connection's end, so that the app says the length where it streams.
# keeps: kept connections are served (which is checked).
our %SERVERS = (
    'Gepok' => {
        keeps   => 1,
        command => sub {
            my ($how) = @_;
            [
                plackup($how, 'Gepok'),
                $how->{socket} ? ('--unix-sockets', $how->{socket})
                : $how->{tls} ? ('--https-ports', "127.0.0.1:$how->{port}", '--ssl-cert-file', $how->{tls}{certificate},
                    '--ssl-key-file', $how->{tls}{key})
                : ('--http-ports', "127.0.0.1:$how->{port}"),
                '--max-workers',       $how->{workers}, '--max-requests', 0, '--backlog', $BACKLOG,
                '--keepalive-timeout', 300
            ];
        },
        reasons => [
            'max-workers: exactly so many',
            'max-requests 0: no recycling',
            'keepalive-timeout: idle connections stay; its number of requests has no limit by default',
            'the core, a process of its own, runs on the same CPU and is counted',
        ],
    },
    'Gepok-command' => {
        keeps   => 1,
        command => sub {
            my ($how) = @_;
            [
                "$ROOT/blib/script/gepok",
                '--http-ports', "127.0.0.1:$how->{port}", '--max-workers', $how->{workers}, '--max-requests', 0, '--backlog', $BACKLOG,
                '--keepalive-timeout', 300, $how->{app}
            ];
        },
        reasons => ['the same without plackup: only where memory and start differ'],
    },
    'Starman' => {
        package => 'starman',
        keeps   => 1,
        command => sub {
            my ($how) = @_;
            [
                plackup($how, 'Starman'),
                $how->{socket} ? ('--listen', $how->{socket})
                : $how->{tls} ? ('--listen', "127.0.0.1:$how->{port}:ssl", '--ssl-cert', $how->{tls}{certificate},
                    '--ssl-key', $how->{tls}{key})
                : ('--listen', "127.0.0.1:$how->{port}"),
                '--workers', $how->{workers}, '--max-requests', 100_000_000, '--backlog', $BACKLOG,
                $how->{keepalive} ? ('--keepalive-timeout', 60) : ('--disable-keepalive')
            ];
        },
        reasons => [
            'max-requests: no recycling',
            'keepalive-timeout: a worker serves one kept connection at a time, and the others wait until that is idle for so long; '
                . 'wrk counts the answered requests',
        ],
    },
    'Starlet' => {
        package => 'starlet',
        keeps   => 1,
        command => sub {
            my ($how) = @_;
            [
                plackup($how, 'Starlet'),
                $how->{socket} ? ('--socket', $how->{socket}) : ('--host', '127.0.0.1', '--port', $how->{port}),
                '--max-workers', $how->{workers}, '--max-reqs-per-child', 100_000_000, '--backlog', $BACKLOG,
                $how->{keepalive} ? ('--max-keepalive-reqs', 100_000_000, '--keepalive-timeout', 60) : ()
            ];
        },
        reasons => [
            'max-reqs-per-child: no recycling',
            'max-keepalive-reqs: its default is 1, which is no keep-alive; as with Starman one kept connection is served at a time',
        ],
    },
    'Feersum' => {
        package   => 'feersum',
        say_close => 1,
        command   => sub {
            my ($how) = @_;
            [
                plackup($how, 'Feersum'),
                $how->{socket} ? ('--listen', $how->{socket}) : ('--host', '127.0.0.1', '--port', $how->{port})
            ];
        },
        reasons => ['one process; its backlog is SOMAXCONN; this version has no keep-alive, and closes without saying so'],
    },
    'Twiggy' => {
        package    => 'twiggy',
        say_length => 1,
        command    => sub {
            my ($how) = @_;
            [plackup($how, 'Twiggy'), '--host', '127.0.0.1', '--port', $how->{port}, '--backlog', $BACKLOG];
        },
        reasons    => ['one process; AnyEvent runs on EV; HTTP/1.0, so it closes each connection', 'where it streams it is told the length'],
    },
    'HTTP-Server-PSGI' => {
        package => 'libplack-perl',
        command => sub {
            my ($how) = @_;
            [plackup($how, 'HTTP::Server::PSGI'), '--host', '127.0.0.1', '--port', $how->{port}];
        },
        reasons => ['one process, made for development; HTTP/1.0, so it closes each connection'],
    },
    'uWSGI-http' => {
        package    => 'uwsgi-core',
        say_close  => 1,
        say_length => 1,
        command    => sub { uwsgi($_[0], 'psgi', '--http-socket', $_[0]{socket} // "127.0.0.1:$_[0]{port}") },
        reasons    => ['--http-socket: each connection is closed, without saying so', 'where it streams it is told the length'],
    },
    'uWSGI-http11' => {
        package => 'uwsgi-core',
        keeps   => 1,
        command => sub {
            uwsgi($_[0], 'psgi', '--http11-socket', $_[0]{socket} // "127.0.0.1:$_[0]{port}", '--socket-timeout', 60);
        },
        reasons => [
            '--http11-socket: keeps connections, also those whose client asks for their end (so it is not among the closing ones)',
            'socket-timeout: idle connections stay; one kept connection is served at a time',
        ],
    },
    'uWSGI-router' => {
        package => 'uwsgi-core',
        keeps   => 1,
        command => sub {
            my ($how) = @_;
            my $address = "127.0.0.1:$how->{port}";
            uwsgi(
                $how, 'psgi,http',
                $how->{tls} ? ('--https', "$address,$how->{tls}{certificate},$how->{tls}{key}") : ('--http', $address),
                '--http-keepalive=60'
            );
        },
        reasons => ['--http: a router process in front keeps the connections; it is counted'],
    },
    'uWSGI-socket' => {
        package => 'uwsgi-core',
        command => sub { uwsgi($_[0], 'psgi', '--socket', $_[0]{socket}) },
        reasons => ['its own protocol behind nginx (uwsgi_pass), as it is usually run'],
        pass    => 'uwsgi',
    },
    'core-alone' => {
        keeps   => 1,
        command => sub { ["$ROOT/target/release/examples/core-alone", $_[0]{port}] },
        reasons => ['our core with a thread that gives a constant answer in place of a worker: the limit without Perl and a second process'],
    },
    'nginx' => {
        package => 'nginx-common',
        keeps   => 1,
        command => sub { Gepok::Bench::Nginx::command($_[0]) },
        reasons => ['one worker, a constant answer (`return 200`) or the static file: the limit, no Perl', 'sendfile on, no access log'],
    },
    'no-server' => {
        package => 'libplack-perl',
        reasons => ['the app called in a loop, without any server: what remains of a figure is the app\'s own'],
    },
);

sub plackup {
    my ($how, $handler) = @_;
    return ($^X, "-I$ROOT/blib/lib", "-I$ROOT/blib/arch", '-S', 'plackup', '-E', 'deployment', '-s', $handler, $how->{app});
}

sub uwsgi {
    my ($how, $plugins, @listen) = @_;
    return [
        'uwsgi', '--plugin', $plugins, @listen, '--psgi', $how->{app}, '--master', '--processes', $how->{workers},
        '--disable-logging', '--need-app', '--listen', $BACKLOG, '--die-on-term'
    ];
}

# What a server can't be asked is no reason to stop: the sentence says so instead.
sub version {
    my ($server) = @_;
    my $package  = $SERVERS{$server}{package} or return (split ' ', qx($ROOT/blib/script/gepok --version))[1] // '?';
    my $version  = qx(dpkg-query -W -f '\${Version}' $package 2>/dev/null);
    return $version =~ /\S/ ? $version : '?';
}

# How a server is started, for a reader: '' for what has no command of its own.
sub shown {
    my ($server) = @_;
    my $command = $SERVERS{$server}{command};
    return '' if !$command || $server eq 'nginx';
    my %how = (port => 'PORT', app => 'APP', workers => 1, keepalive => 1, $SERVERS{$server}{pass} ? (socket => 'SOCKET') : ());
    my $text = join ' ', @{$command->(\%how)};
    $text =~ s/^\Q$^X\E (?:-I\S+ )+-S //;
    $text =~ s/\Q$ROOT\E\/(?:blib\/script\/)?//g;
    return $text;
}

# Why a server can't be started here, '' if it can. What is only there for this is built now.
sub missing {
    my ($server) = @_;
    if ($server =~ /^Gepok/) {
        return -x "$ROOT/blib/script/gepok" ? '' : 'Gepok is not built: run perl Makefile.PL && make';
    }
    if ($server eq 'core-alone') {
        return '' if system("cd $ROOT && cargo build --quiet --release --locked --no-default-features --example core-alone") == 0;
        return 'core-alone can\'t be built: choose others by --servers';
    }
    return version($server) eq '?' ? "$server: Debian's package $SERVERS{$server}{package} is not installed" : '';
}

# A certificate for localhost and its key (P-256), made in a folder: {certificate, key}.
sub certificate {
    my ($folder) = @_;
    my %files = (certificate => "$folder/certificate.pem", key => "$folder/key.pem");
    system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost "
            . "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout $files{key} -out $files{certificate} 2>$folder/openssl.log") == 0
        or die "openssl makes no certificate\n";
    return \%files;
}

1;
