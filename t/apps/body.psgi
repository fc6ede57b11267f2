# Every form a response's body may take; the path names it. /log tells what became of the objects.
use strict;
use warnings;
use File::Temp ();
use IO::File;
use IO::Handle;

my @log;

package Lines {
    sub new     { my ($class, @lines) = @_; bless {lines => \@lines}, $class }
    sub getline { shift @{$_[0]{lines}} }
    sub close   { push @log, 'close' }
}

package Dying {
    our @ISA = 'Lines';
    sub getline { my $self = shift; @{$self->{lines}} ? shift @{$self->{lines}} : die "getline died\n" }
}

# The second line comes when there is a file of that name, or after ten seconds.
package Waiting {
    sub new { my ($class, $file) = @_; bless {file => $file, lines => ['x' x 65_536, 'the rest']}, $class }
    sub close {}

    sub getline {
        my $self  = shift;
        my $limit = time + 10;
        select undef, undef, undef, 0.01 until @{$self->{lines}} != 1 || -e $self->{file} || time > $limit;
        return shift @{$self->{lines}};
    }
}

package Separator {
    our @ISA = 'Lines';
    sub getline { my $self = shift; my $line = shift @{$self->{lines}}; defined $line ? ref $/ ? ${$/} : 'none' : undef }
}

my $text = join '', map {"line $_\n"} 1 .. 20_000;
my $file = File::Temp->new;
binmode $file;
print {$file} $text;
$file->flush;

my @type = ('Content-Type' => 'text/plain');

sub opened { open my $handle, $_[0] // '<', $file->filename or die $!; $handle }

my %bodies = (
    'array'       => sub { [200, [@type], ['some ', 'more ', 'parts']] },
    'array-empty' => sub { [200, [@type], []] },
    'array-odd'   => sub { no warnings; [200, [@type], ['Content', '', 'Again', undef, 0]] },
    'array-length' => sub { [200, [@type, 'Content-Length' => 4], ['ab', 'cd']] },
    'array-big'   => sub { [200, [@type], [('x' x 100_000) x 50]] },
    'array-many'  => sub { [200, [@type], [('ab') x 20_000]] },
    'array-upgraded' => sub { my $s = "caf\xe9"; utf8::upgrade($s); [200, [@type], [$s]] },
    'numbers'     => sub { [200, ['X-Number' => 5, @type], [1, 2.5, -3]] },
    'overloaded'  => sub { [200, [@type], [Text->new('over'), 'loaded']] },
    'glob'        => sub { [200, [@type], opened()] },
    'glob-raw'    => sub { [200, [@type], opened('<:raw')] },
    'glob-length' => sub { [200, [@type, 'Content-Length' => length $text], opened()] },
    'glob-moved'  => sub { my $h = opened(); readline $h for 1 .. 3; [200, [@type], $h] },
    'glob-layer'  => sub { my $h = opened('<:crlf'); [200, [@type], $h] },
    'glob-memory' => sub { open my $h, '<', \$text or die $!; [200, [@type], $h] },
    'glob-pipe'   => sub { open my $h, '-|', 'printf', 'from a pipe' or die $!; [200, [@type], $h] },
    'glob-empty'  => sub { open my $h, '<', '/dev/null' or die $!; [200, [@type], $h] },
    'bareword'    => sub { open FILE, '<', $file->filename or die $!; [200, [@type], \*FILE] },
    'io-file'     => sub { [200, [@type], IO::File->new($file->filename, 'r')] },
    'object'      => sub { [200, [@type], Lines->new('a', '', 'b', 0, "c\n")] },
    'object-length' => sub { [200, [@type, 'Content-Length' => 3], Lines->new('a', 'bc')] },
    'object-empty' => sub { [200, [@type], Lines->new] },
    'separator'   => sub { [200, [@type], Separator->new(1)] },
    'object-big'  => sub { [200, [@type], Lines->new(('y' x 60_000) x 60)] },
    'waiting'     => sub { [200, [@type], Waiting->new($_[0]{HTTP_X_FILE})] },
    'dying'       => sub { [200, [@type], Dying->new('before ')] },
    'dying-first' => sub { [200, [@type], Dying->new] },
    'no-content'  => sub { [204, [], Lines->new('never sent')] },
    'not-modified' => sub { [304, [ETag => '"x"'], ['never sent']] },
    'dies'        => sub { die "the app died\n" },
    'log'         => sub { my $all = join ',', @log; @log = (); [200, [@type], [$all]] },
    'pid'         => sub { [200, [@type], [$$]] },
    'wide'        => sub { [200, [@type], ["\x{263a}"]] },
    'undef'       => sub {undef},
    'string'      => sub {'a string'},
    'hash'        => sub { {} },
    'short'       => sub { [200, [@type]] },
    'no-status'   => sub { ['', [@type], ['x']] },
    'odd-fields'  => sub { [200, ['X-One'], ['x']] },
    'number-body' => sub { [200, [@type], 5] },
    'plain-object' => sub { [200, [@type], bless {}, 'Nothing'] },
    'injection-value' => sub { [200, ['X-A' => "1\r\nX-Injected: yes"], ['x']] },
    'injection-name'  => sub { [200, ["X-A: 1\r\nX-Injected" => 'yes'], ['x']] },
    'injection-nul'   => sub { [200, ['X-A' => "a\0b"], ['x']] },
    'fields'      => sub {
        [200, ['Set-Cookie' => 'a=1', 'X-CaSe' => 'kept', 'Set-Cookie' => 'b=2; Path=/', 'X-Empty' => ''], ['x']]
    },
    'server'      => sub { [200, [Server => 'mine', Date => 'Fooo'], ['x']] },
    'connection'  => sub { [200, [Connection => 'close'], ['x']] },
    'coded'       => sub { [200, ['Transfer-Encoding' => 'chunked'], ["3\r\nabc\r\n", "0\r\n\r\n"]] },
    'odd-status'  => sub { [299, [], ['x']] },
    'status'      => sub { [418, [], ['x']] },
    'error'       => sub { [503, [@type], ['later']] },
);

package Text {
    use overload '""' => sub { ${$_[0]} }, fallback => 1;
    sub new { my ($class, $text) = @_; bless \$text, $class }
}

sub {
    my $env = shift;
    my ($name) = $env->{PATH_INFO} =~ m{^/([a-z-]+)} or return [404, [], []];
    return $bodies{$name}->($env);
};
