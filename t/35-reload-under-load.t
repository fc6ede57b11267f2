# Reloads under load lose no request; script/reload-under-load does the same for longer.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Reloads;

gepok_only();

my $starter = grep { -x "$_/start_server" } split /:/, $ENV{PATH};

# hosts: by HUP virtual hosts come and go.
for my $kind ('HUP', 'hosts', $starter ? 'starter-TERM' : ()) {
    check $kind => sub {
        my $sum = Gepok::Test::Reloads::under_load(kind => $kind, seconds => 5, workers => 2, kept => 60, clients => 2, fresh => 1);
        is_deeply $sum->{lost}, [], 'no request is lost';
        cmp_ok $sum->{reloads},  '>=', 2,   'though there were reloads';
        cmp_ok $sum->{requests}, '>',  200, 'and many requests';
        is $sum->{retries}, 0, 'nor had one to be sent again' if $kind ne 'starter-TERM';
        note "$sum->{reloads} reloads, ", Gepok::Test::Reloads::text($sum);
    };
}

# Protects: a reload by HUP closes no connection of HTTP/2, and one by USR2 says which of its requests were not processed.
for my $kind ('HUP', 'USR2') {
    check "HTTP/2, $kind" => sub {
        my $sum = Gepok::Test::Reloads::under_load(kind => $kind, seconds => 5, workers => 2, kept => 8, clients => 2, http2 => 10);
        is_deeply $sum->{lost}, [], 'no request is lost';
        cmp_ok $sum->{reloads},  '>=', 2,   'though there were reloads';
        cmp_ok $sum->{requests}, '>',  200, 'and many requests';
        $kind eq 'HUP' ? is $sum->{goaways}, 0, 'without a GOAWAY' : cmp_ok $sum->{goaways}, '>=', 8, 'each connection has had its GOAWAY';
        note "$sum->{reloads} reloads, ", Gepok::Test::Reloads::text($sum);
    };
}

done_testing;
