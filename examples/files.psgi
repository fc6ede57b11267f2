# Files that the server sends itself, and one that the app sends. The page and its style sheet come from the folder beside this
# file, without a worker; what is not there comes here.
#
#   plackup -s Gepok --documents examples/files examples/files.psgi
#   curl http://127.0.0.1:5000/
#   curl -r 0-99 http://127.0.0.1:5000/download
use strict;
use warnings;
use File::Temp;
use HTTP::Date qw(time2str);

my $numbers = File::Temp->new;
print $numbers map {"$_\n"} 1 .. 100_000;
$numbers->flush;

sub {
    my $env = shift;
    return [404, ['Content-Type' => 'text/plain'], ["There is no such page.\n"]] if $env->{PATH_INFO} ne '/download';

    # Here an app would ask whether this user may have the file. Conditional requests and ranges are the server's matter.
    open my $file, '<:raw', $numbers->filename or return [500, ['Content-Type' => 'text/plain'], ["The file can't be read.\n"]];
    my ($size, $time) = (stat $file)[7, 9];
    return [
        200,
        [
            'Content-Type'        => 'text/plain; charset=utf-8',
            'Content-Length'      => $size,
            'Last-Modified'       => time2str($time),
            'Content-Disposition' => 'attachment; filename="numbers.txt"',
        ],
        $file,
    ];
};
