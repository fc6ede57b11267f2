# The corpus of raw bytes: each case gets its answer and its fate, however its bytes are cut, and nothing of one request is
# read as another. What it says is in docs/http-conformance.md, which is made of it.
use strict;
use warnings;

use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;

use Gepok::Test;
use Gepok::Test::Corpus;

gepok_only();

my @files = Gepok::Test::Corpus::files(root() . '/t/http-corpus');
cmp_ok scalar(Gepok::Test::Corpus::cases(@files)), '>=', 300, 'the corpus is there';

is slurp(root() . '/docs/http-conformance.md'), Gepok::Test::Corpus::document(@files),
    'docs/http-conformance.md is made of it: script/http-corpus --write';

# Sends the cases to a fresh server and tells which deviate. Each is called as often as it was answered and no more: a
# request behind a closed one would show here, though its answer could not.
sub run {
    my ($what, $options, $pieces, @cases) = @_;
    my $server  = server(app => app_file('wire'), options => {start_servers => 1, max_requests_per_child => 0, %$options});
    my $connect = sub {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port) or die "cannot connect: $@";
        setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
        return $socket;
    };
    my @clients = Gepok::Test::Corpus::exchange($connect, $pieces, @cases);
    my ($deviations, $calls) = (0, 0);
    for my $client (@clients) {
        $calls += Gepok::Test::Corpus::calls($client);
        my $deviation = Gepok::Test::Corpus::deviation($client, !$pieces) // next;
        $deviations++;
        diag "$client->{case}{file}, $client->{case}{name}: $deviation";
    }
    is $deviations, 0, sprintf '%s: %d connections', $what, scalar @clients;
    is $server->get('/calls')->content, $calls, 'the app was called for nothing else';
    unlike $server->log, qr/ at \S+ line \d+|panick/, 'no warning came of them';
}

for my $file (@files) {
    check "$file->{name}" => sub {
        my @cases = Gepok::Test::Corpus::cases($file);
        run('sent at once', $file->{options}, undef, @cases);
        run('byte by byte', $file->{options}, sub { split //, $_[0] }, grep { length $_->{bytes} < 300 } @cases);
    };
}

# Two pieces, with every cut there is.
check 'pipelined requests cut at every byte' => sub {
    my @cut;
    for my $group (map { @{$_->{groups}} } @files) {
        next unless $group->{title} eq 'Pipelining';
        for my $case (@{$group->{cases}}) {
            my $length = length($case->{bytes}) + ($case->{fate} eq 'wait' ? 0 : length $Gepok::Test::Corpus::BEHIND);
            push @cut, map { {%$case, name => "$case->{name}, cut at $_"} } 1 .. $length - 1;
        }
    }
    cmp_ok scalar @cut, '>', 1000, 'cuts';
    while (my @some = splice @cut, 0, 400) {
        my @cuts = map { $_->{name} =~ /cut at (\d+)/ } @some;
        run('cut', {}, sub { my $cut = shift @cuts; (substr($_[0], 0, $cut), substr $_[0], $cut) }, @some);
    }
};

sub slurp {
    open my $in, '<', $_[0] or return '';
    local $/;
    return scalar <$in>;
}

done_testing;
