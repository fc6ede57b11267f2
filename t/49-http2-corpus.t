# The corpus of frames: each case gets what RFC 9113 says, from a client that is not the library of the server. What it says is in
# docs/http2-conformance.md, which is made of it.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Http2Corpus;

gepok_only();

my @files = Gepok::Test::Http2Corpus::files();
cmp_ok scalar(Gepok::Test::Http2Corpus::cases(@files)), '>=', 200, 'the corpus is there';

my $page = do { local (@ARGV, $/) = root() . '/docs/http2-conformance.md'; <> };
is $page, Gepok::Test::Http2Corpus::document(@files), 'docs/http2-conformance.md is made of it: script/http2-corpus --write';

# Each request is one call of the app and no more: one that was refused and still served would show here.
for my $file (@files) {
    check "$file->{name}" => sub {
        my ($server, $seen) = Gepok::Test::Http2Corpus::run($file);
        diag "$file->{name}, $_->{name}: $_->{why}" for @{$seen->{deviations}};
        is @{$seen->{deviations}}, 0, "$seen->{cases} connections";
        unlike $server->log, qr/ at \S+ line \d+|panick/, 'no warning came of them';
    };
}

done_testing;
