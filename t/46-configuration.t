# The configuration file, the environment and the command line: which of them counts, what is wrong in them, and what a reload
# takes from the file.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Connection;

gepok_only();

my $root = root();
my $bin  = "$root/blib/script/gepok";

sub spew  { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }
sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

# One run of the command to its end: (exit status, output).
sub run_gepok {
    my ($dir, $env, @arguments) = @_;
    my ($status, $output) = run_command([$bin, @arguments], dir => "$dir", env => $env);
    return (defined $status ? $status >> 8 : undef, $output);
}

my @started;
END { kill TERM => @started if @started }

# A server that runs in its folder until the test ends: its process id.
sub begin {
    my ($dir, $env, @arguments) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $dir or POSIX::_exit(1);
        @ENV{keys %$env} = values %$env;
        open STDOUT, '>>', "$dir/log" or die $!;
        open STDERR, '>&', \*STDOUT;
        exec $bin, @arguments or POSIX::_exit(1);
    }
    push @started, $pid;
    return $pid;
}

sub end {
    my $pid = shift;
    @started = grep { $_ != $pid } @started;
    kill TERM => $pid;
    waitpid $pid, 0;
    return;
}

sub get {
    my ($port, $path, %fields) = @_;
    my $client = Gepok::Test::Connection->new(port => $port);
    my $fields = join '', map {"$_: $fields{$_}\r\n"} sort keys %fields;
    $client->send("GET $path HTTP/1.0\r\n$fields\r\n");
    return $client->response;
}

sub listens { my $port = shift; soon { eval { get($port, '/'); 1 } } }

my $APP = q{sub { my $env = shift; [200, [], [join ' ', "app", $env->{SERVER_PORT}, $env->{'psgi.multiprocess'} ? 'many' : 'one']] }};

check 'a server goes by the file' => sub {
    my $dir  = scratch();
    my $port = free_port();
    spew("$dir/app.psgi", $APP);
    mkdir "$dir/public" or die $!;
    spew("$dir/public/a.txt", 'a file');
    spew("$dir/site.toml", <<"TOML");
# All kinds of values
app         = "app.psgi"
http_ports  = ["127.0.0.1:$port"]
max_workers = 1
timeout     = 7.5
max_content = "1K"
directory   = { "/files" = "public" }
product_name = "Configured"
product_version = ""
TOML
    my $pid = begin("$dir", {}, '--config', 'site.toml');
    ok listens($port), 'it listens where the file says' or return diag slurp("$dir/log");
    my $response = get($port, '/');
    is $response->content, "app $port many", 'its app answers';
    is $response->field('Server'), 'Configured', 'with the name of the file';
    is get($port, '/files/a.txt')->content, 'a file', 'a table names directories, relative to the folder of the start';
    end($pid);
};

check 'typed, environment, platform, file' => sub {
    my $dir = scratch();
    my ($typed, $own, $platform, $file) = map { free_port() } 1 .. 4;
    spew("$dir/site.toml", "http_ports = ['127.0.0.1:$file']\nmax_workers = 2\nhost = '127.0.0.1'\ntimeout = 1\n");
    my $origin = sub {
        my ($env, @arguments) = @_;
        my ($status, $output) = run_gepok($dir, $env, 'check', '--print', '-c', 'site.toml', @arguments);
        is $status, 0, 'it is good' or diag $output;
        return {map { /^(?:# )?(\w+)(?: = (.*?))?\s+# (.*)$/ ? ($1 => ($2 // '') . " from $3") : () } split /\n/, $output};
    };
    my %all = (GEPOK_PORT => $own, PORT => $platform, WEB_CONCURRENCY => 3, GEPOK_TIMEOUT => 2, GEPOK_NAME => '');

    my $shown = $origin->({});
    is $shown->{http_ports}, qq{"127.0.0.1:$file" from site.toml:1}, 'the file';
    is $shown->{keepalive},  'true from default',      'a default';
    is $shown->{config},     '"site.toml" from typed', 'the file itself';
    like $shown->{documents}, qr/not set/, 'what has no default';

    $shown = $origin->({PORT => $platform, WEB_CONCURRENCY => 3});
    is $shown->{port},        "$platform from environment variable PORT",     'a platform comes before the file';
    is $shown->{max_workers}, '3 from environment variable WEB_CONCURRENCY', 'for both of its variables';
    is $shown->{host},        '"127.0.0.1" from site.toml:3',                'whose host completes the port';
    like $shown->{http_ports}, qr/not set/, 'and whose other addresses do not count';

    $shown = $origin->(\%all);
    is $shown->{port},    "$own from environment variable GEPOK_PORT", "an option's own variable comes before that";
    is $shown->{timeout}, '2 from environment variable GEPOK_TIMEOUT', 'and before the file';
    like $shown->{name}, qr/default/, 'an empty variable says nothing';

    $shown = $origin->(\%all, '--port', $typed, '--start-servers', 0, '--timeout', 0.5);
    is $shown->{port},          "$typed from typed", 'what is typed comes first';
    is $shown->{timeout},       '"0.5" from typed',  'for all options';
    is $shown->{start_servers}, '0 from typed',      'the number of workers';
    like $shown->{max_workers}, qr/not set/, 'is one question, whatever the option';

    my $pid = begin("$dir", \%all, '-c', 'site.toml', '--port', $typed, '--start-servers', 0, '-e', $APP);
    ok listens($typed), 'a server goes by it' or return diag slurp("$dir/log");
    is get($typed, '/')->content, "app $typed one", 'in one process, as typed';
    ok !eval { get($_, '/'); 1 }, "and does not listen on $_" for $own, $platform, $file;
    end($pid);

    $pid = begin("$dir", {GEPOK_CONFIG => 'site.toml', GEPOK_EVAL => $APP});
    ok listens($file), 'a variable names the file' or return diag slurp("$dir/log");
    is get($file, '/')->content, "app $file many", 'and the app';
    end($pid);
};

check 'mistakes are told with file, line, key and the nearest word' => sub {
    my $dir = scratch();
    for my $case (
        ["\nmax_wrokers = 4\n",      qr/^gepok: site\.toml:2: unknown option 'max_wrokers', did you mean 'max_workers'\?$/m],
        ["max_workers = '4'\n",      qr/^gepok: site\.toml:1: option 'max_workers' needs a whole number, not a text$/m],
        ["timeout = 'soon'\n",       qr/^gepok: site\.toml:1: option 'timeout': 'soon' is not a number of seconds$/m],
        ["keepalive = 1\n",          qr/^gepok: site\.toml:1: option 'keepalive' needs true or false, not a whole number$/m],
        ["x\n",                      qr/^gepok: site\.toml:1: this is not TOML: /m],
        ["name = 'a'\nname = 'b'\n", qr/^gepok: site\.toml:2: this is not TOML: duplicate key/m],
        # What shows only when all values are known, and only in the system.
        ["\nsymlinks = 'some'\n",    qr/^gepok: site\.toml:2: option 'symlinks': 'some' is not none, owner, inside or follow$/m],
        ["\n\ndocuments = 'none'\n", qr/^gepok: site\.toml:3: option 'documents': the directory '.*none' can't be opened/m],
        ["https_ports = 0\nssl_cert_file = 'no.pem'\nssl_key_file = 'no.pem'\n", qr/^gepok: site\.toml:2: option 'ssl_cert_file': .*no\.pem/m],
        ["user = 'no-such-user'\n",  qr/^gepok: site\.toml:1: option 'user': .*no-such-user/m],
    ) {
        my ($text, $told) = @$case;
        spew("$dir/site.toml", $text);
        my ($status, $output) = run_gepok($dir, {}, 'check', '--config', 'site.toml');
        is $status, 2, 'gepok check exits with 2' or diag $output;
        like $output, $told, "$text: told";
        is scalar(() = $output =~ /^gepok: /mg), 1, 'in one line' or diag $output;
        ($status, $output) = run_gepok($dir, {}, '--config', 'site.toml', '-e', $APP);
        is $status, 2, 'a server does not start';
        like $output, $told, 'and says the same';
    }
    spew("$dir/site.toml", "a1 = 1\ntimeout = 5\nb2 = 1\n");
    my ($status, $output) = run_gepok($dir, {}, 'check', '--config', 'site.toml');
    like $output, qr/site\.toml:1: .*'a1'.*\n.*site\.toml:3: .*'b2'/, 'all mistakes are told';
    ($status, $output) = run_gepok($dir, {}, '--config', 'site.toml', '-e', $APP);
    like $output, qr/\Agepok: site\.toml:1: .*1 more: 'gepok check'.*\n\z/, 'a server says the first in one sentence';

    ($status, $output) = run_gepok($dir, {}, 'check', '--config', 'none.toml');
    is $status, 2, 'a file that is not there';
    like $output, qr/^gepok: option 'config': 'none\.toml' can't be read: /m, 'is named';
    ($status, $output) = run_gepok($dir, {GEPOK_TIMEOUT => 'x'}, 'check');
    is $status, 2, 'a mistake in the environment';
    like $output, qr/^gepok: environment variable GEPOK_TIMEOUT: option 'timeout': 'x' is not/m, 'is told with the variable';
    ($status, $output) = run_gepok($dir, {GEPOK_MAX_WORKRES => 1}, 'check');
    is $status, 0, 'an unknown variable is not a mistake';
    like $output, qr/GEPOK_MAX_WORKRES .*did you mean GEPOK_MAX_WORKERS\?/, 'but a warning where it is nearly an option';
};

check 'what is printed can be used as a file' => sub {
    my $dir = scratch();
    my ($status, $page) = run_gepok($dir, {}, 'check', '--print', '--name', 'a"b', '--max-content', '1.5G', '-l', ':1', '-l', ':2');
    is $status, 0, 'printed';
    spew("$dir/site.toml", $page);
    ($status, my $again) = run_gepok($dir, {}, 'check', '--print', '-c', 'site.toml');
    is $status, 0, 'it is good' or diag $again;
    my $values = sub { join "\n", grep { !/^#/ } map { s/\s+# .*//r } split /\n/, shift };
    is $values->($again), $values->($page), 'and means the same';
};

for my $processes (1, 0) {
    check $processes ? 'a reload reads the file' : 'a reload reads the file, in one process' => sub {
        my $dir  = scratch();
        my $port = free_port();
        mkdir "$dir/$_"                  or die $! for qw(one two);
        spew("$dir/$_/name.txt", $_) for qw(one two);
        my $file = sub {
            my ($documents, $more) = @_;
            spew("$dir/site.toml", "http_ports = ['127.0.0.1:$port']\nstart_servers = $processes\npid_path = '$dir/pid'\n"
                . "documents = '$documents'\n" . ($more // ''));
        };
        $file->('one');
        my $pid = begin("$dir", {}, '-c', 'site.toml', '-e', $APP);
        ok listens($port), 'it serves' or return diag slurp("$dir/log");
        is get($port, '/name.txt')->content, 'one', 'the file that is configured';

        # A connection that is open meanwhile.
        my $kept = Gepok::Test::Connection->new(port => $port);
        my $ask  = sub { $kept->send("GET /name.txt HTTP/1.1\r\nHost: x\r\n\r\n"); $kept->response->content };
        is $ask->(), 'one', 'also on a connection that is kept';

        $file->('two', "cache_control = 'max-age=9'\ntimeout = 77\n");
        my ($status, $output) = run_gepok($dir, {}, 'reload', '-c', 'site.toml');
        is $status, 0, 'gepok reload finds the server by the file' or diag $output, slurp("$dir/log");
        is $ask->(), 'two', 'the same connection gets the new file';
        is get($port, '/name.txt')->field('Cache-Control'), 'max-age=9', 'and its new field';
        ok soon { slurp("$dir/log") =~ /take effect only at a restart: 'timeout'/ }, 'what needs a restart is named in the log';

        for my $case (
            ["documents = 'one'\nfoo = 1\n",          qr/site\.toml:5: this is not TOML|site\.toml:\d+: /],
            ["cache_contrl = 'max-age=5'\n",          qr/site\.toml:5: unknown option 'cache_contrl', did you mean 'cache_control'\?/],
            ["directory = { '/x' = '$dir/none' }\n",  qr/site\.toml:5: option 'directory': the directory '.*none' can't be opened/],
        ) {
            my ($more, $why) = @$case;
            $file->('one', $more);
            ($status, $output) = run_gepok($dir, {}, 'reload', '-c', 'site.toml');
            is $status, 1, 'a broken file: gepok reload exits with 1' or diag $output;
            like $output, $why, 'and says why';
            is $ask->(), 'two', 'the server goes on with what it had';
            ok soon { slurp("$dir/log") =~ $why }, 'the log has the reason';
        }
        is((run_gepok($dir, {}, 'status', '-c', 'site.toml'))[0], 0, 'a mistake in the file hides no server');
        $file->('one');
        is((run_gepok($dir, {}, 'reload', '-c', 'site.toml'))[0], 0, 'a good file again');
        is $ask->(), 'one', 'counts';
        end($pid);
    };
}

# A restart in place reads all options again; one whose file has a mistake is tried, and leaves the server as it is.
check 'a restart reads the whole file' => sub {
    my $dir  = scratch();
    my $port = free_port();
    my $file = sub { spew("$dir/site.toml", "http_ports = ['127.0.0.1:$port']\nmax_workers = 1\npid_path = 'pid'\n$_[0]") };
    $file->("product_name = 'One'\nproduct_version = ''\n");
    my $pid = begin("$dir", {}, '-c', 'site.toml', '-e', $APP);
    ok listens($port), 'it serves' or return diag slurp("$dir/log");
    $file->("product_name = 'Two'\nproduct_version = ''\n");
    my ($status, $output) = run_gepok($dir, {}, 'restart', '-c', 'site.toml');
    is $status, 0, 'gepok restart' or diag $output, slurp("$dir/log");
    is get($port, '/')->field('Server'), 'Two', 'takes what a reload can not';
    $file->("product_nmae = 'Three'\n");
    ($status, $output) = run_gepok($dir, {}, 'restart', '-c', 'site.toml');
    is $status, 1, 'a broken file: it exits with 1' or diag $output;
    ok soon { slurp("$dir/log") =~ /site\.toml:4: unknown option 'product_nmae', did you mean 'product_name'\?/ }, 'the log says why';
    is get($port, '/')->field('Server'), 'Two', 'and the server goes on';
    end($pid);
};

check 'the example' => sub {
    my $port = free_port();
    my $dir  = scratch();
    my ($status, $output) = run_command([$bin, qw(check --config examples/site.toml)], dir => $root);
    is $status, 0, 'gepok check finds nothing wrong' or diag $output;
    my $pid = fork // die $!;
    if (!$pid) {
        chdir $root or POSIX::_exit(1);
        open STDERR, '>', "$dir/log" or die $!;
        exec $bin, '-c', 'examples/site.toml', '--http-ports', "127.0.0.1:$port" or POSIX::_exit(1);
    }
    push @started, $pid;
    ok listens($port), 'it serves' or return diag slurp("$dir/log");
    like get($port, '/')->content, qr/<html/i, 'its files';
    is get($port, '/Camel')->content, "Hello, Camel!\n", 'and its app';
    like get($port, '/source/hello.psgi')->content, qr/smallest PSGI/, 'and the directory';
    end($pid);
};

done_testing;
