package Gepok::Bench::Chart;

# The figures as a picture (SVG): one panel of bars for each scenario.

use strict;
use warnings;
use utf8;

use List::Util qw(max);

use Gepok::Bench::Report ();

# Pixels.
my $WIDTH  = 470;
my $LABEL  = 122;
my $BAR    = 190;
my $ROW    = 21;
my $TITLE  = 34;
my $MARGIN = 20;

# What is no PSGI server is paler.
my %COLOUR = (Gepok => '#c2410c', map { $_ => '#b8c4bb' } qw(core-alone nginx no-server));
my $PEER   = '#7c8794';

# `panels`: [{title, bars => [{server, rate, cpu}, ...]}, ...], in two columns.
sub svg {
    my (@panels) = @_;
    my ($y, @parts) = ($MARGIN + 26);
    for (my $left = 0; $left < @panels; $left += 2) {
        my @pair = @panels[grep { $_ < @panels } $left, $left + 1];
        push @parts, panel($pair[$_], $MARGIN + $_ * ($WIDTH + $MARGIN), $y) for 0 .. $#pair;
        $y += $TITLE + $ROW * max(map { scalar @{$_->{bars}} } @pair) + $MARGIN;
    }
    my $width = 2 * $WIDTH + 3 * $MARGIN;
    return <<"SVG";
<svg xmlns="http://www.w3.org/2000/svg" width="$width" height="$y" viewBox="0 0 $width $y" role="img" font-family="system-ui, sans-serif" font-size="13">
<title>Gepok beside other servers: requests per second and server CPU per request</title>
<rect width="$width" height="$y" fill="#ffffff"/>
<text x="$MARGIN" y="28" font-size="14" fill="#4b5563">Requests per second, and server CPU time per request. One worker, the server on one core.</text>
@{[join "\n", @parts]}
</svg>
SVG
}

sub panel {
    my ($panel, $x, $y) = @_;
    my $most  = max(map { $_->{rate} } @{$panel->{bars}});
    my @parts = text($x, $y + 20, $panel->{title}, 'font-weight="600" fill="#111827"');
    my $top   = $y + $TITLE;
    for my $bar (@{$panel->{bars}}) {
        my $length = sprintf '%.1f', $BAR * $bar->{rate} / $most;
        my $bold   = $bar->{server} eq 'Gepok' ? ' font-weight="600"' : '';
        my $colour = $COLOUR{$bar->{server}} // $PEER;
        my $value  = Gepok::Bench::Report::number($bar->{rate}, 0) . '/s'
            . (defined $bar->{cpu} ? sprintf('  %.*f µs', $bar->{cpu} < 100 ? 1 : 0, $bar->{cpu}) : '');
        push @parts,
            text($x + $LABEL - 8, $top + 14, $bar->{server}, "text-anchor=\"end\" fill=\"#111827\"$bold"),
            sprintf('<rect x="%d" y="%d" width="%s" height="%d" rx="2" fill="%s"/>', $x + $LABEL, $top + 2, $length, $ROW - 6, $colour),
            text($x + $LABEL + $length + 6, $top + 14, $value, "fill=\"#374151\"$bold");
        $top += $ROW;
    }
    return @parts;
}

sub text {
    my ($x, $y, $text, $attributes) = @_;
    my %entity = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;');
    $text =~ s/([&<>])/$entity{$1}/g;
    return sprintf '<text x="%.1f" y="%d" xml:space="preserve" %s>%s</text>', $x, $y, $attributes, $text;
}

1;
