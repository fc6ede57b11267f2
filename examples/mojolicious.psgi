# A Mojolicious::Lite application in PSGI mode: counts a visitor's pages in a signed cookie.
#
#   plackup -s Gepok examples/mojolicious.psgi
use strict;
use warnings;
use Mojolicious::Lite;

app->secrets([$ENV{APP_SECRET} // 'change me']);
app->log->level('warn');

get '/' => sub {
    my $c = shift;
    $c->session(visits => ($c->session('visits') // 0) + 1);
    $c->render(template => 'index', visits => $c->session('visits'));
};

get '/greet/:name' => sub {
    my $c = shift;
    $c->render(json => {hello => $c->param('name')});
};

# Under a PSGI server this returns the application.
app->start;

__DATA__

@@ index.html.ep
<!DOCTYPE html>
<title>Visits</title>
<p>You have been here <%= $visits %> <%= $visits == 1 ? 'time' : 'times' %>.</p>
