# The documented class: attributes in, a served app out. All the work is in the shared object.
package Gepok;

use strict;
use warnings;

use Carp         ();
use Scalar::Util ();
use overload     ();

use Gepok::Start ();

our $VERSION = '0.300';

# For relative paths, and for a restart by signal.
my @STARTED = Gepok::Start::command();

# Made of the option table, as Gepok::Options is.
my @ATTRIBUTES = qw(
    http_ports
    unix_sockets
    unix_socket_mode
    unix_socket_owner
    unix_socket_group
    host
    port
    listen
    socket
    backlog
    ipv6_only
    defer_accept
    listen_sock
    default_port
    server_ready
    https_ports
    ssl
    ssl_cert_file
    ssl_key_file
    ssl_self_signed
    ssl_handshake_timeout
    ssl_verify_mode
    ssl_ca_file
    ssl_ca_path
    ssl_crl_file
    ssl_verify_callback
    documents
    directory
    index_file
    directory_list
    symlinks
    hidden
    fallback
    cache_control
    mime_types
    charset
    file_ranges
    sendfile_root
    internal
    compress
    compress_types
    compress_min_length
    vhosts
    start_servers
    max_workers
    loop
    worker_requests
    max_requests_per_child
    graceful_timeout
    spawn_interval
    err_respawn_interval
    check_path
    reload_on_hup
    max_clients
    min_spare_servers
    max_spare_servers
    idle_worker_timeout
    min_reqs_per_child
    max_worker_age
    max_worker_rss
    request_timeout
    child_exit
    status_path
    metrics_path
    status_allow
    daemonize
    pid_path
    scoreboard_path
    chdir
    umask
    require_root
    user
    group
    proctitle
    trusted_proxies
    forwarded_header
    forwarded_proto
    forwarded_host
    proxy_protocol
    timeout
    header_timeout
    keepalive
    keepalive_timeout
    max_keepalive_reqs
    http2
    h2c
    http2_max_streams
    psgix_io
    ssl_env
    max_content
    max_target_size
    max_header_size
    max_headers
    min_content_rate
    min_response_rate
    max_connections
    max_connections_per_address
    max_queue
    queue_timeout
    spool_dir
    max_spool
    bare_lf
    te_cl
    underscores_in_headers
    require_host
    target_fragment
    worker_no_new_privs
    dumpable
    access_log_path
    access_log_format
    error_log_path
    log_level
    default_logs
    name
    product_name
    product_version
);

for my $name (@ATTRIBUTES) {
    no strict 'refs';
    *$name = sub {
        my $self = shift;
        $self->{$name} = shift if @_;
        return $self->{$name};
    };
}

sub new {
    my $class = shift;
    my %attrs = @_ == 1 && ref $_[0] eq 'HASH' ? %{ $_[0] } : @_;
    $attrs{_handed_in} ||= Gepok::Start::sockets();
    return bless \%attrs, $class;
}

# Nothing is loaded before this point, so that a program may make the object and fork.
sub run {
    my ($self, $app) = @_;
    require Gepok::Loader;
    my ($pairs, $hooks) = $self->_flatten;
    # Where each virtual host has an app of its own, none is needed.
    if (defined $app || !$self->{vhosts}) {
        $hooks->{app} = Gepok::Loader::callable($app)
            or Carp::croak('run needs a PSGI app: a code reference, or an object with to_app');
    }
    $hooks->{handler} = $self;
    # The server may change its folder.
    Gepok::Loader::absolute_inc();
    _load();
    my $copies = $self->{_handed_in} || {};
    _serve([
        @$pairs,
        (map { ('.started' => $_) } @STARTED),
        (map { ('.copy' => "$_=" . fileno $copies->{$_}) } sort keys %$copies),
    ], $hooks);
    return;
}

sub start {
    my ($self, $app) = @_;
    return $self->run($app);
}

sub is_running {
    my ($self) = @_;
    return $self->_command('status');
}

sub stop {
    my ($self) = @_;
    return $self->_command('stop');
}

sub restart {
    my ($self, $app) = @_;
    return $self->_command('restart') if !defined $app;
    $self->stop;
    return $self->run($app);
}

# The hosts of the attribute `vhosts`. Each method gives the host, as the hash that was given.
sub add_virtual_host {
    my $self = shift;
    my $host = @_ == 1 && ref $_[0] eq 'HASH' ? $_[0] : {@_};
    require Gepok::Sites;
    Carp::croak('add_virtual_host needs a name') unless defined $host->{name} && length $host->{name};
    for my $name ($host->{name}, map { ref eq 'ARRAY' ? @$_ : $_ } grep {defined} $host->{aliases}) {
        Carp::croak("add_virtual_host: there is a virtual host '$name' already") if $self->virtual_host($name);
    }
    $self->{vhosts} = [Gepok::Sites::hosts($self->{vhosts}), $host];
    return $host;
}

sub remove_virtual_host {
    my ($self, $name) = @_;
    require Gepok::Sites;
    my @hosts = Gepok::Sites::hosts($self->{vhosts});
    my $at = Gepok::Sites::find($name, @hosts);
    return unless defined $at;
    my ($host) = splice @hosts, $at, 1;
    $self->{vhosts} = @hosts ? \@hosts : undef;
    return $host;
}

sub virtual_host {
    my ($self, $name) = @_;
    require Gepok::Sites;
    my @hosts = Gepok::Sites::hosts($self->{vhosts});
    my $at = Gepok::Sites::find($name, @hosts);
    return defined $at ? $hosts[$at] : undef;
}

# For subclasses: called with the object, in the master, before workers are forked.
sub before_prefork { }

# For subclasses that have their own: called in the worker after each response. This one writes what the core would.
sub access_log {
    my ($self, $request, $response, $socket) = @_;
    require Gepok::AccessLog;
    my $handle = Gepok::AccessLog::handle($self) or return;
    print {$handle} Gepok::AccessLog::line($request, $response, $socket);
    return;
}

# The pid of the server that did it, or 0 where none runs.
sub _command {
    my ($self, $command) = @_;
    my ($pairs) = $self->_flatten;
    _load();
    return _control($command, $pairs);
}

sub _load {
    return if defined &_serve;
    require XSLoader;
    XSLoader::load('Gepok', $VERSION);
    return;
}

# The attributes as a flat list of names and byte strings; code references are named there and kept apart.
sub _flatten {
    my ($self) = @_;
    my %attrs = $self->_attributes;
    my %hooks;
    $hooks{builder} = delete $attrs{psgi_app_builder} if $attrs{psgi_app_builder};
    if (my $ready = $attrs{server_ready}) {
        $attrs{server_ready} = $self->_ready($ready) if ref $ready eq 'CODE';
    }
    $hooks{before_prefork} = sub { $self->before_prefork } if $self->can('before_prefork') != \&before_prefork;
    $attrs{name} = _program() unless defined $attrs{name};
    if ($self->can('access_log') != \&access_log) {
        require Gepok::AccessLog;
        $hooks{access_log} = Gepok::AccessLog::hook($self, $attrs{access_log_path}, $STARTED[1]);
    }
    $attrs{default_logs} = 1 unless defined $attrs{default_logs};
    # Plack::Runner sets it, and has an access log of its own.
    $attrs{access_log_path} = '' if defined $ENV{PLACK_ENV} && !grep { defined $attrs{$_} } qw(access_log_path access_log);
    $attrs{product_name} = ref $self unless defined $attrs{product_name};
    $attrs{daemonize} = 1 unless defined $attrs{daemonize};

    my @pairs;
    for my $name (sort keys %attrs) {
        my $values = $attrs{$name};
        if ($name eq 'vhosts' && ref $values) {
            require Gepok::Sites;
            ($values, my $apps) = Gepok::Sites::toml($values);
            $hooks{"app:$_"} = $apps->{$_} for keys %$apps;
        }
        # Certificates and keys by host name.
        if (ref $values eq 'HASH' && $name =~ /\Assl_(?:cert|key)(?:_file)?\z/) {
            $values = [map {"$_=$values->{$_}"} sort keys %$values];
        }
        for my $value (ref $values eq 'ARRAY' ? @$values : $values) {
            next unless defined $value;
            if (ref $value eq 'CODE') {
                $hooks{$name} = $value;
                push @pairs, $name, 'CODE';
            }
            else {
                push @pairs, $name, _text($name, $value);
            }
        }
    }
    return (\@pairs, \%hooks);
}

# What was given; in a subclass also what its methods of an attribute's name return. A subclass keeps what is its own
# under names that begin with an underscore, or that it has methods for, as Moo's `has` makes them.
sub _attributes {
    my ($self) = @_;
    my %attrs = map { $_ => $self->{$_} } grep { !/\A_/ } keys %$self;
    return %attrs if ref $self eq __PACKAGE__;

    my %known = map { $_ => 1 } @ATTRIBUTES;
    for my $name (keys %known) {
        $attrs{$name} = $self->$name if $self->can($name) != __PACKAGE__->can($name);
    }
    for my $name (grep { !$known{$_} } keys %attrs) {
        my $own = $self->can($name);
        delete $attrs{$name} if $own && $own != (__PACKAGE__->can($name) || 0);
    }
    return %attrs;
}

sub _text {
    my ($name, $value) = @_;
    if (ref $value && !overload::Method($value, '""')) {
        my $handle = Scalar::Util::openhandle($value);
        my $fd = defined $handle ? fileno $handle : undef;
        Carp::croak("option '$name' can't be a reference to " . ref $value) unless defined $fd && $fd >= 0;
        return $fd;
    }
    my $text = "$value";
    utf8::encode($text) if utf8::is_utf8($text);
    return $text;
}

# Plack's protocol wants one argument with these keys; the shared object gives plain values.
sub _ready {
    my ($self, $ready) = @_;
    my $software = defined $self->{product_name} && length $self->{product_name} ? $self->{product_name} : ref $self;
    return sub {
        my ($host, $port, $proto, @places) = @_;
        $host = 0 if !defined $host || $host eq '0.0.0.0';
        # The line of plackup has room for one address, and none for a path.
        if ($self->{_by_plackup} && (@places > 1 || grep {/\Aunix:/} @places)) {
            print STDERR "$software: Accepting connections at $_\n" for @places;
            return;
        }
        return $ready->({ host => $host, port => $port, proto => $proto, server_software => $software });
    };
}

sub _program {
    my ($name) = $0 =~ m{([^/]+)/*\z};
    return defined $name && $name !~ /\A-/ ? $name : 'gepok';
}

1;

__END__

=encoding UTF-8

=head1 NAME

Gepok - PSGI server: a network core in Rust in front of forked Perl workers

=head1 SYNOPSIS

  plackup -s Gepok --http-ports :8081,:8082 --max-workers 10 app.psgi

or

  use Gepok;

  my $gepok = Gepok->new(
      http_ports    => [8081, '127.0.0.1:8082', '[::1]:8083'],
      unix_sockets  => ['/run/myapp.sock'],
      start_servers => 5,
      daemonize     => 0,               # 1 is the default
  );
  $gepok->run($app);

or, without any Perl code but the app,

  gepok --http-ports :8081 app.psgi

=head1 DESCRIPTION

Gepok serves any L<PSGI> application over HTTP/1.1 and HTTP/1.0.

A master process binds the sockets and looks after the others. One core process holds every connection of a client;
no Perl runs in it, so that slow and idle clients occupy no worker. The workers are forked perls. Each takes a request
when it has been received completely, calls the app and hands the response back to the core.

All attributes are told in L<Gepok::Options>. At least one of C<http_ports>, C<unix_sockets>, C<port>, C<listen>,
C<socket> and C<listen_sock> must be given.

=head1 METHODS

=head2 new(%attributes)

Makes the object. Nothing is bound, forked or checked yet. A name that is not known is a warning when the server runs,
except that names beginning with an underscore are left to subclasses.

=head2 run($app)

Serves the app: a code reference, or an object that has C<to_app> or can be called. Where each virtual host has its own, none is needed. Dies when an attribute is wrong or a
socket can't be bound. Returns after a graceful stop (signal TERM or QUIT).

By default the server leaves the terminal (C<daemonize>): the calling process exits with status 0 when everything listens,
with another one if that fails, and C<run> returns in the process that served. Everything that was opened before is open there
too. With C<< daemonize => 0 >> it serves, and returns, in the calling process.

=head2 start($app)

The same as C<run>.

=head2 is_running

The pid of the server that holds this object's pid file, or 0. It need not have been started by this object or process: only
C<pid_path>, or C<name> where that is the default, must be the same.

=head2 stop

Ends that server, gracefully if it can, and returns when its process has gone: its pid, or 0 where none was running. Dies when
the server is another user's.

=head2 restart, restart($app)

With an app, C<stop> and then C<run>. Without one the server that runs begins anew in place, by signal USR2.

=head2 add_virtual_host(%keys)

Adds a host to the attribute C<vhosts>: its C<name>, and the other keys that F<docs/sites.md> describes, such as C<app>. Returns the hash. Dies where a name is taken.
This and the next two are for the time before C<run>: later calls take effect at the next C<run>.

=head2 virtual_host($name)

The hash of the host that has this name or alias, or C<undef>.

=head2 remove_virtual_host($name)

Removes the host that has this name or alias, and returns its hash, or nothing if there is none.

=head2 before_prefork

For subclasses: called with the object, in the master, when everything listens and root's rights are given up, before the first
worker is forked. What is loaded here is shared by the workers. If it dies, the server does not start.

=head2 access_log($request, $response, $socket)

For subclasses: where a class has a method of this name, it is called in the worker behind each response, with an
L<HTTP::Request> (without content), the PSGI response and the object of C<gepok.socket>, and the core writes no access log.
Gepok's own writes a line in the combined format to C<access_log_path>, for subclasses that call it by C<SUPER>.

=head2 Attributes

Each attribute has a method of its name that returns what was given, and sets it when called with a value.
It takes effect with the next C<run>.

Gepok can be a base class:

  package My::Server;
  use parent 'Gepok';

  sub before_prefork {
      my ($self) = @_;
      require My::Heavy::Module;
  }

  My::Server->new(http_ports => 8081)->run($app);     # Server: My::Server/VERSION OF GEPOK

So it can by C<extends 'Gepok'> of L<Moo>. Attributes of a subclass's own are no options of Gepok where it has a method of their
name, and a method of an attribute's name in the subclass tells that attribute.

=head1 ENVIRONMENT OF A REQUEST

Besides what L<PSGI> requires and L<PSGI::Extensions> describes, the app finds:

=over

=item gepok

1

=item gepok.connect_time

When the connection was accepted: seconds and microseconds since the epoch, as L<Time::HiRes/gettimeofday> gives them.

=item gepok.start_request_time

When the first byte of the request arrived.

=item gepok.finish_request_time

When the request had been received completely.

=item psgix.logger

A code reference that takes C<< { level => $level, message => $text } >> and writes a line with time, process and level to
standard error, unless the level is below C<log_level>.

=item gepok.vhost

The C<name> of the virtual host, which is C<SERVER_NAME> as well. Absent without virtual hosts.

=item gepok.client_protocol

The protocol of the request, as C<HTTP/1.1>.

=item gepok.socket

An object that tells about the client's connection: C<peerhost>, C<peerport>, C<sockhost>, C<sockport>; on a Unix socket
C<peercred> (process, user and group id of the client) and C<hostpath>. L<Gepok::Socket> has the rest.

=item gepok.httpd_socket

The same of the listening socket. Its C<peercred> is that of the client, too.

=item gepok.unix_socket

True if the request came by a Unix socket.

=item gepok.proxy_addr

The address of the proxy that has told of the client, or C<unix:>; only with C<trusted_proxies> or the PROXY protocol. F<docs/proxies.md>
says what other keys are then.

=item gepok.forwarded_for

The field C<forwarded_header> as it came from a trusted proxy.

=item psgix.proxy_tlvs

The values of a PROXY header of version 2: a hash from the numbers of types to bytes. Absent if there are none.

=back

Under C<perl -T> whatever the client has sent is tainted: the fields, the request line and what is made of it, and what is read
from C<psgi.input>. (plackup can't be run with C<-T>, but a program that makes an object of this class can.)

=head1 SIGNALS OF THE APP

TERM, INT, QUIT and HUP have handlers of Gepok's in a worker. SIGPIPE has one that does nothing, unless the app has set its own:
a write to a program that has ended, or to a client that has left, fails with EPIPE. Programs that the app starts get the
default.

=head1 SEE ALSO

L<Gepok::Options>, L<Plack::Handler::Gepok>, L<PSGI>

=head1 LICENSE

The same terms as Perl 5 itself: the Artistic License 1.0 or the GNU General Public License, version 1 or later.

=cut
