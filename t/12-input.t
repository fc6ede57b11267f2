# psgi.input: the content of a request, readable by every means Perl has, twice, from memory or from a file.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More;

use Gepok::Test;

my @MEANS = qw(method-read builtin-read method-getline method-getlines builtin-readline slurp records method-seek
    builtin-seek eof request);

my $all_bytes = join '', map chr, 0 .. 255;
my %contents  = (
    'some lines'       => "first\nsecond\r\n\nlast without an end",
    'every byte twice' => $all_bytes x 2,
    'a zero'           => '0',
    '100 kB'           => $all_bytes x 400,
    '5 MB'             => $all_bytes x 20480,
);
# Reading 5 MB by records of 7 bytes proves nothing that 100 kB doesn't.
my %slow = map { $_ => 1 } qw(records eof method-read builtin-read);

sub chunked {
    my ($content, $size) = @_;
    my $coded = '';
    for (my $at = 0; $at < length $content; $at += $size) {
        my $part = substr $content, $at, $size;
        $coded .= sprintf "%x\r\n%s\r\n", length $part, $part;
    }
    return "${coded}0\r\n\r\n";
}

each_entry {
    my $server = server(entry => shift, app => app_file('input'), options => {start_servers => 1});
    for my $name (sort keys %contents) {
        my $content = $contents{$name};
        for my $means (@MEANS) {
            next if $slow{$means} && length $content > 1_000_000;
            next if $means eq 'builtin-seek' && length $content < 2;
            my $plain = $server->post("/$means", $content);
            ok $plain->content eq $content, "$name by $means, with Content-Length";
            my $sent = $server->exchange("POST /$means HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                    . "Connection: close\r\n\r\n" . chunked($content, 30_000));
            ok $sent->content eq $content, "$name by $means, in chunks";
            is $sent->field('X-Length'), length($content) . ' undef',
                'CONTENT_LENGTH is what was decoded, and the coding is gone';
        }
    }
};

my $server = server(app => app_file('input'), options => {start_servers => 1});

is $server->post('/lines', "a\nb\n\nc")->content, 'aN|bN|N|c', 'lines end where they end';
is $server->get('/kind')->content,      'memory 0', 'without content the input is there, and empty';
is $server->post('/kind', '')->content, 'memory 0', 'so it is with a content of no bytes';
is $server->exchange("POST /kind HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        . "0\r\n\r\n")->field('X-Length'), '0 undef', 'CONTENT_LENGTH is a number for an empty chunked content'
    if is_gepok();
is $server->post('/kind', 'x' x 8_000_000)->content, 'file unread', 'a large content lies in a file';

# An upload as browsers send it.
{
    my $file     = $all_bytes x 8192;
    my $boundary = 'xYzZY';
    my $form     = join '', map {"--$boundary\r\nContent-Disposition: form-data; $_\r\n"}
        "name=\"name\"\r\n\r\nvalue",
        "name=\"file\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n$file";
    $form .= "--$boundary--\r\n";
    my $got = $server->post('/upload', $form, 'Content-Type' => "multipart/form-data; boundary=$boundary");
    is $got->content, 'value a.bin ' . sha256_hex($file), 'a file of 2 MB in a form arrives whole';
}

# What an app leaves unread must not be taken for the next request.
{
    my $smuggled = "GET /calls HTTP/1.1\r\nHost: x\r\n\r\n";
    my $client   = $server->connect;
    $client->send("POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: " . length($smuggled) . "\r\n\r\n$smuggled");
    is $client->response->content, 'unread', 'an app need not read its content';
    ok $client->silent(0.3) || $client->closed(0), 'and what it left is no request';
    is $server->get('/unread')->status, 200, 'the next client is served';
}

# A client that leaves in the middle of its content: no call, and the one worker is free.
{
    my $before = $server->get('/calls')->content;
    for my $fields ('Content-Length: 100', 'Transfer-Encoding: chunked') {
        my $client = $server->connect;
        $client->send("POST /slurp HTTP/1.1\r\nHost: x\r\n$fields\r\n\r\n5\r\nabc");
        $client->finish;
        ok eval { $client->rest !~ /^HTTP\S+ 200/ }, "no success for half a content ($fields)";
    }
    is $server->get('/calls')->content, $before + 1, 'the app was not called for them';
}

# Content of any length reaches the app complete, however it is cut on the way.
{
    my $client = $server->connect;
    my $content = join '', map { sprintf "%07d\n", $_ } 1 .. 3000;
    $client->send("POST /digest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for my $piece (chunked($content, 777) =~ /.{1,5000}/gs) {
        $client->send($piece);
        select undef, undef, undef, 0.005;
    }
    is $client->response->content, sha256_hex($content) . ' 24000', 'content in pieces, chunks across them';
}

done_testing;
