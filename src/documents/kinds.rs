//! Media types by the ending of a name. Content is never looked at.

use std::collections::HashMap;

use crate::coding;

/// What has no ending that is known.
const UNKNOWN: &str = "application/octet-stream";

/// Media types and the endings of their files' names.
#[rustfmt::skip] // A table.
const TABLE: &[(&str, &str)] = &[
    ("text/html", "html htm shtml"),
    ("text/css", "css"),
    ("text/javascript", "js mjs cjs"),
    ("text/plain", "txt text log conf ini diff patch asc"),
    ("text/csv", "csv"),
    ("text/tab-separated-values", "tsv"),
    ("text/markdown", "md markdown"),
    ("text/calendar", "ics"),
    ("text/vcard", "vcf"),
    ("text/vtt", "vtt"),
    ("text/xml", "xml xsl"),
    ("text/x-component", "htc"),
    ("application/json", "json map"),
    ("application/ld+json", "jsonld"),
    ("application/geo+json", "geojson"),
    ("application/manifest+json", "webmanifest"),
    ("application/yaml", "yaml yml"),
    ("application/toml", "toml"),
    ("application/xhtml+xml", "xhtml"),
    ("application/atom+xml", "atom"),
    ("application/rss+xml", "rss"),
    ("application/xml-dtd", "dtd"),
    ("application/xslt+xml", "xslt"),
    ("application/wasm", "wasm"),
    ("application/pdf", "pdf"),
    ("application/postscript", "ps eps ai"),
    ("application/rtf", "rtf"),
    ("application/epub+zip", "epub"),
    ("application/zip", "zip"),
    ("application/gzip", "gz tgz"),
    ("application/zstd", "zst"),
    ("application/x-bzip2", "bz2"),
    ("application/x-xz", "xz"),
    ("application/x-7z-compressed", "7z"),
    ("application/x-tar", "tar"),
    ("application/vnd.rar", "rar"),
    ("application/java-archive", "jar war ear"),
    ("application/vnd.debian.binary-package", "deb"),
    ("application/x-rpm", "rpm"),
    ("application/vnd.android.package-archive", "apk"),
    ("application/sql", "sql"),
    ("application/x-sh", "sh"),
    ("application/vnd.sqlite3", "sqlite sqlite3"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/vnd.oasis.opendocument.presentation", "odp"),
    ("application/vnd.oasis.opendocument.graphics", "odg"),
    ("application/vnd.google-earth.kml+xml", "kml"),
    ("application/vnd.google-earth.kmz", "kmz"),
    ("application/vnd.apple.mpegurl", "m3u8"),
    ("application/dash+xml", "mpd"),
    ("application/x-x509-ca-cert", "der crt"),
    ("application/x-pem-file", "pem"),
    ("application/pgp-signature", "sig"),
    ("application/x-bittorrent", "torrent"),
    ("application/vnd.ms-fontobject", "eot"),
    ("font/woff", "woff"),
    ("font/woff2", "woff2"),
    ("font/ttf", "ttf"),
    ("font/otf", "otf"),
    ("font/collection", "ttc"),
    ("image/png", "png"),
    ("image/apng", "apng"),
    ("image/jpeg", "jpg jpeg jpe"),
    ("image/gif", "gif"),
    ("image/svg+xml", "svg"),
    ("image/webp", "webp"),
    ("image/avif", "avif"),
    ("image/jxl", "jxl"),
    ("image/heic", "heic"),
    ("image/bmp", "bmp"),
    ("image/tiff", "tif tiff"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/vnd.adobe.photoshop", "psd"),
    ("audio/mpeg", "mp3"),
    ("audio/mp4", "m4a"),
    ("audio/aac", "aac"),
    ("audio/ogg", "ogg oga opus"),
    ("audio/flac", "flac"),
    ("audio/wav", "wav"),
    ("audio/webm", "weba"),
    ("audio/midi", "mid midi"),
    ("video/mp4", "mp4 m4v"),
    ("video/mpeg", "mpg mpeg"),
    ("video/webm", "webm"),
    ("video/ogg", "ogv"),
    ("video/quicktime", "mov"),
    ("video/mp2t", "ts"),
    ("video/3gpp", "3gp 3gpp"),
    ("video/matroska", "mkv"),
    ("video/x-msvideo", "avi"),
    ("video/x-flv", "flv"),
    ("video/x-ms-wmv", "wmv"),
    ("model/gltf+json", "gltf"),
    ("model/gltf-binary", "glb"),
    ("model/stl", "stl"),
    ("message/rfc822", "eml"),
];

/// The media types of a directory's files.
#[derive(Clone, Debug)]
pub(crate) struct Kinds {
    by_ending: HashMap<Vec<u8>, Kind>,
    unknown: Kind,
}

/// A media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The value of Content-Type.
    pub(crate) text: String,
    /// Whether such files become smaller by compression, so that there may be compressed variants.
    pub(crate) compresses: bool,
}

impl Kinds {
    /// The built-in types, those in `more` before them, and what the charset of texts is.
    pub(crate) fn new(more: &[(String, String)], charset: &str) -> Self {
        let built_in = TABLE
            .iter()
            .flat_map(|(kind, endings)| endings.split(' ').map(move |ending| (ending, *kind)));
        let more = more
            .iter()
            .map(|(ending, kind)| (ending.as_str(), kind.as_str()));
        let by_ending = built_in.chain(more).map(|(ending, kind)| {
            let ending = ending.to_ascii_lowercase().into_bytes();
            (ending, Kind::new(kind, charset))
        });
        Kinds {
            by_ending: by_ending.collect(),
            unknown: Kind::new(UNKNOWN, charset),
        }
    }

    /// The type of a file of this name: by its last ending alone, so that a `.tar.gz` is saved as it is.
    pub(crate) fn of(&self, name: &[u8]) -> &Kind {
        let ending = name.rsplit(|&byte| byte == b'.').next();
        let ending = ending.filter(|ending| ending.len() < name.len());
        ending
            .and_then(|ending| self.by_ending.get(&ending.to_ascii_lowercase()))
            .unwrap_or(&self.unknown)
    }
}

impl Kind {
    fn new(kind: &str, charset: &str) -> Self {
        let text = kind.starts_with("text/");
        let compresses = coding::shrinks(kind.as_bytes());
        let takes_charset = text || kind == "application/javascript";
        let text = match takes_charset && !charset.is_empty() && !kind.contains(';') {
            true => format!("{kind}; charset={charset}"),
            false => kind.to_owned(),
        };
        Kind { text, compresses }
    }
}

/// The endings and media types of a file such as /etc/mime.types, or the `types` block of nginx.
///
/// # Errors
/// The line or statement that is neither.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.lines();
    let text: Vec<_> = lines.filter_map(|line| line.split('#').next()).collect();
    // Only nginx's file has statements, which may go over several lines.
    let (text, ends): (_, &[char]) = match text.iter().any(|line| line.contains(';')) {
        true => (text.join(" "), &[';', '{', '}']),
        false => (text.join("\n"), &['\n']),
    };
    let mut found = Vec::new();
    for statement in text.split(ends).map(str::trim) {
        let mut words = statement.split_ascii_whitespace();
        let Some(kind) = words.next().filter(|&word| word != "types") else {
            continue;
        };
        if !is_type(kind) {
            return Err(statement.to_owned());
        }
        found.extend(words.map(|ending| {
            let ending = ending.trim_start_matches('.');
            (ending.to_owned(), kind.to_owned())
        }));
    }
    Ok(found)
}

fn is_type(text: &str) -> bool {
    let token = |text: &str| {
        let special = |byte| b"!#$&^_.+-".contains(&byte);
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || special(b))
    };
    text.split_once('/')
        .is_some_and(|(kind, rest)| token(kind) && token(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ending_counts() {
        let kinds = Kinds::new(&[("foo".into(), "x/foo".into())], "utf-8");
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("A.HTML", "text/html; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.tar.gz", "application/gzip"),
            ("a.foo", "x/foo"),
            ("html", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("a.nothing", "application/octet-stream"),
            (".html", "text/html; charset=utf-8"),
        ] {
            assert_eq!(kinds.of(name.as_bytes()).text, expected, "{name}");
        }
        assert_eq!(Kinds::new(&[], "").of(b"a.css").text, "text/css");
    }

    #[test]
    fn no_ending_stands_twice_in_the_table() {
        let mut endings: Vec<_> = TABLE.iter().flat_map(|(_, all)| all.split(' ')).collect();
        let all = endings.len();
        endings.sort_unstable();
        endings.dedup();
        assert_eq!(endings.len(), all);
        assert!(TABLE.iter().all(|(kind, _)| is_type(kind)));
    }

    #[test]
    fn files_of_types_are_read() {
        let pair = |ending: &str, kind: &str| (ending.to_owned(), kind.to_owned());
        let apache = "# a comment\ntext/x-a\ta .b # c\n\napplication/x-none\n";
        let nginx = "types {\n    text/x-a  a\n       b;\n    text/x-c c; text/x-d d;\n}\n";
        assert_eq!(
            parse(apache),
            Ok(vec![pair("a", "text/x-a"), pair("b", "text/x-a")])
        );
        let expected = [("a", "a"), ("b", "a"), ("c", "c"), ("d", "d")]
            .map(|(ending, kind)| pair(ending, &format!("text/x-{kind}")));
        assert_eq!(parse(nginx), Ok(expected.to_vec()));
        assert_eq!(
            parse("text/html html\nnonsense\n"),
            Err("nonsense".to_owned())
        );
        assert_eq!(
            parse("text/ht\"ml html\n"),
            Err("text/ht\"ml html".to_owned())
        );
    }
}
