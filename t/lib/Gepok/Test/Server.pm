package Gepok::Test::Server;

# One running server: started by one of the ways in, ready when `new` returns, gone when the object goes.

use strict;
use warnings;

use Config ();
use File::Temp ();
use HTTP::Request;
use HTTP::Response;
use POSIX       qw(WNOHANG);
use Time::HiRes qw(sleep time);

use Gepok::Test::Connection;

# What other servers call our options, as far as the tests use them.
my %FOREIGN = (
    Starman => {start_servers => 'workers', max_requests_per_child => 'max_requests'},
    Starlet => {start_servers => 'max_workers', max_requests_per_child => 'max_reqs_per_child'},
);

# Arguments:
#   entry    plackup, new (Gepok->new(...)->run) or bin (the gepok command)
#   app      path of a .psgi file, or its text
#   options  {name => value or [values]}, the server's options, spelt as the entry wants them; the number of workers
#            stays what start_servers says unless max_clients is there
#   args     [further words for the command line]
#   command  [words], instead of all that; prefix [words], in front of it
#   listen   tcp (default), unix, or both in an array; none: `args` say it, and `port` or `path` what to wait for
#   plack_env, env {}, dir   surroundings; ignored => [signals]; ready => 0: don't wait
sub new {
    my ($class, %args) = @_;
    my $self = bless {
        options   => {},
        args      => [],
        env       => {},
        plack_env => 'deployment',
        ready     => 1,
        %args,
        folder => Gepok::Test::scratch(),
        owner  => $$,
    }, $class;
    # A title is written over the command line: over that of valgrind, which reads its options there again when it forks.
    $self->{options} = {%{$self->{options}}, proctitle => 0} if $ENV{GEPOK_TEST_PREFIX};
    # That user loads the app.
    chmod 0755, $self->{folder} if defined $self->{options}{user};
    my $listen = $self->{listen} // 'tcp';
    $self->{kinds} = [grep { $_ ne 'none' } ref $listen ? @$listen : $listen];
    for my $kind (@{$self->{kinds}}) {
        if ($kind eq 'tcp') { $self->{port} //= Gepok::Test::free_port() }
        else                { $self->{path} //= "$self->{folder}/http.sock" }
    }
    $self->start;
    return $self;
}

sub start {
    my $self    = shift;
    # GEPOK_TEST_PREFIX: words in front of the command, as of valgrind; GEPOK_TEST_SLOW: how much slower that is.
    my @command = (@{$self->{prefix} // []}, split(' ', $ENV{GEPOK_TEST_PREFIX} // ''), $self->command);
    my $pid     = fork // die "fork: $!";
    if (!$pid) {
        # A group of its own, so that nothing it starts can outlive the test.
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(PIPE ALRM INT TERM);
        $SIG{$_} = 'IGNORE' for @{$self->{ignored} // []};
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', $self->log_path;
        open STDERR, '>&', \*STDOUT;
        delete @ENV{qw(PLACK_ENV PLACK_SERVER PERL5OPT HARNESS_ACTIVE)};
        %ENV = (%ENV, %{$self->{env}});
        chdir $self->{dir} if $self->{dir};
        no warnings 'exec';
        exec {$command[0]} @command or print STDERR "$command[0]: $!\n";
        POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    $self->wait_ready if $self->{ready};
}

# The command line, as a user would type it.
sub command {
    my $self = shift;
    return @{$self->{command}} if $self->{command};
    my @app  = $self->app_path;
    my @perl = ($^X, map {"-I$self->{root}/blib/$_"} qw(arch lib));
    if ($self->{entry} eq 'bin') {
        return ("$self->{root}/blib/script/gepok", $self->flags('http_ports', 'unix_sockets'),
            @{$self->{args}}, @app);
    }
    if ($self->{entry} eq 'plackup') {
        return (@perl, plackup(), '-s', $self->{name}, '-E', $self->{plack_env}, $self->flags('listen', 'listen'),
            @{$self->{args}}, @app);
    }
    my %attributes = $self->options;
    my $run;
    if ($self->{name} eq 'Gepok') {
        # In the class it is the default.
        $attributes{daemonize}   //= 0;
        $attributes{http_ports}   = ["127.0.0.1:$self->{port}"] if grep { $_ eq 'tcp' } @{$self->{kinds}};
        $attributes{unix_sockets} = [$self->{path}]             if grep { $_ eq 'unix' } @{$self->{kinds}};
        $run = 'Gepok->new(%$attributes)->run($app);';
    }
    else {
        @attributes{qw(host port)} = ('127.0.0.1', $self->{port});
        $attributes{listen} = ["127.0.0.1:$self->{port}"];
        $run = "require Plack::Loader; Plack::Loader->load('$self->{name}', %\$attributes)->run(\$app);";
    }
    my $script = "$self->{folder}/run.pl";
    spew($script, "use strict; use warnings; use JSON::PP (); use Plack::Util ();\n"
            . ($self->{name} eq 'Gepok' ? "use Gepok;\n" : '')
            . "my \$attributes = JSON::PP::decode_json(shift);\n"
            . "my \$app = Plack::Util::load_psgi(shift);\n"
            . ($self->{prologue} // '') . "$run\n");
    return (@perl, $script, JSON::PP::encode_json(\%attributes), @app);
}

sub plackup {
    for my $folder (split(/:/, $ENV{PATH}), @Config::Config{qw(sitescript vendorscript scriptdir)}) {
        return "$folder/plackup" if defined $folder && -x "$folder/plackup";
    }
    die "plackup is missing: install the Debian package libplack-perl\n";
}

# The options in the words of the server under test.
sub options {
    my $self    = shift;
    my $words   = $FOREIGN{$self->{name}} // {};
    my %options = %{$self->{options}};
    $options{max_clients} //= $options{start_servers} if $self->{name} eq 'Gepok' && $options{start_servers};
    return map { ($words->{$_} // $_) => $options{$_} } sort keys %options;
}

sub flags {
    my ($self, $tcp, $unix) = @_;
    my @flags;
    for my $kind (@{$self->{kinds}}) {
        push @flags, $kind eq 'tcp' ? ("--$tcp", "127.0.0.1:$self->{port}") : ("--$unix", $self->{path});
    }
    my %options = $self->options;
    for my $name (sort keys %options) {
        my $value = $options{$name};
        push @flags, map {"--$name=$_"} ref $value ? @$value : $value;
    }
    return @flags;
}

sub app_path {
    my $self = shift;
    my $app  = $self->{app} // return ();
    return $app if $app !~ /\n/ && -e $app;
    spew("$self->{folder}/app.psgi", "use strict;\nuse warnings;\n$app");
    return "$self->{folder}/app.psgi";
}

sub wait_ready {
    my $self  = shift;
    my $limit = time + 120;
    for my $kind (@{$self->{kinds}} ? @{$self->{kinds}} : $self->first) {
        until (eval { $self->connect($kind) }) {
            $self->fail('has died') if waitpid($self->{pid}, WNOHANG) == $self->{pid};
            $self->fail('does not listen after 120 seconds') if time > $limit;
            sleep 0.02;
        }
    }
}

sub fail {
    my ($self, $what) = @_;
    my $status = $?;
    my $text   = $self->log;
    die sprintf("The server %s (wait status %d).\nCommand: %s\n%s", $what, $status, join(' ', $self->command), $text);
}

sub pid      { $_[0]{pid} }
sub port     { $_[0]{port} }
sub path     { $_[0]{path} }
sub folder   { $_[0]{folder} }
sub log_path {"$_[0]{folder}/log"}

# What it has written to its two outputs.
sub log {
    my $self = shift;
    open my $log, '<', $self->log_path or return '';
    local $/;
    return scalar(<$log>) // '';
}

sub url { "http://127.0.0.1:$_[0]{port}" . ($_[1] // '/') }

sub first { my $self = shift; $self->{kinds}[0] // (defined $self->{port} ? 'tcp' : 'unix') }

# A raw connection to it: `tcp` or `unix`, by default the first it listens on.
sub connect {
    my ($self, $kind) = @_;
    $kind //= $self->first;
    return Gepok::Test::Connection->new($kind eq 'tcp' ? (port => $self->{port}) : (path => $self->{path}));
}

# Sends the bytes on a connection of their own, and returns the response to that method.
sub exchange {
    my ($self, $bytes, $method) = @_;
    my $connection = $self->connect;
    $connection->send($bytes);
    return $connection->response($method // ($bytes =~ /^([A-Z]+)/)[0]);
}

sub get {
    my ($self, $target, %fields) = @_;
    my $lines = join '', map {"$_: $fields{$_}\r\n"} sort keys %fields;
    return $self->exchange("GET $target HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n$lines\r\n", 'GET');
}

sub post {
    my ($self, $target, $content, %fields) = @_;
    my $lines = join '', map {"$_: $fields{$_}\r\n"} sort keys %fields;
    return $self->exchange(
        "POST $target HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
            . length($content) . "\r\n$lines\r\n$content", 'POST');
}

# An HTTP::Request answered with an HTTP::Response, over any kind of socket and either version: LWP speaks 1.1 on TCP only.
sub request {
    my ($self, $request, %how) = @_;
    my $version = $how{version} // '1.1';
    my $bytes = sprintf "%s %s HTTP/%s\r\n", $request->method, $request->uri->path_query, $version;
    my $content = $request->content;
    my $headers = $request->headers->clone;
    $headers->header(Host => $request->uri->host_port) unless defined $headers->header('Host');
    $headers->header('Content-Length' => length $content)
        if length $content && !defined $headers->header('Content-Length');
    $headers->header(Connection => 'close') unless defined $headers->header('Connection');
    $headers->scan(sub { $bytes .= "$_[0]: $_[1]\r\n" });

    my $connection = $self->connect($how{listen});
    $connection->send("$bytes\r\n$content");
    my $got      = $connection->response($request->method);
    my $response = HTTP::Response->new($got->status, $got->reason, [map {@$_} @{$got->fields}], $got->content);
    $response->protocol('HTTP/' . $got->version);
    $response->request($request);
    return $response;
}

sub signal { my ($self, $signal, $pid) = @_; kill $signal => $pid // $self->{pid} }

# Its wait status if it ends within so many seconds, else undef.
sub wait_exit {
    my ($self, $seconds) = @_;
    return $self->{status} if defined $self->{status};
    my $status = reap($self->{pid}, $seconds // 20);
    $self->{status} = $status if defined $status;
    return $status;
}

# The wait status of that child if it ends within so many seconds, else undef.
sub reap {
    my ($pid, $seconds) = @_;
    my $limit = time + $seconds;
    while (1) {
        my $got = waitpid $pid, WNOHANG;
        return $?   if $got == $pid;
        return -1   if $got < 0;
        return undef if time > $limit;
        sleep 0.01;
    }
}

# TERM, then its wait status. Not as long as graceful_timeout: a stop that needs that has gone wrong.
sub stop {
    my $self = shift;
    $self->signal('TERM') unless defined $self->{status};
    return $self->wait_exit(20);
}

# All processes that live, by their pids: their parents and when they were born.
sub processes {
    my %all;
    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $stat or next;
        my ($pid, $rest) = (<$file> // next) =~ /^(\d+) \(.*\) (.*)/s or next;
        # As proc(5) numbers them, from the third field on.
        my ($state, $parent, $born) = (split / /, $rest)[0, 1, 19];
        $all{$pid} = {parent => $parent, born => $born} unless $state eq 'Z';
    }
    return \%all;
}

# The eldest first. Numbers tell only of those born in one hundredth of a second: the kernel begins with small ones again.
sub by_birth {
    my ($all, @pids) = @_;
    my $by_number = sub { ($_[0] <=> $_[1]) * (abs($_[0] - $_[1]) > 10_000 ? -1 : 1) };
    # In an array: a scalar context asks for their number.
    my @sorted = sort { $all->{$a}{born} <=> $all->{$b}{born} || $by_number->($a, $b) } @pids;
    return @sorted;
}

# The processes it has started, and theirs, by their age: the core is the first.
sub descendants {
    my $self = shift;
    my $all  = processes();
    my %children;
    push @{$children{$all->{$_}{parent}}}, $_ for keys %$all;
    my @found;
    my @next = @{$children{$self->{pid}} // []};
    while (defined(my $pid = shift @next)) {
        push @found, $pid;
        push @next,  @{$children{$pid} // []};
    }
    return by_birth($all, @found);
}

# All living processes that have its log open, wherever they went, by their age.
sub family {
    my $self = shift;
    my $all  = processes();
    my $log  = $self->log_path;
    return by_birth($all, grep { my $pid = $_; grep { (readlink($_) // '') eq $log } glob "/proc/$pid/fd/*" } keys %$all);
}

sub DESTROY {
    my $self = shift;
    return unless $self->{pid} && $self->{owner} == $$;
    local ($?, $@, $!);
    if (!defined $self->{status}) {
        kill TERM => $self->{pid};
        reap($self->{pid}, 5) // do { kill KILL => $self->{pid}; waitpid $self->{pid}, 0 };
    }
    kill KILL => -$self->{pid};
    print STDERR map {"# server: $_\n"} split /\n/, $self->log
        if $ENV{GEPOK_TEST_VERBOSE};
    $self->tell_assertions if $ENV{GEPOK_TEST_ASSERTIONS} && defined $self->{folder};
}

# Appends what a perl with -DDEBUGGING has found wrong to the file of that name: a process that is about to end may die of it
# unnoticed by its test.
sub tell_assertions {
    my $self  = shift;
    my @found = grep {/: Assertion .* failed|\bpanic: /} split /\n/, $self->log or return;
    open my $file, '>>', $ENV{GEPOK_TEST_ASSERTIONS} or die "$ENV{GEPOK_TEST_ASSERTIONS}: $!";
    print {$file} map {"$0: $_\n"} @found;
}

sub spew {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!";
    print {$file} $text;
    close $file or die "$path: $!";
}

1;
