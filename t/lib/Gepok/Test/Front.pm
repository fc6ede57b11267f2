package Gepok::Test::Front;

# A program that stands in front of Gepok, run for a test: HAProxy, Varnish, Caddy, or nginx with a configuration of its own.
#
#   my $front = Gepok::Test::Front->start(port => $port, folder => $folder, command => [...], config => $text);

use strict;
use warnings;

use POSIX ();

use Gepok::Test;
use Gepok::Test::Connection;

# Where a program is; undef where it is missing.
sub program {
    my ($name) = @_;
    return (grep { -x } map {"$_/$name"} split(/:/, $ENV{PATH}), '/usr/sbin')[0];
}

# Starts `command` in `folder`, where `config` is in a file of that name. Returns the process when it listens on `port`, or nothing.
sub start {
    my ($class, %how) = @_;
    my $folder = $how{folder};
    open my $config, '>', "$folder/config" or die "$folder/config: $!";
    print {$config} $how{config};
    close $config or die "$folder/config: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp;
        chdir $folder or POSIX::_exit(126);
        $SIG{$_} = 'DEFAULT' for qw(PIPE ALRM);
        @ENV{qw(HOME XDG_DATA_HOME XDG_CONFIG_HOME)} = ("$folder") x 3;
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', "$folder/output";
        open STDERR, '>&', \*STDOUT;
        no warnings 'exec';
        exec {$how{command}[0]} @{$how{command}} or POSIX::_exit(127);
    }
    my $self = bless {pid => $pid, folder => $folder}, $class;
    my $there = soon {
        return -1 if waitpid($pid, POSIX::WNOHANG()) == $pid;
        eval { Gepok::Test::Connection->new(port => $how{port}) } ? 1 : 0;
    };
    return $self if $there && $there > 0;
    Test::More::diag($self->output);
    return;
}

# nghttpx, which speaks HTTP/2 with this server (option h2c) for clients of HTTP/1.1, with more lines of configuration. Nothing where it
# does not start.
sub http2 {
    my ($class, $server, @lines) = @_;
    my $port   = free_port();
    my $folder = scratch();
    my @config = ("frontend=127.0.0.1,$port;no-tls", 'backend=127.0.0.1,' . $server->port . ';;proto=h2', 'workers=1', 'no-via=yes',
        'no-server-rewrite=yes', 'no-location-rewrite=yes', 'no-add-x-forwarded-proto=yes', 'no-strip-incoming-x-forwarded-proto=yes', 'errorlog-file=/dev/stderr', @lines);
    my $self = $class->start(port => $port, folder => "$folder", config => join("\n", @config, ''), command => [program('nghttpx'), '--conf=config']);
    @$self{qw(port scratch)} = ($port, $folder) if $self;
    return $self;
}

sub port { $_[0]{port} }

sub url { "http://127.0.0.1:$_[0]{port}$_[1]" }

# What it has said.
sub output {
    my ($self) = @_;
    open my $file, '<', "$self->{folder}/output" or return '';
    local $/;
    return scalar(<$file>) // '';
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    kill TERM => -$self->{pid};
    my $gone = soon { waitpid($self->{pid}, POSIX::WNOHANG()) != 0 } 10;
    return if $gone;
    kill KILL => -$self->{pid};
    waitpid $self->{pid}, 0;
}

1;
