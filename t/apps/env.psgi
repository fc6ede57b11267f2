# Answers with its environment as JSON: plain values as they are, the others as their kind.
use strict;
use warnings;
use JSON::PP ();

my $json = JSON::PP->new->latin1->canonical->allow_nonref;
my $calls = 0;

sub {
    my $env = shift;
    my %plain;
    for my $key (keys %$env) {
        my $value = $env->{$key};
        $plain{$key} = ref $value eq 'ARRAY' ? $value : ref $value ? 'ref:' . ref $value : $value;
    }
    $plain{'test.pid'}   = $$;
    $plain{'test.calls'} = ++$calls;
    return [200, ['Content-Type' => 'application/json'], [$json->encode(\%plain)]];
};
