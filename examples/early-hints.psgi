# Early hints (RFC 8297): the browser fetches the style sheet while the page is still being made.
#
#   plackup -s Gepok examples/early-hints.psgi
#   curl -v http://127.0.0.1:5000/
use strict;
use warnings;
use Time::HiRes qw(sleep);

my $style = "body { font-family: sans-serif; color: #264 }\n";
my $page  = <<'HTML';
<!DOCTYPE html>
<title>Early hints</title>
<link rel="stylesheet" href="/style.css">
<p>The style sheet was on its way before this page was made.</p>
HTML

sub {
    my $env = shift;
    if ($env->{PATH_INFO} eq '/style.css') {
        return [200, ['Content-Type' => 'text/css', 'Cache-Control' => 'max-age=60'], [$style]];
    }

    # Sent at once. Servers that know no informational responses have no such key.
    if (my $inform = $env->{'psgix.informational'}) {
        $inform->(103, [Link => '</style.css>; rel=preload; as=style']);
    }
    # Here a real application would ask its database.
    sleep 0.3;
    return [200, ['Content-Type' => 'text/html; charset=utf-8'], [$page]];
};
