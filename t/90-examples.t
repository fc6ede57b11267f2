# Each example runs, and does what its first lines say.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Basename qw(basename);
use Test::More;

use Gepok::Test;
use Gepok::Test::TLS ();

my %tests = (
    'hello.psgi' => sub {
        my $server = shift;
        is $server->get('/')->content, "Hello, World!\n", 'greets';
        is $server->get('/Perl')->content, "Hello, Perl!\n", 'by name';
    },
    'streaming.psgi' => sub {
        my $server = shift;
        my $client = $server->connect;
        $client->send("GET /?count=3 HTTP/1.1\r\nHost: x\r\n\r\n");
        is $client->head->field('Content-Type'), 'text/event-stream', 'a stream of events';
        # That each leaves when it happens is the matter of t/14-streaming.t.
        my $events = '';
        while (length(my $chunk = $client->chunk)) { $events .= $chunk }
        like $events, qr/^(?:id: \d+\ndata: [\d.]+\n\n){3}$/, 'as many events as asked for';
    },
    'async.psgi' => sub {
        my $server  = shift;
        my @clients = map { send_request($server, '/') } 1 .. 10;
        # One after the other, ten of them would take six seconds.
        like $_->response->content, qr/\Aone: yes\nthree: yes\ntwo: yes\n[01]\.\d s\n\z/, 'three answers, when all are known' for @clients;
    },
    'upload.psgi' => sub {
        my $server  = shift;
        my $content = join '', map chr, map { $_ % 256 } 1 .. 500_000;
        like $server->get('/')->content, qr/<form method="post" enctype="multipart\/form-data">/, 'shows a form';
        my $form = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.bin\"\r\n"
            . "Content-Type: application/octet-stream\r\n\r\n$content\r\n--B--\r\n";
        my $response = $server->post('/', $form, 'Content-Type' => 'multipart/form-data; boundary=B');
        is $response->content, sha256_hex($content) . "  f.bin\n500000 bytes\n", 'tells the checksum';
        is $server->post('/', '')->status, 400, 'complains about a form without a file';
    },
    'files.psgi' => sub {
        my $server = shift;
        like $server->get('/')->content, qr/<title>Files/, 'the page is a file';
        is $server->get('/style.css')->field('Content-Type'), 'text/css; charset=utf-8', 'so is the style sheet';
        is $server->get('/nothing')->content, "There is no such page.\n", 'the app has the rest';
        my $part = $server->get('/download', Range => 'bytes=0-5');
        is $part->status, 206, 'a part of what the app sends';
        is $part->content, "1\n2\n3\n";
    },
    'early-hints.psgi' => sub {
        my $server = shift;
        my $client = $server->connect;
        $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        my $hint = $client->head;
        is $hint->status, 103, 'a hint first';
        like $hint->field('Link'), qr/rel=preload/, 'which names the style sheet';
        like $client->response->content, qr/<title>Early hints/, 'then the page';
        is $server->get('/style.css')->field('Content-Type'), 'text/css', 'the style sheet is there';
    },
    'trailers.psgi' => sub {
        my $server = shift;
        my $text   = join '', map {"line $_\n"} 1 .. 1000;
        my $sum    = sha256_hex($text);
        for my $way (['HTTP/1.1', '-H', 'TE: trailers'], is_gepok() ? ['HTTP/2', '--http2-prior-knowledge'] : ()) {
            my ($version, @words) = @$way;
            my (undef, $out) = run_command(['curl', '-sS', '-D', '-', '--max-time', 60, '--noproxy', '*', @words, $server->url('/?lines=1000')]);
            like $out, qr/^trailer: X-Checksum\r$/mi, "$version: they are announced";
            like $out, qr/\Q$text\E/, 'after the content';
            like $out, qr/^x-checksum: $sum\r$/mi, 'comes its checksum';
        }
        my $plain = $server->get('/');
        is $plain->field('Trailer'), undef, 'a client that takes none';
        like $plain->content, qr/\Aline 1\n.*line 10\n\z/s, 'gets the content';
    },
    'websocket-chat.psgi' => sub {
        my $server = shift;
        like $server->get('/')->content, qr/new WebSocket/, 'shows a page';
        is $server->get('/', Upgrade => 'websocket', 'Sec-WebSocket-Key' => 'x', 'Sec-WebSocket-Version' => 8)->status, 426,
            'refuses a former version of the protocol';
        chat($server, $server->url('/') =~ s/^http/ws/r);
    },
    'dancer2.psgi' => sub {
        my $server = shift;
        my @form   = ('Content-Type' => 'application/x-www-form-urlencoded');
        is $server->post('/entries', 'text=One', @form)->status, 201, 'takes an entry';
        is $server->post('/entries', 'text=', @form)->status, 400, 'but no empty one';
        is_deeply json($server->get('/entries')->content), [{number => 1, text => 'One'}], 'and shows it';
        is json($server->get('/')->content)->{entries}, 1, 'and counts';
    },
    'mojolicious.psgi' => sub {
        my $server = shift;
        my $first  = $server->get('/');
        like $first->content, qr/been here 1 time\./, 'counts a visit';
        my ($cookie) = $first->field('Set-Cookie') =~ /^([^;]+)/;
        like $server->get('/', Cookie => $cookie)->content, qr/been here 2 times\./, 'and the next, by its cookie';
        is_deeply json($server->get('/greet/you')->content), {hello => 'you'}, 'JSON';
    },
);

my @examples = map { basename($_) } glob root() . '/examples/*.psgi';
is_deeply \@examples, [sort keys %tests], 'each example has its test';

my %options = ('files.psgi' => {documents => root() . '/examples/files'}, 'trailers.psgi' => {h2c => 1},
    'async.psgi' => {loop => 'poll'});
my %needs = ('websocket-chat.psgi' => 'Mojo::UserAgent', 'dancer2.psgi' => 'Dancer2', 'mojolicious.psgi' => 'Mojolicious');
for my $example (@examples) {
    check $example => sub {
        my $module = $needs{$example};
        if ($module && !eval "require $module; 1") { plan skip_all => "$module is missing: script/test installs it" }
        # One worker: the guest book lives in the memory of one process.
        my $server = server(app => root() . "/examples/$example", options => {start_servers => 1, %{$options{$example} // {}}});
        $tests{$example}->($server);
        unlike $server->log, qr/ at \S+ line \d+/, 'without a warning' or diag $server->log;
    };
}

check 'the chat over TLS' => sub {
    if (!eval { require Mojo::UserAgent; 1 }) { plan skip_all => 'Mojo::UserAgent is missing: script/test installs it' }
    if (!Gepok::Test::TLS::usable()) { plan skip_all => 'IO::Socket::SSL is not installed' }
    my $server = Gepok::Test::TLS::https(app => root() . '/examples/websocket-chat.psgi', options => {ssl_self_signed => 1});
    chat($server, "wss://127.0.0.1:$server->{port}/");
};

# A unit that some systemd in use does not know is ignored in part, with a line that nobody reads.
check 'the units are those of any systemd' => sub {
    my ($status) = run_command(['systemd-analyze', '--version']);
    plan skip_all => 'systemd-analyze (systemd) is missing' if $status // 1;
    my $folder = scratch();
    for my $name ('gepok.service', 'gepok-hardened.service', 'gepok.socket') {
        open my $in, '<', root() . "/examples/$name" or die "$name: $!";
        my $text = do { local $/; <$in> };
        # What is there on no other machine.
        $text =~ s{/usr/local/bin/gepok}{/bin/true}g;
        $text =~ s{/srv/app}{$folder}g;
        open my $out, '>', "$folder/$name" or die "$name: $!";
        print {$out} $text;
        close $out or die $!;
        like $text, qr/^Type=notify$/m, 'a type that all know' if $name =~ /service/;
    }
    my ($ended, $output) = run_command(['systemd-analyze', 'verify', map {"$folder/$_"} qw(gepok.service gepok-hardened.service gepok.socket)]);
    unlike $output, qr/gepok(?:-hardened)?\.(?:service|socket)/, 'systemd finds no fault in them';
    my (undef, $security) = run_command(['systemd-analyze', 'security', '--offline=true', "$folder/gepok-hardened.service"]);
    SKIP: {
        my ($exposure) = $security =~ /Overall exposure level for \S+ ([\d.]+)/ or skip 'this systemd judges no unit offline', 1;
        cmp_ok $exposure, '<', 3, 'the hardened one leaves little open';
    }
};

done_testing;

# What guests of the chat expect, whichever way they come.
sub chat {
    my ($server, $url) = @_;
    my @guests = map { guest($url) } 1 .. 2;
    my $long   = 'long ' x 100;
    ok talk($guests[0], 'hello', @guests), 'what one says is heard by all';
    ok talk($guests[1], $long,   @guests), 'what the other says as well, a long message, too';
    ok talk(guest($url), 'a third', @guests), 'guests hold no worker';
    $guests[0]->finish;
    ok heard($guests[1], qr/^\d+ has left$/), 'a guest that leaves is missed';
    $server->stop;
    ok gone($guests[1]), 'the chat ends with the server';
}

# Guests of the chat, by Mojolicious' WebSocket client.
my $agent;

sub guest {
    my $url = shift;
    my $guest;
    # The certificate is made for the test.
    $agent ||= Mojo::UserAgent->new(insecure => 1);
    $agent->websocket($url => sub {
        $guest = $_[1];
        my $heard = $guest->{heard} = [];
        $guest->on(message => sub { push @$heard, $_[1] });
        $guest->on(finish  => sub { $_[0]{gone} = 1 });
    });
    turn(sub {$guest}) && $guest->is_websocket or die "no WebSocket\n";
    heard($guest, qr/^\d+ has come$/) or die "nobody has come\n";
    return $guest;
}

# Runs the client's event loop until it is true, 60 seconds at most.
sub turn {
    my $true = shift;
    my $late;
    my $timer = Mojo::IOLoop->timer(60 => sub { $late = 1 });
    Mojo::IOLoop->one_tick until $true->() || $late;
    Mojo::IOLoop->remove($timer);
    return !$late;
}

sub heard {
    my ($guest, $what) = @_;
    return turn(sub { grep { $_ =~ $what } @{$guest->{heard}} });
}

sub talk {
    my ($guest, $text, @all) = @_;
    $guest->send($text);
    return @all == grep { heard($_, qr/^\d+: \Q$text\E$/) } @all;
}

sub gone {
    my $guest = shift;
    return turn(sub { $guest->{gone} });
}
