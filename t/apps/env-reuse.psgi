# /mischief/NAME does something to its env; any other path answers with the whole env as JSON, in which 1 and "1" differ.
# /places: where its values are in memory. With KEEP_ENVS set every env is kept, so that none can be used again.
use strict;
use warnings;
use B             ();
use Hash::Util    ();
use JSON::PP      ();
use Scalar::Util  qw(blessed dualvar refaddr reftype weaken);

{
    package Tied;
    require Tie::Hash;
    our @ISA = 'Tie::StdHash';
}
{
    package Loud;
    our $destroyed = 0;
    sub DESTROY { $destroyed++; die "in DESTROY\n" }
}

my $json = JSON::PP->new->latin1->canonical->allow_nonref;
my (@kept, %weak, $before);

my %mischief = (
    assign     => sub { $_ = 'forged' for values %{$_[0]} },
    numbers    => sub { $_[0]{$_} = 4711 for keys %{$_[0]} },
    floats     => sub { $_[0]{$_} = 0.5 for keys %{$_[0]} },
    references => sub { $_[0]{$_} = {} for keys %{$_[0]} },
    undefined  => sub { undef $_ for values %{$_[0]} },
    wide       => sub { $_[0]{$_} = "\x{263a}" for keys %{$_[0]} },
    upgraded   => sub { $_[0]{HTTP_HOST} .= "\xe9"; utf8::upgrade($_[0]{HTTP_HOST}) },
    regexes    => sub { $_[0]{PATH_INFO} = qr/x/ },
    globs      => sub { $_[0]{PATH_INFO} = *STDOUT },
    vstrings   => sub { $_[0]{PATH_INFO} = v1.2.3 },
    dual       => sub { $_[0]{PATH_INFO} = dualvar 5, 'five' },
    shared_key => sub { my %names = (forged => 1); ($_[0]{PATH_INFO}) = keys %names },
    deleted    => sub { delete @{$_[0]}{qw(PATH_INFO psgi.errors gepok psgi.version)} },
    emptied    => sub { %{$_[0]} = () },
    renewed    => sub { my %copy = %{$_[0]}; %{$_[0]} = (); %{$_[0]} = %copy },
    more       => sub { $_[0]{"more.$_"} = $_ for 1 .. 20 },
    many       => sub { $_[0]{"many.$_"} = $_ for 1 .. 1000 },
    wide_keys  => sub { $_[0]{"\x{263a}$_"} = $_ for 1 .. 3; my $key = "\xe9"; utf8::upgrade($key); $_[0]{$key} = 1 },
    iterated   => sub { each %{$_[0]} for 1 .. 3 },
    half_gone  => sub { my ($key) = each %{$_[0]}; delete $_[0]{$key} },
    locked     => sub { Hash::Util::lock_hash(%{$_[0]}) },
    locked_key => sub { Hash::Util::lock_keys(%{$_[0]}) },
    read_only  => sub { Internals::SvREADONLY($_[0]{HTTP_HOST}, 1) },
    blessed    => sub { bless $_[0], 'Some::Class' },
    tied       => sub { tie %{$_[0]}, 'Tied' },
    value_tied => sub { require Tie::Scalar; tie $_[0]{HTTP_HOST}, 'Tie::StdScalar', 'forged' },
    kept       => sub { push @kept, $_[0] },
    kept_value => sub { push @kept, \$_[0]{HTTP_HOST}, \$_[0]{'psgi.multithread'}, \$_[0]{'psgi.errors'} },
    kept_pairs => sub { push @kept, map { $_[0]{$_} } qw(psgi.version gepok.connect_time psgix.cleanup.handlers) },
    kept_number => sub { push @kept, \$_[0]{'psgi.version'}[0] },
    pairs      => sub { $_[0]{'psgi.version'}[1] = 'forged'; push @{$_[0]{'gepok.start_request_time'}}, 3 },
    pair_texts => sub { my $text = "@{$_[0]{'psgi.version'}} @{$_[0]{'gepok.connect_time'}}" },
    pair_class => sub { bless $_[0]{'psgi.version'}, 'Some::Class' },
    pair_gone  => sub { $_[0]{'psgi.version'} = [1, {}]; $_[0]{'psgix.cleanup.handlers'} = 1 },
    texts      => sub { my $text = join ' ', %{$_[0]} },
    arithmetic => sub { no warnings; my $sum = 0; $sum += $_ for values %{$_[0]} },
    matched    => sub { $_[0]{PATH_INFO} =~ /./g },
    chopped    => sub { $_[0]{HTTP_COOKIE} =~ s/^.// },
    long       => sub { $_[0]{PATH_INFO} = 'x' x 100_000 },
    weak_env   => sub { weaken($weak{env} = $_[0]) },
    weak_value => sub { weaken($weak{value} = \$_[0]{HTTP_HOST}) },
    weak_pair  => sub { weaken($weak{pair} = $_[0]{'psgi.version'}) },
    weakened   => sub { weaken($_[0]{'psgi.errors'}) },
    cycle      => sub { $_[0]{'test.env'} = $_[0]; weaken($_[0]{'test.env'}) },
    loop       => sub { $_[0]{'test.env'} = $_[0] },
    destroyed  => sub { $_[0]{"test.loud$_"} = bless [], 'Loud' for 1 .. 3; $_[0]{'psgi.errors'} = bless [], 'Loud' },
    handlers   => sub { push @{$_[0]{'psgix.cleanup.handlers'}}, sub { $_[0]{PATH_INFO} = 'forged' } },
    closed     => sub { close $_[0]{'psgi.input'} },
    other_env  => sub { $_[0] = {} },
    dies       => sub { $_[0]{HTTP_HOST} = 'forged'; die "mischief\n" },
);

sub shown {
    my ($env) = @_;
    my %shown;
    for my $key (keys %$env) {
        my $value = $env->{$key};
        my $type  = ref $value;
        $shown{$key} = $type eq 'ARRAY' ? [@$value] : $type ? "ref:$type" : $value;
        $shown{$key} = [$shown{$key}, 'wide']      if defined $value && !$type && utf8::is_utf8($value);
        $shown{$key} = [$shown{$key}, 'read-only'] if Internals::SvREADONLY($env->{$key});
    }
    my $isa = blessed($env) || tied(%$env) ? 'something else' : 'hash';
    my $alive = grep {defined} values %weak;
    return {env => \%shown, keys => scalar(keys %$env), is => $isa, destroyed => $Loud::destroyed, weak => $alive};
}

sub {
    my $env = shift;
    push @kept, $env if $ENV{KEEP_ENVS};
    my $path = $env->{PATH_INFO};
    if ($path eq '/names') {
        return [200, [], [join ' ', sort keys %mischief]];
    }
    if ($path eq '/places') {
        return [200, [], [join ' ', map { refaddr \$env->{$_} } qw(PATH_INFO HTTP_HOST REMOTE_ADDR psgi.version psgi.input gepok)]];
    }
    if ($path =~ m{^/mischief/(\w+)}) {
        $mischief{$1}->($env);
        return [200, [], ['done']];
    }
    my $iterated = $env->{QUERY_STRING} eq 'names' ? join ' ', sort keys %$env : '';
    return [200, [], [$json->encode({%{shown($env)}, names => $iterated})]];
};
