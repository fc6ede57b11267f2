# Gepok.pm and Plack::Handler::Gepok hand to the shared object what users say, whatever plackup makes of it.
use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use File::Temp     qw(tempdir);
use IO::Socket::INET ();
use JSON::PP       ();
use Pod::Checker   ();
use Test::More;

my $lib = abs_path(dirname(__FILE__) . '/../perl/lib');
my $dir = tempdir(CLEANUP => 1);

sub spew {
    my ($name, $text) = @_;
    open my $out, '>', "$dir/$name" or die "$dir/$name: $!";
    print {$out} $text;
    close $out or die $!;
    return "$dir/$name";
}

# Stands in for the shared object: records its arguments, and calls what can be called.
spew('Recorded.pm', <<'PERL');
package Recorded;
use strict;
use warnings;
use JSON::PP ();

sub Gepok::_serve {
    my ($pairs, $hooks) = @_;
    my $told = {
        pairs => $pairs,
        hooks => { map { $_ => ref $hooks->{$_} } grep { $_ ne 'handler' } keys %$hooks },
        env   => $ENV{PLACK_ENV},
    };
    my $app = $hooks->{builder} ? $hooks->{builder}->() : $hooks->{app};
    my $env = { REQUEST_METHOD => 'GET', PATH_INFO => '/x', SCRIPT_NAME => '', 'psgi.errors' => \*STDERR };
    $told->{answer} = $app->($env)->[2] if ($ENV{PLACK_ENV} || '') ne 'development';
    $hooks->{server_ready}->('0.0.0.0', 5000, 'http') if $hooks->{server_ready};
    print JSON::PP->new->encode($told), "\n";
}
1;
PERL

my $app = spew('app.psgi', 'sub { [200, [], ["$_[0]{SCRIPT_NAME}|$_[0]{PATH_INFO}"]] }');

# Runs perl with the stand-in; gives what it recorded, and standard error.
sub recorded {
    my (@args) = @_;
    my $pid = open my $out, '-|';
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        delete @ENV{qw(PLACK_ENV PLACK_SERVER PERL5OPT)};
        open STDERR, '>', "$dir/stderr" or die $!;
        exec $^X, "-I$lib", "-I$dir", '-MRecorded', @args or die "exec: $!";
    }
    my @lines = <$out>;
    close $out;
    open my $in, '<', "$dir/stderr" or die $!;
    my $stderr = do { local $/; <$in> };
    my $told = @lines ? JSON::PP->new->decode($lines[-1]) : {};
    return ($told, defined $stderr ? $stderr : '');
}

# The pairs as a hash of lists, without what every run has.
sub said {
    my ($told) = @_;
    my %said;
    my @pairs = @{ $told->{pairs} || [] };
    while (my ($name, $value) = splice @pairs, 0, 2) {
        push @{ $said{$name} }, $value;
    }
    # Under no name: how the process was started.
    delete @said{'', '.started', qw(name product_name default_port default_logs)};
    delete $said{access_log_path} if $said{access_log_path} && $said{access_log_path}[0] eq '';
    delete $said{daemonize} if $said{daemonize}[0] eq '0';
    return \%said;
}

SKIP: {
    my ($plackup) = grep { -f } map { "$_/plackup" } split(/:/, $ENV{PATH} || ''), dirname($^X);
    skip 'plackup is not installed', 1 unless $plackup;
    my @deployment = ($plackup, qw(-s Gepok -E deployment));

    for my $case (
        [[]                                => {}],
        [[qw(-p 5000)]                     => { listen => [':5000'] }],
        [[qw(--port=5000)]                 => { listen => [':5000'] }],
        [[qw(-l :5000)]                    => { listen => [':5000'] }],
        [[qw(-o 127.0.0.1)]                => { host => ['127.0.0.1'], port => [5000] }],
        [[qw(-o ::1 -p 81)]                => { host => ['::1'], port => [81] }],
        [[qw(-S /run/s)]                   => { listen => ['/run/s'] }],
        [[qw(-S /run/s -p 81)]             => { listen => ['/run/s'], port => [81] }],
        [[qw(-l :81 -l /run/s -l [::1]:82)] => { listen => [':81', '/run/s', '[::1]:82'] }],
        [[qw(-l [::1]:82 -l 127.0.0.1:83)] => { listen => ['[::1]:82', '127.0.0.1:83'] }],
        [['--http-ports', '81,:82,']        => { http_ports => ['81,:82,'] }],
        [[qw(--http_ports 81 -p 82)]       => { http_ports => [81], listen => [':82'] }],
        [[qw(--unix-sockets=/a --unix_sockets /b)] => { unix_sockets => ['/a', '/b'] }],
        [[qw(-workers=20 --disable-keepalive)]     => { workers      => [20], keepalive => [''] }],
        [[qw(--enable-keepalive -D)]       => { keepalive => [1], daemonize => [1] }],
        [[qw(--workers 1 --workers 2)]     => { workers   => [1, 2] }],
        )
    {
        my ($args, $wanted) = @$case;
        my ($told, $stderr) = recorded(@deployment, @$args, $app);
        is_deeply said($told), $wanted, "plackup @$args" or diag $stderr;
    }

    my ($told, $stderr) = recorded(@deployment, $app);
    my %first = @{ $told->{pairs} };
    delete @first{'', '.started'};
    is_deeply \%first, { name => 'plackup', product_name => 'Gepok', default_port => 5000, daemonize => 0,
        default_logs => 1, access_log_path => '' },
        'plackup brings a name, a default port, stays in the foreground and writes no access log';
    is_deeply [$told->{hooks}, $told->{env}], [{ app => 'CODE' }, 'deployment'], 'the app, and PLACK_ENV by -E';
    is_deeply $told->{answer}, ['|/x'], 'the app is the one of the file';

    ($told) = recorded(@deployment, qw(--path /x), $app);
    is_deeply $told->{answer}, ['/x|'], '--path mounts the app';

    ($told, $stderr) = recorded(@deployment, '--access-log', "$dir/access", $app);
    is_deeply said($told), {}, '--access-log stays with plackup';
    like do { local (@ARGV, $/) = "$dir/access"; <> }, qr/"GET /, 'and is written';

    ($told) = recorded(@deployment, '-MFile::Spec', '-e', 'my $d = File::Spec->curdir; sub { [200, [], [$d]] }');
    is_deeply $told->{answer}, ['.'], '-M and -e give the app';

    ($told) = recorded(@deployment, qw(-L Delayed), $app);
    is_deeply $told->{hooks},  { app => 'CODE', builder => 'CODE' }, '-L Delayed brings a builder';
    is_deeply $told->{answer}, ['|/x'], 'which builds the app';

    ($told, $stderr) = recorded($plackup, qw(-s Gepok), $app);
    is_deeply said($told), { server_ready => ['CODE'] }, 'in development plackup wants to be told';
    is $stderr, "Gepok: Accepting connections at http://0:5000/\n", 'and prints its line';

    ($told) = recorded('-MPlack::Loader', '-e', <<'PERL');
        $ENV{PLACK_SERVER} = 'Gepok';
        Plack::Loader->auto(host => '127.0.0.1', port => 81)->run(sub { [200, [], []] });
PERL
    is_deeply said($told), { host => ['127.0.0.1'], port => [81] }, "Plack::Loader's own arguments";
}

subtest 'the class' => sub {
    my $run = 'my $app = sub { [200, [], ["hi"]] };';
    my ($told, $stderr) = recorded('-MGepok', '-e', <<"PERL");
        $run
        Gepok->new(http_ports => [8081, ':8082'], keepalive => 0, timeout => undef, unix_sockets => [],
            name => "\\x{263a}", nonsense => 1, server_ready => sub { print STDERR \$_[0]{server_software} })
            ->run(\$app);
        print STDERR " returned";
PERL
    is_deeply said($told), {
        http_ports   => [8081, ':8082'],
        daemonize    => [1],
        keepalive    => [0],
        nonsense     => [1],
        server_ready => ['CODE'],
    }, 'attributes become pairs, lists are repeated, undef is not said, and the class goes to the background';
    is_deeply { @{ $told->{pairs} } }->{name}, "\xe2\x98\xba", 'texts are bytes';
    is_deeply $told->{hooks}, { app => 'CODE', server_ready => 'CODE' }, 'code stays in Perl';
    is $stderr, 'Gepok returned', 'run returns';

    ($told, $stderr) = recorded('-MIO::Socket::INET', '-e', <<"PERL");
        $run
        package My::Server;
        use parent 'Gepok';
        my \$sock = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die \$@;
        print STDERR fileno \$sock;
        my \$self = My::Server->new({ listen_sock => \$sock, _own => {} });
        \$self->start(\$app);
PERL
    is_deeply said($told), { listen_sock => [$stderr], daemonize => [1] }, 'a socket becomes its descriptor, _own is left alone';
    is { @{ $told->{pairs} } }->{product_name}, 'My::Server', 'a subclass gives its name';

    for my $case (
        ['new(http_ports => {})->run($app)', qr/option 'http_ports' can't be a reference to HASH at/],
        ['new->run',                         qr/run needs a PSGI app/],
        ['new->run("app.psgi")',             qr/run needs a PSGI app/],
        )
    {
        (undef, $stderr) = recorded('-MGepok', '-e', "$run Gepok->$case->[0]");
        like $stderr, $case->[1], $case->[0];
    }

    ($told, $stderr) = recorded('-MGepok', '-e', <<'PERL');
        package Component { sub new { bless {} } sub to_app { sub { [200, [], ['component']] } } }
        my $gepok = Gepok->new(port => 1);
        $gepok->port(2);
        print STDERR join ',', $gepok->port, $gepok->can('listen') ? 1 : 0, grep { /XSLoader|DynaLoader/ } keys %INC
            if !grep { /XSLoader/ } @ARGV;
        $gepok->run(Component->new);
PERL
    like $stderr, qr/\A2,1/, 'every attribute has its method';
    is_deeply $told->{answer}, ['component'], 'an object with to_app is an app';
};

subtest 'making the object loads no shared object' => sub {
    my $loaded = `$^X -I$lib -MDynaLoader -MPlack::Handler::Gepok -e 'Gepok->new(port => 1); print join " ", \@DynaLoader::dl_modules'`;
    unlike $loaded, qr/Gepok/, 'before run';
};

for my $file ("$lib/Gepok.pm", "$lib/Gepok/Options.pod", "$lib/Plack/Handler/Gepok.pm") {
    my $checker = Pod::Checker->new(-quiet => 1);
    open my $out, '>', \my $told or die $!;
    $checker->parse_from_file($file, $out);
    is $checker->num_errors + $checker->num_warnings, 0, "POD of $file" or diag $told;
}

done_testing;
