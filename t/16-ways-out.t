# Perl's every way out of a request: what the client gets, and what the worker does next. The table is in
# t/lib/Gepok/Test/WaysOut.pm, what each row does in t/apps/ways-out.psgi. GEPOK_TEST_ROWS=PATTERN tries some rows only.
use strict;
use warnings;

BEGIN { $ENV{GEPOK_TEST_LIMIT} ||= 600 }

use POSIX ();
use Test::More;

use Gepok::Test;
use Gepok::Test::WaysOut;

gepok_only();

my $pattern = $ENV{GEPOK_TEST_ROWS} // '';
my @rows    = grep { $_->{name} =~ /^(?:$pattern)/ } Gepok::Test::WaysOut::rows();
my $folder  = scratch();
my $runs    = 0;

sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

{
    package Run;    # a server, its notes, and what was read of its log

    sub new { my ($class, %self) = @_; bless {%self}, $class }

    sub server {
        my $self = shift;
        return $self->{server} if $self->{server};
        $self->{notes} = "$folder/notes-" . ++$runs;
        $self->{log}   = 0;
        return $self->{server} = main::server(
            entry   => $self->{entry},
            app     => main::app_file('ways-out'),
            options => {start_servers => $self->{workers}, timeout => 60},
            env     => {GEPOK_TEST_NOTES => $self->{notes}},
        );
    }

    sub notes { my ($self, $pattern) = @_; return map {/$pattern/} split /\n/, main::slurp($self->{notes}) }

    sub log { my $self = shift; substr $self->server->log, $self->{log} }

    # What each worker says to a request that all of them get.
    sub together {
        my ($self, $path, $name) = @_;
        my $count   = $self->{workers} || 1;
        my $query   = "$name-" . ++$self->{round} . "=$count";
        my @clients = map { $self->server->connect } 1 .. $count;
        $_->send("GET $path?$query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") for @clients;
        return map { $_->response->content } @clients;
    }

    # The pids that serve, each of which has been seen to.
    sub meet {
        my ($self, $name) = @_;
        my %pids;
        for my $content ($self->together('/meet', $name)) {
            if ($content =~ /^\Q$name\E-\d+=\d+ (\d+) clean$/) { $pids{$1}++ }
            else                                              { Test::More::diag("$name: $content") }
        }
        return \%pids;
    }
}

# What a row needs from outside: (run, pid of the worker, connection).
my %outside = (
    'signal-idle'       => sub { kill USR1 => $_[1]; ran(@_, 'usr1') },
    'signal-idle-dies'  => sub { kill USR1 => $_[1]; ran(@_, 'usr1') },
    'signal-idle-exit'  => sub { kill USR1 => $_[1] },
    'signal-ignored'    => sub { kill USR1 => $_[1] for 1 .. 3 },
    'signal-idle-child' => sub {
        my $run = shift;
        ok soon { $run->notes(qr/^reaped/) }, 'the handler runs while nothing is asked of the worker';
        my ($pid) = $run->notes(qr/^awaited (\d+)/);
        my ($reaped) = $run->notes(qr/^(reaped .*)/);
        is $reaped, "reaped $pid 5", 'and gets the right child';
    },
    'alarm-late'      => sub { ran(@_, 'alarm') },
    'fork-returns'    => sub { ended_once(@_, 1) },
    'fork-exits'      => sub { ended_once(@_, 1) },
    'fork-dies'       => sub { ended_once(@_, 1) },
    'fork-_exits'     => sub { ended_once(@_, 0) },
    'fork-execs'      => sub { ended_once(@_, 0) },
    'fork-killed'     => sub { ended_once(@_, 0) },
    'fork-twice'      => sub { ended_once(@_, 2) },
    'fork-cleanup'    => sub { my $run = shift; soon { $run->notes(qr/^end \d+ 0/) } },
    'none-late'       => sub { $_[0]->together('/late', 'late') },
    'keep-env' => sub {
        my ($run) = @_;
        my $server = $run->server;
        $server->get("/way/keep-env?number-$_") for 1 .. 20;
        my %kept = map { $_ => 1 } map { split / / } $run->together('/kept', 'kept');
        is_deeply [sort keys %kept], [sort map {"number-$_"} 1 .. 20], 'each env that was kept is still its own';
    },
);

# What happens while the client waits.
my %meanwhile = (
    'keep-writer' => sub {
        my $run = shift;
        # Else it could overtake the request that is to keep one.
        soon { $run->notes(qr/^begin keep-writer /) };
        $run->together('/drop', 'drop');
    },
);

# Rows with a living child: the test must end it.
$outside{"fork-lives$_"} = sub {
    my $run = shift;
    # The last such child was killed.
    my $pid = soon { my ($child) = reverse $run->notes(qr/^child (\d+)/); $child && alive($child) && $child };
    ok $pid, 'the child lives';
    $run->{child} = $pid;
} for '', '-exit', '-_exit';

# A note by that pid, before any further request.
sub ran {
    my ($run, $pid, undef, $word) = @_;
    ok soon { $run->notes(qr/^$word $pid$/) }, 'the handler runs while nothing is asked of the worker';
}

# END blocks ran in so many children, and not in the worker.
sub ended_once {
    my ($run, $pid, undef, $count) = @_;
    my @ended = $run->notes(qr/^end (\d+)/);
    is scalar(grep { $_ != $pid } @ended) - ($run->{ended} // 0), $count, "END blocks ran in $count children";
    is scalar(grep { $_ == $pid } @ended), 0, 'and not in the worker';
}

# What the client gets, and whether its connection can be used further.
sub client_gets {
    my ($row, $client, $alone) = @_;
    if ($row->{status} eq 'cut') {
        my $content = '';
        my $head    = $client->head;
        is $head->status, 200, 'the head arrives';
        my $more = eval {
            while (length(my $chunk = $client->chunk)) { $content .= $chunk }
            1;
        };
        is $content, $row->{content}, 'and what was written';
        ok !$more, 'but no clean end';
        return 0;
    }
    if ($row->{status} == 502 && $alone) {
        ok $client->closed, 'the connection ends';
        return 0;
    }
    my $response = $client->response;
    my ($status, $content) = @$row{qw(status content)};
    is $response->status,  $status,  'status';
    is $response->content, $content, 'content' if $status < 400;
    for my $letter ('a' .. 'e') {
        my $value = $response->field("X-$letter") // next;
        is $value, $letter x 50, "X-$letter is as it was when the head was read" if $row->{section} =~ /^Values/;
    }
    unlike $response->content, qr/died|line \d+|\.psgi/, 'nothing of the inside is told' if $status == 500;
    return !$response->closes;
}

sub try_row {
    my ($run, $row) = @_;
    my $alone  = !$run->{workers};
    my $server = $run->server;
    my $leaves = $row->{worker} ne 'serves';
    $run->{log}   = length $server->log;
    $run->{ended} = () = $run->notes(qr/^end /);
    my $client = $server->connect;
    $client->send("GET /way/$row->{name} HTTP/1.1\r\nHost: x\r\n\r\n");
    $meanwhile{$row->{name}}->($run) if $meanwhile{$row->{name}};
    my $usable = client_gets($row, $client, $alone);
    my ($pid) = reverse $run->notes(qr/^begin \Q$row->{name}\E (\d+)$/);
    ok $pid, 'the app was called' or return;
    if (my $check = $outside{$row->{name}}) { $check->($run, $pid, $client) }

    if ($leaves) {
        my $status = leaves($run, $row, $pid);
        return $run->{server} = undef if $alone;
    }
    if ($usable) {
        # Were there two responses, this would be the second.
        $client->send("GET /next?$row->{name} HTTP/1.1\r\nHost: x\r\n\r\n");
        like $client->response->content, qr/^\Q$row->{name}\E \d+ clean$/, 'the connection serves the next request';
    }
    my $pids = $run->meet($row->{name});
    is keys %$pids, $run->{workers} || 1, 'all workers serve';
    ok !$leaves == !!$pids->{$pid}, $leaves ? 'the worker was replaced' : 'the same worker serves on';
    kill KILL => delete $run->{child} if $run->{child};
    logged $run, qr/$row->{log}/, 'the log tells' or diag $run->log if defined $row->{log};
}

# The end of a process: its END blocks, and its status where that can be seen.
sub leaves {
    my ($run, $row, $pid) = @_;
    my $alone = !$run->{workers};
    my ($how, $number) = $row->{worker} =~ /^(leaves|gone|gone by) (\w+)$/ or die "what is '$row->{worker}'?";
    if ($alone) {
        my $status = $run->server->wait_exit(20 * ($ENV{GEPOK_TEST_SLOW} // 1));
        my $wanted = $how eq 'gone by' ? do { no strict 'refs'; &{"POSIX::SIG$number"}() } : $number << 8;
        is $status, $wanted, 'the process ends with this status' or diag $run->log;
    }
    else {
        ok soon { !alive($pid) }, 'the worker goes';
    }
    is_deeply [$run->notes(qr/^end $pid (\d+)$/)], $how eq 'leaves' ? [$number] : [], 'END blocks run ' .
        ($how eq 'leaves' ? "once, with \$? = $number" : 'not at all');
    kill KILL => delete $run->{child} if $alone && $run->{child};
}

for my $entry (split / /, $ENV{GEPOK_TEST_ENTRIES} // 'plackup bin') {
    for my $workers (split / /, $ENV{GEPOK_TEST_WORKERS} // '2 0') {
        my $run = Run->new(entry => $entry, workers => $workers);
        for my $row (@rows) {
            next if $row->{workers} && !$workers;
            check "$entry, start_servers=$workers: $row->{name} ($row->{does})" => sub {
                return if eval { try_row($run, $row); 1 };
                my $error = $@;
                fail 'it went on to its end';
                diag $error, $run->{server} ? $run->log : ();
                kill KILL => delete $run->{child} if $run->{child};
                $run->{server} = undef;
            };
        }
        next if !$run->{server};
        is $run->server->stop, 0, "$entry, start_servers=$workers: the end is clean after all that";
        # The master and the one process alone run END blocks at their end as well; a child of the app never does it twice.
        my %ends;
        $ends{$_}++ for $run->notes(qr/^end (\d+)/);
        is_deeply [grep { $ends{$_} > 1 } keys %ends], [], 'END blocks have run once in each process at most';
    }
}

is slurp(root() . '/docs/ways-out.md'), Gepok::Test::WaysOut::markdown(), 'docs/ways-out.md shows this table'
    unless length $pattern;

done_testing;
