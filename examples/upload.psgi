# A form, and the checksum of the file that it sends. However large the file is, and however slow its sender, no worker
# is occupied before it has arrived whole.
#
#   plackup -s Gepok examples/upload.psgi
#   curl -F file=@README.md http://127.0.0.1:5000/
use strict;
use warnings;
use Digest::SHA;
use Plack::Request;

my $form = <<'HTML';
<!DOCTYPE html>
<title>Upload</title>
<form method="post" enctype="multipart/form-data">
  <input type="file" name="file" required>
  <button>Send</button>
</form>
HTML

sub {
    my $request = Plack::Request->new(shift);
    if ($request->method eq 'GET' || $request->method eq 'HEAD') {
        return [200, ['Content-Type' => 'text/html; charset=utf-8'], [$form]];
    }
    return [405, ['Content-Type' => 'text/plain', Allow => 'GET, POST'], ["GET or POST, please\n"]]
        if $request->method ne 'POST';

    my $upload = $request->upload('file')
        or return [400, ['Content-Type' => 'text/plain'], ["The form has no file.\n"]];

    # The file is on disk: it is read in pieces, never as a whole.
    my $sum = Digest::SHA->new(256)->addfile($upload->path, 'b')->hexdigest;
    return [200, ['Content-Type' => 'text/plain; charset=utf-8'], [sprintf "%s  %s\n%d bytes\n", $sum,
        $upload->filename, $upload->size]];
};
