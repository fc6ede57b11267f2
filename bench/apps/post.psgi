# Reads the content and tells its length; with ?sum, a sum of its bytes as well.
use strict;
use warnings;

my @close = $ENV{BENCH_SAY_CLOSE} ? (Connection => 'close') : ();

sub {
    my ($env) = @_;
    my $content = '';
    my $left = $env->{CONTENT_LENGTH} || 0;
    while ($left > 0) {
        my $read = $env->{'psgi.input'}->read($content, $left, length $content);
        last if !$read;
        $left -= $read;
    }
    my $body = length $content;
    $body .= ' ' . unpack '%32C*', $content if ($env->{QUERY_STRING} // '') eq 'sum';
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $body, @close], [$body]];
};
