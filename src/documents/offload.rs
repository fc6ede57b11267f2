//! Files that the app names in its response (`X-Sendfile`, `X-Accel-Redirect`) and the server sends in its place.
//!
//! What the app names is looked up as what a client asks for: below the root of a directory, by the kernel.

use std::path::Path;
use std::sync::Arc;

use super::answer::{Answer, Representation, text};
use super::links::Refusal;
use super::look::{Chosen, Found, Wanted};
use super::path::Parts;
use super::{Directory, Files, Settings, etag, last_modified};
use crate::disk;
use crate::log::limited;
use crate::semantics::accept::Codings;
use crate::semantics::date;
use crate::semantics::field::list_members;
use crate::semantics::message::{RequestHead, ResponseHead};

/// Directories whose files the app may name.
#[derive(Debug)]
pub struct Offload {
    /// Those that have URLs, for X-Accel-Redirect.
    internal: Files,
    has_internal: bool,
    /// Those whose files are named by their paths, for X-Sendfile.
    roots: Vec<Arc<Directory>>,
}

/// A file that the app names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// By its path (X-Sendfile)
    Path(&'a [u8]),
    /// By a URL (X-Accel-Redirect)
    Url(&'a [u8]),
}

impl Named<'_> {
    fn field(self) -> &'static str {
        match self {
            Named::Path(_) => "X-Sendfile",
            Named::Url(_) => "X-Accel-Redirect",
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            Named::Path(value) | Named::Url(value) => value,
        }
    }
}

/// A file below a directory.
type Place = (Arc<Directory>, Vec<Vec<u8>>);

impl Offload {
    /// For these internal directories, and these roots of X-Sendfile. Nothing where there are none.
    pub fn new(internal: &[Settings], roots: &[Settings]) -> Option<Self> {
        (!internal.is_empty() || !roots.is_empty()).then(|| Offload {
            has_internal: !internal.is_empty(),
            internal: Files::new(internal),
            roots: roots
                .iter()
                .map(|root| Arc::new(Directory::new(root)))
                .collect(),
        })
    }

    /// The file that this head of the app's names, if that is for us: else the field is for a proxy in front.
    pub fn named<'a>(&self, head: &'a ResponseHead) -> Option<Named<'a>> {
        if head.status < 200 || matches!(head.status, 204 | 205 | 206 | 304) {
            return None;
        }
        let value = |is_wanted: bool, name| is_wanted.then(|| head.fields.first(name)).flatten();
        let url = value(self.has_internal, "x-accel-redirect").map(Named::Url);
        url.or_else(|| value(!self.roots.is_empty(), "x-sendfile").map(Named::Path))
    }

    /// The response with this file as its content, to a request that the app has answered with `head`.
    pub async fn answer(
        &self,
        named: Named<'_>,
        request: &RequestHead,
        head: &ResponseHead,
    ) -> Answer {
        let place = match named {
            Named::Url(url) => self.at_url(url),
            Named::Path(path) => self.at_path(path).await,
        };
        let (field, value) = (named.field(), named.value().escape_ascii());
        let Some((directory, names)) = place else {
            let option = match named {
                Named::Path(_) => "sendfile_root",
                Named::Url(_) => "internal",
            };
            limited!(
                Error,
                "{field}: '{value}' names no file below a directory of option '{option}'"
            );
            return text(404, &[]);
        };
        let root = directory.root.path.display();
        let refusal = match self.look(&directory, names, request, head).await {
            Ok(chosen) => return directory.offloaded(chosen, request, head),
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::Missing => {
                limited!(Error, "{field}: there is no file '{value}' below {root}");
                text(404, &[])
            }
            Refusal::Link => {
                limited!(
                    Error,
                    "{field}: '{value}' below {root} is or leads through a symbolic link that option 'symlinks' does not allow"
                );
                text(404, &[])
            }
            Refusal::Forbidden => {
                limited!(Error, "{field}: '{value}' below {root} may not be read");
                text(403, &[])
            }
            Refusal::Failed(error) => {
                limited!(
                    Error,
                    "{field}: '{value}' below {root} can't be opened: {error}"
                );
                text(500, &[])
            }
            Refusal::Wait => text(500, &[]),
        }
    }

    fn at_url(&self, url: &[u8]) -> Option<Place> {
        let end = memchr::memchr(b'?', url).unwrap_or(url.len());
        let parts = Parts::of_path(&url[..end]).filter(|parts| parts.sound && !parts.slash)?;
        let (directory, own) = self.internal.root.find(&parts.names)?;
        let below = parts.names.get(own..)?.to_vec();
        (!below.is_empty()).then(|| (Arc::clone(directory), below))
    }

    async fn at_path(&self, path: &[u8]) -> Option<Place> {
        // It is a path of the file system: nothing in it is decoded.
        let parts = Parts::of_plain(path).filter(|parts| parts.sound && !parts.slash)?;
        let below = |root: &Path| {
            let root = Parts::of_plain(root.as_os_str().as_encoded_bytes())?;
            let below = parts.names.strip_prefix(&root.names[..])?;
            (root.sound && !below.is_empty()).then(|| below.to_vec())
        };
        let roots = self.roots.iter();
        let found = roots.filter_map(|root| Some((Arc::clone(root), below(&root.root.path)?)));
        // Of roots that contain each other, the inner one.
        let found = found.min_by_key(|(_, below)| below.len());
        if found.is_some() {
            return found;
        }
        // Apps name the real path where the root's is a link, as a deployment makes it.
        let paths: Vec<_> = self
            .roots
            .iter()
            .map(|root| root.root.path.clone())
            .collect();
        let real =
            disk::blocking(move || Ok(paths.iter().map(|path| path.canonicalize()).collect()));
        let real: Vec<_> = real.await.unwrap_or_default();
        let roots = self.roots.iter().zip(real);
        let found = roots.filter_map(|(root, real)| Some((Arc::clone(root), below(&real.ok()?)?)));
        found.min_by_key(|(_, below)| below.len())
    }

    async fn look(
        &self,
        directory: &Arc<Directory>,
        names: Vec<Vec<u8>>,
        request: &RequestHead,
        head: &ResponseHead,
    ) -> Result<Chosen, Refusal> {
        // An entity tag of the app's stands for one content, and what it says of the coding is of the file itself.
        let has = |name| head.fields.first(name).is_some();
        let mut wanted = Wanted {
            names,
            slash: false,
            codings: match has("etag") || has("content-encoding") {
                true => Codings::default(),
                false => Codings::of(&request.fields),
            },
            content: request.method() != b"HEAD",
        };
        let mut found = self.internal.look(directory, &wanted).await?;
        if matches!(found, Found::NotAcceptable) {
            // As any response of the app's, it is sent in any case.
            wanted.codings = Codings::default();
            found = self.internal.look(directory, &wanted).await?;
        }
        match found {
            Found::File(chosen) => Ok(*chosen),
            Found::Redirect | Found::Listing(..) | Found::Unlisted | Found::NotAcceptable => {
                Err(Refusal::Missing)
            }
        }
    }
}

/// Fields of the app's that are of another content, or for us.
const DROPPED: [&[u8]; 5] = [
    b"x-sendfile",
    b"content-length",
    b"content-range",
    b"transfer-encoding",
    b"trailer",
];

impl Directory {
    /// The file in the place of what the app has sent. The app's fields stay; what it does not say is told of the file.
    fn offloaded(&self, chosen: Chosen, request: &RequestHead, head: &ResponseHead) -> Answer {
        let now = date::seconds_now();
        let etag = etag(&chosen.metadata, chosen.coding, now);
        let date = last_modified(&chosen.metadata, now);
        let is = |name: &[u8], other: &[u8]| name.eq_ignore_ascii_case(other);
        let is_accel = |name: &[u8]| name.get(..8).is_some_and(|begin| is(begin, b"x-accel-"));
        let lines = head.fields.iter();
        let mut fields: Vec<(&[u8], &[u8])> = lines
            .filter(|(name, _)| !is_accel(name) && !DROPPED.iter().any(|other| is(name, other)))
            .collect();
        let has = |name| head.fields.first(name).is_some();
        if !has("content-type") {
            fields.push((b"Content-Type", chosen.kind.text.as_bytes()));
        }
        if let Some(date) = date.as_ref().filter(|_| !has("last-modified")) {
            fields.push((b"Last-Modified", date));
        }
        if !has("etag") {
            fields.push((b"ETag", etag.as_bytes()));
        }
        if let Some(coding) = chosen.coding {
            fields.push((b"Content-Encoding", coding.as_bytes()));
        }
        let varies = |member: &[u8]| member == b"*" || is(member, b"accept-encoding");
        let mut vary = head.fields.all("vary").flat_map(list_members);
        let has_variants = chosen.kind.compresses && !has("etag") && !has("content-encoding");
        if has_variants && !vary.any(varies) {
            fields.push((b"Vary", b"Accept-Encoding"));
        }
        let representation = Representation {
            fields: &fields,
            source: chosen.source,
        };
        let no_ranges = head.fields.first("accept-ranges") == Some(b"none");
        match (request.method(), head.status) {
            (b"GET" | b"HEAD", 200) if !no_ranges => representation.answer(request, now),
            (_, status) => representation.whole_with(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{Fallback, Links};
    use crate::semantics::field::Fields;

    fn settings(url: &str, path: &str) -> Settings {
        Settings {
            url: url.to_owned(),
            path: path.into(),
            links: Links::Inside,
            index: Vec::new(),
            listing: false,
            hidden: true,
            fallback: Fallback::NotFound,
            folder: Default::default(),
            headers: Vec::new(),
            cache_control: String::new(),
            types: Vec::new(),
            charset: String::new(),
        }
    }

    fn shown(place: Option<Place>) -> String {
        let shown = place.map(|(directory, names)| {
            let names = String::from_utf8_lossy(&names.join(&b'/')).into_owned();
            format!("{} {names}", directory.root.path.display())
        });
        shown.unwrap_or_default()
    }

    #[tokio::test]
    async fn what_is_named_is_below_a_directory() {
        let internal = [
            settings("/files", "/srv/files"),
            settings("/files/big", "/mnt"),
        ];
        let roots = [settings("/", "/srv"), settings("/", "/srv/inner/")];
        let offload = Offload::new(&internal, &roots).unwrap();
        for (url, expected) in [
            ("/files/a", "/srv/files a"),
            ("/files/a%20b/c?x", "/srv/files a b/c"),
            ("/files/ä b", "/srv/files ä b"),
            ("/files/big/a", "/mnt a"),
            ("/files", ""),
            ("/files/", ""),
            ("/files/a/", ""),
            ("/files/../a", ""),
            ("/files/%2e%2e/a", ""),
            ("/files/%2fetc", ""),
            ("/files/%00", ""),
            ("/other/a", ""),
            ("files/a", ""),
            ("@named", ""),
            ("", ""),
        ] {
            assert_eq!(shown(offload.at_url(url.as_bytes())), expected, "{url}");
        }
        for (path, expected) in [
            ("/srv/a%20b", "/srv a%20b"),
            ("/srv/inner/c", "/srv/inner/ c"),
            ("/srv/a?b", "/srv a?b"),
            ("/srv", ""),
            ("/srv/", ""),
            ("/srv/../etc/passwd", ""),
            ("/srv/./a", ""),
            ("/srv//a", ""),
            ("/srvother/a", ""),
            ("/etc/passwd", ""),
            ("srv/a", ""),
            ("", ""),
        ] {
            let place = offload.at_path(path.as_bytes()).await;
            assert_eq!(shown(place), expected, "{path}");
        }
    }

    #[test]
    fn fields_for_a_proxy_stay() {
        let head = |status, name: &str| ResponseHead {
            status,
            fields: Fields::from_pairs([(name, "/a")]),
        };
        let sendfile = Offload::new(&[], &[settings("/", "/srv")]).unwrap();
        let accel = Offload::new(&[settings("/a", "/srv")], &[]).unwrap();
        assert_eq!(
            sendfile.named(&head(200, "x-sendfile")),
            Some(Named::Path(b"/a"))
        );
        assert_eq!(sendfile.named(&head(200, "X-Accel-Redirect")), None);
        assert_eq!(
            accel.named(&head(404, "X-Accel-Redirect")),
            Some(Named::Url(b"/a"))
        );
        assert_eq!(accel.named(&head(304, "X-Accel-Redirect")), None);
        assert_eq!(accel.named(&head(200, "X-Sendfile")), None);
        assert!(Offload::new(&[], &[]).is_none());
    }
}
