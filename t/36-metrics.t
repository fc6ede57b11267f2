# metrics_path: what a collector gets, read by Prometheus' own parsers.
use strict;
use warnings;

use File::Temp ();
use JSON::PP   ();
use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;

gepok_only();

my $APP = <<'APP';
sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    if ($path =~ m{^/wait(/.*)}) { until (-e $1) { select undef, undef, undef, 0.02 } }
    select undef, undef, undef, 0.12 if $path eq '/slow';
    return [404, [], ['none']] if $path eq '/none';
    return [200, ['Content-Type' => 'text/plain'], ['hello']];
}
APP

sub touch { open my $file, '>', $_[0] or die $! }

# What Prometheus makes of a text.
sub samples {
    my ($text, $format) = @_;
    my $file = File::Temp->new;
    print {$file} $text;
    close $file;
    my ($status, $out) = run_command(['/bin/sh', '-c', '/usr/bin/python3 "$1" "$2" <"$3"', 'sh', root() . '/t/clients/metrics.py', $format, "$file"]);
    $status and die "metrics.py: status $status, $out\n$text";
    return JSON::PP->new->decode($out);
}

# The samples of a server, by a look in that format.
sub metrics {
    my ($server, $format) = @_;
    $format //= 'prometheus';
    my $type = $format eq 'prometheus' ? 'text/plain;version=0.0.4' : 'application/openmetrics-text; version=1.0.0,text/plain;q=0.5';
    my $got  = $server->get('/metrics', Accept => $type);
    $got->status == 200 or die 'status ' . $got->status;
    return samples($got->content, $format);
}

# The response to these bytes.
sub raw {
    my ($server, $bytes) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    return $client->response;
}

# How much the counters that match have grown from one look to the other.
sub grown {
    my ($before, $after, $pattern) = @_;
    my $sum = 0;
    $sum += $after->{$_} - ($before->{$_} // 0) for grep {/$pattern/} keys %$after;
    return $sum;
}

# Every sample is what a load that is known did.
each_entry {
    my $server = server(entry => $_[0], app => $APP, options => {start_servers => 2, metrics_path => '/metrics', access_log_path => '/dev/null'});
    ok soon { metrics($server)->{'gepok_workers{state=idle}'} == 2 }, 'both workers are idle';
    for my $format ('prometheus', 'openmetrics') {
        my $before = metrics($server, $format);
        $server->get('/')    for 1 .. 5;
        $server->get('/none') for 1 .. 2;
        $server->post('/', 'x' x 1000);
        $server->get('/slow');
        is raw($server, "BREW / HTTP/1.0\r\n\r\n")->status, 200, 'a method that has no label';
        is raw($server, "no HTTP\r\n\r\n")->status, 400, 'what is no request';
        my $after = metrics($server, $format);
        my $name  = 'gepok_http_requests_total';
        my %by    = (
            'code=200,method=GET,protocol=HTTP/1.1'    => 7,
            'code=404,method=GET,protocol=HTTP/1.1'    => 2,
            'code=200,method=POST,protocol=HTTP/1.1'   => 1,
            'code=200,method=other,protocol=HTTP/1.0'  => 1,
            'code=400,method=other,protocol=none'      => 1,
        );
        is $after->{"$name\{$_}"} - ($before->{"$name\{$_}"} // 0), $by{$_}, "$format: $_" for sort keys %by;
        is grown($before, $after, qr/^\Q$name\E/), 12, 'and no others, but for the look itself';
        is grown($before, $after, qr/^gepok_app_requests_total/), 10, 'ten went to the app';
        is grown($before, $after, qr/^gepok_${_}_count$/), 10, "$_: ten" for 'queue_duration_seconds', 'app_duration_seconds';
        is grown($before, $after, qr/^gepok_http_request_duration_seconds_bucket\{le=\+Inf\}/), 12, 'the histogram has all';
        my $slow = grown($before, $after, qr/^gepok_app_duration_seconds_sum/);
        ok $slow > 0.12 && $slow < 60, "the slow one's time is in the sum ($slow)";
        cmp_ok grown($before, $after, qr/^gepok_app_duration_seconds_bucket\{le=0\.1\}/), '<=', 9, 'and not in the small buckets';
        cmp_ok grown($before, $after, qr/^gepok_http_request_bytes_total/), '>', 1000, 'bytes of requests';
        cmp_ok grown($before, $after, qr/^gepok_http_response_bytes_total/), '>', 1000, 'and of responses';
        is $after->{gepok_generation}, 1, 'the generation';
        is $after->{gepok_last_reload_success}, 1, 'no reload has failed';
        cmp_ok abs($after->{gepok_start_time_seconds} - time), '<', 300, 'the time of the start';
        cmp_ok $after->{$_}, '>', 0, $_ for qw(process_cpu_seconds_total process_resident_memory_bytes process_open_fds process_max_fds gepok_workers_resident_memory_bytes);
    }
    is $server->stop, 0, 'the server stops';
};

# What it is for: to say that all workers hang.
check 'all workers hang' => sub {
    my $folder  = scratch();
    my $server  = server(entry => 'bin', app => $APP, options => {start_servers => 2, metrics_path => '/metrics'});
    my @clients = map { send_request($server, "/wait$folder/go") } 1 .. 5;
    my $seen;
    ok soon { $seen = metrics($server); $seen->{'gepok_workers{state=busy}'} == 2 && $seen->{gepok_requests_queued} == 3 }, 'two are served, three wait'
        or diag explain $seen;
    ok soon { metrics($server)->{gepok_queue_oldest_seconds} > 0.3 }, 'for how long';
    is metrics($server)->{'gepok_connections{state=processing}'}, 6, 'connections: those, and the look';
    touch("$folder/go");
    is $_->response->status, 200, 'then they are served' for @clients;
};

# Counters never go back: neither when workers are recycled, nor by a reload.
check 'counters grow' => sub {
    my $server = server(entry => 'bin', app => $APP, options => {start_servers => 2, max_requests => 5, metrics_path => '/metrics'});
    my $last   = metrics($server);
    my @back;
    for my $round (1 .. 30) {
        $server->get('/') for 1 .. 4;
        $server->signal('HUP') if $round % 10 == 0;
        my $now = metrics($server);
        push @back, grep { /_(?:total|count|bucket|sum)\b/ && $now->{$_} < $last->{$_} } keys %$last;
        $last = $now;
    }
    is_deeply \@back, [], 'none has become less';
    ok soon { metrics($server)->{gepok_generation} == 4 }, 'through three reloads';
    my $sum = 0;
    /^gepok_http_requests_total\{code=200,method=GET/ and $sum += $last->{$_} for keys %$last;
    is $sum, 120 + 30, 'and no request is lost: 120, and the looks before the last one';
};

# Clients choose methods, hosts and paths: they must not choose how much memory the counters take.
check 'clients make no labels' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, metrics_path => '/metrics'});
    my $random = sub { join '', map { ('A' .. 'Z')[rand 26] } 1 .. 8 };
    my $ask    = sub {
        my $client = $server->connect;
        for (1 .. 200) {
            $client->send(join(' ', $random->(), '/' . $random->(), "HTTP/1.1\r\nHost: ") . $random->() . "\r\n\r\n");
            $client->response;
        }
    };
    $ask->();
    metrics($server);
    my $before = keys %{metrics($server)};
    $ask->();
    is keys %{metrics($server)}, $before, 'there are no more samples';
};

check 'who may see them' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, metrics_path => '/metrics', status_allow => '192.0.2.1'});
    is $server->get('/metrics')->status, 403, 'status_allow says who';
    is $server->get('/metrics/')->content, 'hello', 'another path is the app\'s';
    $server = server(app => $APP, options => {start_servers => 1, metrics_path => '/metrics'});
    my $got = $server->post('/metrics', 'x');
    is $got->status . ' ' . $got->field('Allow'), '405 GET, HEAD', 'other methods';
    is $server->get('/metrics', 'X-Forwarded-For' => '192.0.2.1')->status, 403, 'a proxy on this machine does not show them to the world';
    $server = server(app => $APP, options => {start_servers => 1});
    is $server->get('/metrics')->content, 'hello', 'without the option there are none';
};

check 'virtual hosts' => sub {
    my $folder = scratch();
    open my $file, '>', "$folder/site.toml" or die $!;
    print {$file} qq{metrics_path = "/metrics"\nh2c = true\n[[vhost]]\nname = "a.org"\ndefault = true\n[[vhost]]\nname = "b.org"\naliases = ["*.b.org"]\n};
    close $file;
    my $server = server(entry => 'bin', app => $APP, args => ['--config', "$folder/site.toml"], options => {start_servers => 1});
    is raw($server, "GET / HTTP/1.1\r\nHost: $_\r\n\r\n")->status, 200, $_ for 'a.org', 'b.org', 'www.b.org', 'else.org';
    my $seen  = metrics($server);
    my $label = 'code=200,method=GET,protocol=HTTP/1.1,vhost';
    is $seen->{"gepok_http_requests_total{$label=$_}"}, 2, "$_: two" for 'a.org', 'b.org';
    is $seen->{"gepok_app_duration_seconds_count{vhost=b.org}"}, 2, 'with their times';
    is scalar(grep {/else|www/} keys %$seen), 0, 'names that clients choose are none';
};

# Files of the core and HTTP/2 are requests like others; one process counts as well.
check 'whatever serves it' => sub {
    my $folder = scratch();
    open my $file, '>', "$folder/a.txt" or die $!;
    print {$file} 'file';
    close $file;
    for my $workers (0, 1) {
        my $server = server(entry => 'bin', app => $APP, options => {start_servers => $workers, metrics_path => '/metrics', documents => "$folder", h2c => 1});
        my $before = metrics($server);
        is $server->get('/a.txt')->content, 'file', "$workers workers: a file";
        my ($status, $out) = run_command(['curl', '-sS', '--noproxy', '*', '--http2-prior-knowledge', $server->url('/')]);
        is "$status $out", '0 hello', 'HTTP/2';
        my $after = metrics($server);
        is $after->{'gepok_http_requests_total{code=200,method=GET,protocol=HTTP/2}'}, 1, 'is counted';
        is grown($before, $after, qr/^gepok_http_requests_total\{code=200,method=GET,protocol=HTTP\/1.1\}/), 2, 'so is the file, and the look';
        is grown($before, $after, qr/^gepok_app_requests_total/), 1, 'one went to the app';
    }
};

done_testing;
