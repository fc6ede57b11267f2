# Reads its content by the means that the path names, and answers with what it got.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Plack::Request;

my $calls = 0;

my %means = (
    'method-read' => sub {
        my ($input, $length) = @_;
        my $content = '';
        while ($length > 0) {
            my $got = $input->read($content, 1000, length $content);
            last unless $got;
            $length -= $got;
        }
        return $content;
    },
    'builtin-read' => sub {
        my $input   = shift;
        my $content = '';
        while (read $input, $content, 1000, length $content) { }
        return $content;
    },
    'method-getline' => sub {
        my $input   = shift;
        my $content = '';
        while (defined(my $line = $input->getline)) { $content .= $line }
        return $content;
    },
    'method-getlines'  => sub { my @lines = $_[0]->getlines; join '', @lines },
    'builtin-readline' => sub { my $input = shift; my @lines = <$input>; join '', @lines },
    'slurp'            => sub { my $input = shift; local $/; scalar <$input> },
    'records'          => sub { my $input = shift; local $/ = \7; my $all = ''; $all .= $_ while <$input>; $all },
    'method-seek'      => sub {
        my ($input, $length) = @_;
        $input->read(my $first, $length);
        $input->seek(0, 0);
        $input->read(my $again, $length);
        return $first eq $again ? $again : 'differs';
    },
    'builtin-seek' => sub {
        my ($input, $length) = @_;
        read $input, my $first, $length;
        seek $input, 2, 0 or return "seek: $!";
        read $input, my $again, $length;
        return $first eq substr($first, 0, 2) . $again ? $first : 'differs';
    },
    'eof' => sub {
        my ($input, $length) = @_;
        my $content = '';
        until (eof $input) { read $input, $content, 100, length $content }
        return $content;
    },
    'lines'   => sub { my $input = shift; my @lines = <$input>; join '|', map { s/\n/N/r } @lines },
    'request' => sub { Plack::Request->new($_[2])->content },
    'upload'  => sub {
        my $request = Plack::Request->new($_[2]);
        my $upload  = $request->upload('file');
        open my $file, '<', $upload->path or return "open: $!";
        binmode $file;
        local $/;
        return join ' ', $request->param('name'), $upload->filename, sha256_hex(<$file>);
    },
    'digest' => sub {
        my ($input, undef, $env) = @_;
        my $sha = Digest::SHA->new(256);
        $sha->addfile($input);
        return join ' ', $sha->hexdigest, $env->{CONTENT_LENGTH};
    },
    'kind' => sub {
        my ($input, undef, $env) = @_;
        my $number = fileno $input;
        my $file   = defined $number && $number >= 0 && -f $input ? 'file' : 'memory';
        $input->read(my $nothing, 10) if !$env->{CONTENT_LENGTH};
        return join ' ', $file, defined $nothing ? length $nothing : 'unread';
    },
    'unread' => sub {'unread'},
    'calls'  => sub { $calls - 1 },
);

sub {
    my $env = shift;
    $calls++;
    my ($name) = $env->{PATH_INFO} =~ m{^/([a-z-]+)};
    my $content = $means{$name}->($env->{'psgi.input'}, $env->{CONTENT_LENGTH} || 0, $env);
    my @lengths = map { $_ // 'undef' } $env->{CONTENT_LENGTH}, $env->{HTTP_TRANSFER_ENCODING};
    return [200, ['Content-Type' => 'application/octet-stream', 'X-Length' => join ' ', @lengths], [$content]];
};
