package Gepok::Test::Site;

# A server that goes by a configuration file with virtual hosts.
#
#   my $site = Gepok::Test::Site->new("$folder", $text, '-e', $app);   # the file is $folder/site.toml
#   $site->get('/path', 'host.example')->status;
#   my ($status, $output) = $site->reload($other_text);

use strict;
use warnings;

use POSIX ();
use Gepok::Test;
use Gepok::Test::Connection;

sub spew { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }

sub command { root() . '/blib/script/gepok' }

sub new {
    my ($class, $dir, $text, @arguments) = @_;
    my $port = free_port();
    my $self = bless {owner => $$, dir => $dir, port => $port, head => "http_ports = ['127.0.0.1:$port']\npid_path = '$dir/pid'\n"}, $class;
    $self->write($text);
    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        chdir $dir or POSIX::_exit(1);
        open STDOUT, '>>', "$dir/log" or die $!;
        open STDERR, '>&', \*STDOUT;
        exec command(), '-c', 'site.toml', @arguments or POSIX::_exit(1);
    }
    soon { eval { $self->get('/', 'nobody'); 1 } } or die "it does not start:\n" . $self->log;
    return $self;
}

# The file, below what this server was started with.
sub write { my ($self, $text) = @_; spew("$self->{dir}/site.toml", $self->{head} . $text); return }

sub read {
    my ($self, $name) = @_;
    open my $file, '<', "$self->{dir}/$name" or return '';
    local $/;
    return scalar(<$file>) // '';
}

sub log { $_[0]->read('log') }

# A connection that is left open.
sub open_get {
    my ($self, $target, $host) = @_;
    my $client = Gepok::Test::Connection->new(port => $self->{port});
    $client->send("GET $target HTTP/1.1\r\nHost: $host\r\n\r\n");
    return $client;
}

sub get {
    my ($self, $target, $host, $method, $more) = @_;
    my $client = Gepok::Test::Connection->new(port => $self->{port});
    $client->send(($method // 'GET') . " $target HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n" . ($more // "\r\n"));
    return $client->response($method // 'GET');
}

# The exit status and the output of `gepok reload`.
sub reload {
    my ($self, $text) = @_;
    $self->write($text);
    my ($status, $output) = run_command([command(), 'reload', '-c', "$self->{dir}/site.toml"]);
    return ($status >> 8, $output);
}

sub stop {
    my ($self, $signal) = @_;
    my $pid = delete $self->{pid} or return;
    local ($?, $!);
    kill $signal // 'TERM' => $pid;
    waitpid $pid, 0;
    return;
}

sub DESTROY { my $self = shift; $self->stop('INT') if $self->{owner} == $$; return }

1;
