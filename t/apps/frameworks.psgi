# One application of each framework, and one stack of each middleware, under a path of its own.
use strict;
use warnings;
use File::Basename qw(dirname);
use Cwd qw(abs_path);
use Plack::Builder;

my $HERE = dirname(abs_path(__FILE__));

package Counter {
    use Dancer2;
    set session      => 'Simple';
    set startup_info => 0;
    set logger       => 'console';
    set log          => 'error';
    get '/'          => sub {'Dancer2 says hello'};
    get '/name/:n'   => sub { 'Hello ' . route_parameters->get('n') };
    post '/form'     => sub { my $p = body_parameters; join ",", map { "$_=" . $p->get($_) } sort { $a cmp $b } $p->keys };
    post '/upload'   => sub { my $u = upload('file'); $u->filename . ' ' . length $u->content };
    get '/json'      => sub { send_as JSON => {answer => 42, text => "\x{263a}"} };
    get '/go'        => sub { redirect '/name/redirected' };
    get '/stream'    => sub {
        delayed { flush; content 'streamed '; content 'by Dancer2'; done };
    };
    get '/file'      => sub { send_file("$HERE/files/a file.txt", system_path => 1, content_type => 'text/plain') };
    get '/die'       => sub { die 'on purpose' };
}

package Cat::Controller::Root {
    use Moose;
    BEGIN { extends 'Catalyst::Controller' }
    __PACKAGE__->config(namespace => '');
    sub index : Path Args(0) { $_[1]->response->body('Catalyst says hello') }
    sub echo : Local { my ($self, $c, $word) = @_; $c->res->body("echo $word " . ($c->req->params->{q} // '')) }
    sub form : Local { my ($self, $c) = @_; $c->res->body(join ',', map { "$_=" . $c->req->body_params->{$_} } sort keys %{$c->req->body_params}) }
    sub upload : Local { my ($self, $c) = @_; my $u = $c->req->upload('file'); $c->res->body($u->filename . ' ' . $u->size) }
    sub stream : Local { my ($self, $c) = @_; $c->res->write('streamed '); $c->res->write('by Catalyst') }
    sub handle : Local {
        my ($self, $c) = @_;
        open my $file, '<', "$HERE/files/a file.txt" or die $!;
        $c->res->content_type('text/plain');
        $c->res->body($file);
    }
    sub lost : Local { $_[1]->res->status(404); $_[1]->res->body('lost') }
    sub default : Path { $_[1]->res->status(404); $_[1]->res->body('not found') }
}

package Cat {
    use Moose;
    use Catalyst;
    extends 'Catalyst';
    $INC{'Cat.pm'} = $INC{'Cat/Controller/Root.pm'} = __FILE__;
    __PACKAGE__->config(name => 'Cat', home => $HERE, disable_component_resolution_regex_fallback => 1);
    __PACKAGE__->log(Catalyst::Log->new('error', 'fatal'));
    __PACKAGE__->setup;
}

my $mojo = do {
    package Mojo::Under::Test;
    require Mojolicious;
    my $app = Mojolicious->new(mode => 'production');
    $app->log->level('error');
    $app->secrets(['for tests only']);
    my $routes = $app->routes;
    $routes->get('/' => sub { $_[0]->render(text => 'Mojolicious says hello') });
    $routes->get('/echo/:word' => sub { $_[0]->render(text => 'echo ' . $_[0]->param('word')) });
    $routes->post('/form' => sub { my $c = shift; $c->render(text => join ',', map { "$_=" . $c->param($_) } @{$c->req->body_params->names}) });
    $routes->post('/upload' => sub { my $c = shift; my $u = $c->req->upload('file'); $c->render(text => $u->filename . ' ' . $u->size) });
    $routes->get('/count' => sub { my $c = shift; $c->session(n => ($c->session('n') // 0) + 1); $c->render(text => $c->session('n')) });
    $routes->get('/stream' => sub {
        my $c = shift;
        $c->res->headers->content_type('text/plain');
        $c->write_chunk('streamed ' => sub { $_[0]->write_chunk('by Mojolicious' => sub { $_[0]->finish }) });
    });
    require Mojo::Server::PSGI;
    my $server = Mojo::Server::PSGI->new;
    $server->app($app);
    $server->to_psgi_app;
};

my $hello = sub { [200, ['Content-Type' => 'text/plain'], ['plain hello']] };

builder {
    enable 'Lint';
    mount '/dancer'   => Counter->to_app;
    mount '/catalyst' => Cat->psgi_app;
    mount '/mojo'     => $mojo;
    mount '/emulated' => do {
        require CGI::Emulate::PSGI;
        CGI::Emulate::PSGI->handler(sub {
            # What a CGI script does with its file descriptors and %ENV, run inside the server's process.
            my $content = do { local $/; <STDIN> };
            print "Status: 201 Created\r\nContent-Type: text/plain\r\n\r\n";
            print "emulated $ENV{REQUEST_METHOD} $ENV{PATH_INFO} $content";
        });
    };
    mount '/wrapped' => do {
        require Plack::App::WrapCGI;
        Plack::App::WrapCGI->new(script => "$HERE/cgi/hello.cgi", execute => 1)->to_app;
    };
    mount '/compiled' => do {
        require Plack::App::WrapCGI;
        Plack::App::WrapCGI->new(script => "$HERE/cgi/hello.cgi")->to_app;
    };
    mount '/files' => do {
        require Plack::App::Directory;
        Plack::App::Directory->new(root => "$HERE/files")->to_app;
    };
    mount '/session' => builder {
        enable 'Session::Cookie', secret => 'for tests only';
        sub { my $n = ++$_[0]{'psgix.session'}{n}; [200, ['Content-Type' => 'text/plain'], [$n]] };
    };
    mount '/deflated' => builder {
        enable 'Deflater', content_type => ['text/plain'], vary_user_agent => 0;
        sub { [200, ['Content-Type' => 'text/plain'], [('compress me ') x 1000]] };
    };
    mount '/proxied' => builder {
        enable 'ReverseProxy';
        sub { my $e = shift; [200, ['Content-Type' => 'text/plain'], [join ' ', @$e{qw(REMOTE_ADDR psgi.url_scheme HTTP_HOST)}]] };
    };
    mount '/debug' => builder {
        enable 'Debug', panels => [qw(Environment Response Timer Memory)];
        sub { [200, ['Content-Type' => 'text/html'], ['<html><body>debugged</body></html>']] };
    };
    mount '/static' => builder {
        enable 'Static', path => sub {s{^/s/}{}}, root => "$HERE/files";
        $hello;
    };
    mount '/others' => builder {
        enable 'ContentLength';
        enable 'Runtime';
        enable 'ConditionalGET';
        enable 'Head';
        enable 'AccessLog', logger => sub { };
        sub { [200, ['Content-Type' => 'text/plain', ETag => '"tag"'], ['other hello']] };
    };
    mount '/' => $hello;
};
