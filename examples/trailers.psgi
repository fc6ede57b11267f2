# Trailers: fields that follow the content, for what is known only then, as its checksum. By HTTP/2, and by HTTP/1.1 for clients that
# take them.
#
#   gepok --h2c --http-ports 5000 examples/trailers.psgi
#   curl -v --http2-prior-knowledge http://127.0.0.1:5000/?lines=1000
#   curl -v -H 'TE: trailers' http://127.0.0.1:5000/?lines=1000
use strict;
use warnings;
use Digest::SHA;

sub {
    my $env = shift;
    my ($lines) = $env->{QUERY_STRING} =~ /^lines=(\d{1,6})$/;

    return sub {
        my $respond = shift;
        # A field Trailer names what is to come, so that a client can prepare for it.
        my $trailers = $env->{'psgix.trailers'};
        my $writer   = $respond->([200, ['Content-Type' => 'text/plain', $trailers ? (Trailer => 'X-Checksum') : ()]]);
        my $checksum = Digest::SHA->new(256);
        for my $number (1 .. $lines // 10) {
            my $line = "line $number\n";
            $checksum->add($line);
            $writer->write($line) or last;
        }
        $trailers->(['X-Checksum' => $checksum->hexdigest]) if $trailers;
        $writer->close;
    };
};
