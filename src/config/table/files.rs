//! Options about files that the server sends itself.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Files",
    options: &[
        Opt {
            name: "documents",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, path| options.files.documents = Some(path)),
            value: "DIR",
            preset: Preset::None,
            short: "serve the files below DIR; the app gets what is not there",
            long: "A directory of files that the server sends itself, with conditional requests, ranges and compressed variants; \
                   no worker has a part in it. A GET or HEAD request whose path leads to no file, and any other \
                   request, goes to the app, unless C<fallback> says otherwise. A relative path belongs to the folder \
                   in which the server was started. See F<docs/static.md>.",
            entry: Entry::All,
        },
        Opt {
            name: "directory",
            letter: None,
            aliases: &[],
            kind: Kind::Texts(|options, text| options.files.directories.push(text)),
            value: "/PATH=DIR",
            preset: Preset::None,
            short: "serve the files below DIR as /PATH, repeatable",
            long: "As C<documents>, for the URLs below a path: with C</static=/srv/app/static>, F</static/a.css> is \
                   F</srv/app/static/a.css>. What is not there is answered with 404, and another method than GET, HEAD \
                   and OPTIONS with 405, unless C<fallback> is C<app>. Of directories that contain each other the one \
                   with the longest path counts. Can be repeated.",
            entry: Entry::All,
        },
        Opt {
            name: "index_file",
            letter: None,
            aliases: &[],
            kind: Kind::Names(|options, name| options.files.index.push(name)),
            value: "NAMES",
            preset: Preset::Described("index.html"),
            short: "files that stand for their directory",
            long: "The names of files that are sent for a directory: the first that is there. Separated by blanks or commas; C<none> \
                   means that there are none.",
            entry: Entry::All,
        },
        Opt {
            name: "directory_list",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.files.listing = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "list directories that have no index file",
            long: "Lists what is in a directory without an index file: as a page, or as JSON where the client prefers \
                   C<application/json> or the query is C<json>. Without the option the app gets the request, or the \
                   client 403.",
            entry: Entry::All,
        },
        Opt {
            name: "symlinks",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.files.symlinks = text),
            value: "WHICH",
            preset: Preset::Value("inside"),
            short: "symbolic links to follow: none, owner, inside, follow",
            long: "Which symbolic links below a directory are followed: C<none>; C<owner>, those that belong to the same user \
                   as what they lead to, inside the directory; C<inside>, relative ones that lead to something inside \
                   the directory; or C<follow>, all. What a link that is not followed leads to is not there, and the log tells of it.",
            entry: Entry::All,
        },
        Opt {
            name: "hidden",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.files.hidden = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "serve .dotfiles and backups~ as well",
            long: "Serves files and directories whose names begin with a dot or end with C<~> as well. Without the option they \
                   are not there, apart from F<.well-known>.",
            entry: Entry::All,
        },
        Opt {
            name: "fallback",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.files.fallback = Some(text)),
            value: "WHAT",
            preset: Preset::Described("app for documents, 404 for directory"),
            short: "what answers for a missing file: app, 404 or a path",
            long: "What answers for a file that is not there: C<app>, C<404>, or a file by its path below C<documents>, as \
                   C</index.html>, which single-page applications need. A path is for C<documents> alone.",
            entry: Entry::All,
        },
        Opt {
            name: "cache_control",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.files.cache_control = text),
            value: "VALUE",
            preset: Preset::None,
            short: "Cache-Control of files, as 'max-age=3600'",
            long: "The value of the field C<Cache-Control> in responses that are files, as C<max-age=3600> or \
                   C<public, max-age=31536000, immutable>. Without the option there is no such field.",
            entry: Entry::All,
        },
        Opt {
            name: "mime_types",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, path| options.files.mime_types = Some(path)),
            value: "FILE",
            preset: Preset::None,
            short: "a file of further media types, as /etc/mime.types",
            long: "A file of media types beside those that are built in, in the form of F</etc/mime.types> or of nginx's F<mime.types>. \
                   The last ending of a file's name decides; a name with no known ending is C<application/octet-stream>.",
            entry: Entry::All,
        },
        Opt {
            name: "charset",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.files.charset = text),
            value: "NAME",
            preset: Preset::Value("utf-8"),
            short: "the charset of texts; '' is none",
            long: "The C<charset> in the C<Content-Type> of files whose media type begins with C<text/>. With C<''> \
                   there is none.",
            entry: Entry::All,
        },
        Opt {
            name: "file_ranges",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.files.ranges = yes),
            value: "",
            preset: Preset::Value("1"),
            short: "conditional requests and ranges for files that apps send",
            long: "Answers conditional requests and ranges for the files that an app sends: where a response to GET or HEAD has the status \
                   200, a handle of a file as its body (as Plack::App::File and frameworks give), and C<ETag> or C<Last-Modified>. So \
                   browsers can seek in videos and resume downloads. A response with C<Accept-Ranges>, C<Content-Range> or \
                   C<Content-Encoding> stays as it is.",
            entry: Entry::All,
        },
        Opt {
            name: "sendfile_root",
            letter: None,
            aliases: &[],
            kind: Kind::Texts(|options, path| options.files.sendfile_roots.push(path)),
            value: "DIR",
            preset: Preset::None,
            short: "send files that the app names by X-Sendfile, repeatable",
            long: "A response of the app's with the field C<X-Sendfile>, the absolute path of a file below this directory, gets that file as \
                   its content. The server sends it, with conditional requests and ranges; the worker is free at once. The app's \
                   other fields stay. A path that leads to no file below such a directory is answered with 404, and the log names \
                   it. The environment has C<plack.xsendfile.type>, for L<Plack::Middleware::XSendfile>. Without the option the \
                   field goes to the client, for a proxy in front. Can be repeated.",
            entry: Entry::All,
        },
        Opt {
            name: "internal",
            letter: None,
            aliases: &[],
            kind: Kind::Texts(|options, text| options.files.internal.push(text)),
            value: "/PATH=DIR",
            preset: Preset::None,
            short: "send files named by X-Accel-Redirect, repeatable",
            long: "As C<sendfile_root>, for the field C<X-Accel-Redirect> and the URLs below a path, which clients can't ask for: with \
                   C</files=/srv/files>, C<X-Accel-Redirect: /files/a%20b.pdf> is F</srv/files/a b.pdf>. Can be repeated.",
            entry: Entry::All,
        },
        Opt {
            name: "compress",
            letter: None,
            aliases: &[],
            kind: Kind::Names(|options, name| options.files.compress.push(name)),
            value: "CODINGS",
            preset: Preset::Described("none"),
            short: "compress what the app sends: all, or of zstd, br, gzip",
            long: "Compresses the content of the app's responses for clients that accept that. Names codings, the favourite first: \
                   C<zstd>, C<br> and C<gzip>, separated by blanks or commas; C<all> or C<1> is C<zstd,br,gzip>, C<none> or C<0> is \
                   off. Workers compress; what is written to a stream is sent at once. See C<compress_types>, \
                   C<compress_min_length> and F<docs/static.md>, and F<docs/security.md> for what compression can tell of secrets.",
            entry: Entry::All,
        },
        Opt {
            name: "compress_types",
            letter: None,
            aliases: &[],
            kind: Kind::Names(|options, name| options.files.compress_types.push(name)),
            value: "TYPES",
            preset: Preset::Described(
                "texts, JSON, XML, JavaScript, WebAssembly, SVG and some fonts, but not C<text/event-stream>",
            ),
            short: "media types that compress applies to",
            long: "The media types of responses that C<compress> compresses: names such as C<text/html>, C<text/*> for all of a kind, and \
                   C<*> for all, separated by blanks or commas.",
            entry: Entry::All,
        },
        Opt {
            name: "compress_min_length",
            letter: None,
            aliases: &[],
            kind: Kind::Bytes(|options, length| options.files.compress_min_length = length),
            value: "BYTES",
            preset: Preset::Value("1K"),
            short: "the least length of content that is compressed",
            long: "Content that is known to be shorter is not compressed. A stream, whose length is not known, always is.",
            entry: Entry::All,
        },
        Opt {
            name: "vhosts",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.vhosts_text = Some(text)),
            value: "HOSTS",
            preset: Preset::None,
            short: "virtual hosts, each with its own files and rules",
            long: "Virtual hosts: an array of hashes with the keys C<name>, C<aliases>, C<default>, C<documents>, C<directory>, C<redirect>, \
                   C<allow>, C<deny> and others, which F<docs/sites.md> describes. The command C<gepok> has them in its \
                   configuration file.",
            entry: Entry::Perl,
        },
    ],
};
