# What an app of everyday life does, by Dancer2: a session that is read and written, a form's value, a template in a layout.
use strict;
use warnings;

package Shop;
use Dancer2;
use File::Basename qw(dirname);

set appdir       => dirname(__FILE__);
set views        => dirname(__FILE__) . '/views';
set layout       => 'main';
set template     => 'template_toolkit';
set session      => 'Simple';
set startup_info => 0;
set charset      => 'UTF-8';

my @wares = map { {number => $_, name => "Article $_", price => sprintf('%.2f', $_ * 3.35), stock => $_ % 4} } 1 .. 20;

hook before => sub { session visits => (session('visits') // 0) + 1 };

get '/' => sub { redirect '/wares' };

get '/wares' => sub {
    my $most = query_parameters->get('most') // 10;
    response_header Connection => 'close' if $ENV{BENCH_SAY_CLOSE};
    template wares => {
        title  => 'Wares',
        wares  => [grep { $_->{number} <= $most } @wares],
        basket => session('basket') // [],
        since  => session('since') // do { session since => time; time },
    };
};

post '/basket' => sub {
    session basket => [@{session('basket') // []}, body_parameters->get('number')];
    redirect '/wares';
};

Shop->to_app;
