# A Dancer2 application: a guest book of one process's memory (`--start-servers 0`: one process serves all).
#
#   plackup -s Gepok --start-servers 0 examples/dancer2.psgi
#   curl -d text=Hello http://127.0.0.1:5000/entries
use strict;
use warnings;

package GuestBook;
use Dancer2;

set startup_info => 0;

my @entries;

get '/' => sub { send_as JSON => {service => 'guest book', entries => scalar @entries} };

get '/entries' => sub { send_as JSON => \@entries };

post '/entries' => sub {
    my $text = body_parameters->get('text') // '';
    if ($text !~ /\S/) {
        status 400;
        send_as JSON => {error => 'text is missing'};
    }
    push @entries, {number => 1 + @entries, text => $text};
    status 201;
    send_as JSON => $entries[-1];
};

GuestBook->to_app;
