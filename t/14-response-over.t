# What is over on the wire is over for the app: HEAD, 204, 304 and a Content-Length that is reached end a response whatever the
# app still gives, its connection goes on, and a client that leaves then is known to have left.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

my $APP = <<'END';
use Time::HiRes qw(sleep time);
my $LIMIT = 60;
sub note {
    open my $file, '>>', "$ENV{GEPOK_NOTES}/$_[0]" or die $!;
    print {$file} "$_[1]\n";
}
my $note = \&note;
package Endless {
    sub new { bless {lines => 0} }
    sub getline { $_[0]{lines}++ < 1200 ? do { Time::HiRes::sleep(0.05); "line\n" } : undef }
    sub close { $note->(closed => $_[0]{lines}) }
}
my %body = (
    object => sub { Endless->new },
    # What a program writes, without an end; the handle is no plain file.
    handle => sub { open my $handle, '-|', 'yes' or die $!; $handle },
);
sub {
    my $env    = shift;
    my (undef, $kind, $status, $length) = split m{/}, $env->{PATH_INFO};
    my @fields = ('Content-Type' => 'text/plain', $length ? ('Content-Length' => $length) : (),
        $kind eq 'chunks' ? ('Transfer-Encoding' => 'chunked') : ());
    my $began  = time;
    my $late   = sub { time - $began > $LIMIT };
    return [200, [], [$$]] if $kind eq 'pid';
    return [$status, \@fields, $body{$kind}->()] if $body{$kind};
    if ($kind eq 'file') {
        open my $file, '+>', undef or die $!;
        print {$file} 'f' x 100_000;
        seek $file, 0, 0;
        return [$status, \@fields, $file];
    }
    return sub {
        my $writer = shift->([$status, \@fields]);
        if ($kind eq 'chunks') {
            my $limit = 100;
            $writer->write("5\r\nhello\r\n0\r\n\r\n");
            1 while $limit-- && sleep(0.02) && $writer->write('more');
            note(chunks => $limit > 0 ? 'false' : 'true');
        }
        if ($kind eq 'writer') {
            my @wrote;
            push @wrote, $writer->write('12345') || 0 while !(@wrote && !$wrote[-1]) && !$late->() && sleep 0.02;
            push @wrote, $writer->write('more') || 0;
            note(wrote => "@wrote");
        }
        # Never looks at what write says.
        if ($kind eq 'deaf') { $writer->write('12345') && sleep 0.02 while !$late->() || 1 }
        if ($kind eq 'hold') {
            $writer->write('12345');
            note(held => $$);
            sleep 0.02 until -e "$ENV{GEPOK_NOTES}/go" || $late->();
            note(released => 1);
        }
        if ($kind eq 'watch') {
            my $gone = $env->{'psgix.client_gone'};
            $writer->write('12345');
            sleep 0.2;
            note(before => $gone->());
            sleep 0.02 until $gone->() || $late->();
            note(after => $gone->());
        }
        $writer->close;
    };
};
END
$APP =~ s/while !\$late->\(\) \|\| 1/while 1/;

sub start {
    my %options = @_;
    my $folder  = scratch();
    my $server  = server(app => $APP, env => {GEPOK_NOTES => "$folder"}, options => {start_servers => 1, %options});
    return ($server, $folder);
}

sub notes {
    my ($folder, $name) = @_;
    open my $file, '<', "$folder/$name" or return '';
    local $/;
    return scalar(<$file>) // '';
}

sub ask {
    my ($client, $path, $method) = @_;
    $client->send(($method // 'GET') . " $path HTTP/1.1\r\nHost: x\r\n\r\n");
    return $client->response($method // 'GET');
}

# What ends the response, the request, its path behind the kind, and what the app's calls of write return.
my @over = (
    ['HEAD',               'HEAD', '200',   qr/^0 0$/],
    ['204',                'GET',  '204',   qr/^0 0$/],
    ['304',                'GET',  '304',   qr/^0 0$/],
    ['HEAD with a length', 'HEAD', '200/5', qr/^0 0$/],
    # The second piece has no place at all, or only a part of it has.
    ['its length, reached',  'GET', '200/5', qr/^1 0 0$/],
    ['its length, exceeded', 'GET', '200/8', qr/^1 0 0$/],
);

for my $workers (1, 0) {
    my ($server, $folder) = start(start_servers => $workers);
    my $pid = $server->get('/pid')->content;
    my $where = $workers ? 'a worker' : 'one process';
    for my $case (@over) {
        my ($name, $method, $path, $wrote) = @$case;
        check "$where, $name: write is false" => sub {
            unlink "$folder/wrote";
            my $client = $server->connect;
            is ask($client, "/writer/$path", $method)->status, $path =~ s{/.*}{}r, 'the response';
            ok soon { notes($folder, 'wrote') }, 'the app ends';
            like notes($folder, 'wrote'), $wrote, 'by what write says';
            is ask($client, '/pid')->content, $pid, 'the connection and the worker go on';
        };
        check "$where, $name: getline is not called any more" => sub {
            unlink "$folder/closed";
            my $client = $server->connect;
            my $response = ask($client, "/object/$path", $method);
            ok soon { notes($folder, 'closed') }, 'the body is closed';
            cmp_ok notes($folder, 'closed'), '<=', $path =~ m{200/} && $method eq 'GET' ? 2 : 0, 'without a further call';
            is ask($client, '/pid')->content, $pid, 'the connection and the worker go on';
            is ask($client, "/handle/$path", $method)->status, $response->status, 'the same of a handle without an end';
            is ask($client, '/pid')->content, $pid, 'which ends as well';
        };
    }
    logged_times $server, qr/a response is longer than its Content-Length/, 1, "$where: what is too long is logged once a minute";
}

check 'a file that is longer than its Content-Length' => sub {
    my ($server, $folder) = start();
    my $client = $server->connect;
    is length ask($client, '/file/200/70000')->content, 70_000, 'is sent as far as that';
    like ask($client, '/pid')->content, qr/^\d+$/, 'the connection goes on';
    logged $server, qr/a response is longer than its Content-Length/, 'the log tells';
};

check 'a response that is refused' => sub {
    my ($server, $folder) = start();
    my $client = $server->connect;
    is ask($client, '/watch/200/five')->status, 500, 'its client gets a 500';
    ok soon { notes($folder, 'before') eq "0\n" }, 'and is still there';
    $client->close;
    ok soon { notes($folder, 'after') eq "1\n" }, 'until it leaves';
};

check 'an app that chunks its content itself' => sub {
    my ($server, $folder) = start();
    my $client = $server->connect;
    is ask($client, '/chunks/200')->content, 'hello', 'its response';
    ok soon { notes($folder, 'chunks') }, 'the app ends';
    is notes($folder, 'chunks'), "false\n", 'because write is false after its last chunk';
    like ask($client, '/pid')->content, qr/^\d+$/, 'the connection goes on';
};

check 'the connection goes on while the app is still in its call' => sub {
    my ($server, $folder) = start(start_servers => 2);
    for my $request (['HEAD', '200'], ['GET', '204'], ['GET', '200/5']) {
        unlink map {"$folder/$_"} qw(held released go);
        my $client = $server->connect;
        ask($client, "/hold/$request->[1]", $request->[0]);
        ok soon { notes($folder, 'held') }, "@$request: it is";
        my $response = ask($client, '/pid');
        like $response->content, qr/^\d+$/, 'the next request of that connection is answered';
        isnt $response->content, notes($folder, 'held') =~ s/\n//r, 'by another worker';
        open my $go, '>', "$folder/go" or die $!;
        ok soon { notes($folder, 'released') }, 'the app ends';
        like ask($client, '/pid')->content, qr/^\d+$/, 'the connection still goes on' for 1 .. 3;
    }
};

for my $workers (1, 0) {
    check 'a client that leaves behind its response, ' . ($workers ? 'a worker' : 'one process') => sub {
        my ($server, $folder) = start(start_servers => $workers);
        for my $request (['HEAD', '200'], ['GET', '304'], ['GET', '200/5']) {
            unlink "$folder/before", "$folder/after";
            my $client = $server->connect;
            ask($client, "/watch/$request->[1]", $request->[0]);
            ok soon { notes($folder, 'before') eq "0\n" }, "@$request: it is there at first";
            $client->close;
            ok soon { notes($folder, 'after') eq "1\n" }, 'it has left';
        }
        # Its next request waits meanwhile, for the same worker or none.
        unlink "$folder/before", "$folder/after";
        my $client = $server->connect;
        ask($client, '/watch/204');
        $client->send("GET /pid HTTP/1.1\r\nHost: x\r\n\r\n");
        ok soon { notes($folder, 'before') eq "0\n" }, 'one that has sent another request is there';
        $client->close;
        ok soon { notes($folder, 'after') eq "1\n" }, 'until it leaves';
    };
}

check 'request_timeout counts' => sub {
    my ($server, $folder) = start(request_timeout => 1);
    my $pid    = $server->get('/pid')->content;
    my $client = $server->connect;
    is ask($client, '/deaf/200', 'HEAD')->status, 200, 'an app that does not hear';
    my $next = ask($client, '/pid')->content;
    isnt $next, $pid, 'the next request of that connection gets another worker';
    logged $server, qr{request_timeout: HEAD /deaf/200}, 'because it was given up';
};

done_testing;
