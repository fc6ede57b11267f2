//! Files that the server sends itself: which directory a request leads to, and the response.
//!
//! A directory is a node of the plan's tree. Below its root each path is looked up once, by the kernel, and never outside; what
//! follows is asked of the descriptor. Nothing is kept from one request to the next, so nothing can be stale.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use self::kinds::Kinds;
use self::links::Refusal;
use self::listing::Asked;
use self::look::{Chosen, Found, Wanted, look};
use self::open::{Below, Reach, Root};
use self::path::Parts;
use crate::body::Body;
use crate::disk;
use crate::log::limited;
use crate::semantics::accept::Codings;
use crate::semantics::date;
use crate::semantics::field::Fields;
use crate::semantics::message::{RequestHead, ResponseHead};

pub mod answer;
pub mod kinds;
mod links;
mod listing;
mod look;
pub mod of_app;
pub mod offload;
mod open;
mod path;
mod style;
mod walk;

pub use self::answer::{Answer, Representation, text};
pub use self::links::Links;
pub(crate) use self::path::is_hidden;

/// Look-ups that wait for disks at the same time, so that other work finds threads as well.
const DISKS: usize = 16;

/// The methods that files have.
const ALLOW: &[u8] = b"GET, HEAD, OPTIONS";

/// A directory that is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of its URL, which begins with a slash.
    pub url: String,
    /// Its path in the file system.
    pub path: PathBuf,
    /// The folder below that path whose files are served; none: all. Links on the way to it are judged as those in it.
    pub folder: PathBuf,
    /// Which links are followed.
    pub links: Links,
    /// Names of files that stand for a directory.
    pub index: Vec<String>,
    /// Whether directories without such a file are listed.
    pub listing: bool,
    /// Whether hidden files are served.
    pub hidden: bool,
    /// What answers for a file that is not there.
    pub fallback: Fallback,
    /// The value of Cache-Control; empty is none.
    pub cache_control: String,
    /// Further header fields of responses with files.
    pub headers: Vec<(String, String)>,
    /// Endings and media types, beside those that are built in.
    pub types: Vec<(String, String)>,
    /// The charset of texts; empty is none.
    pub charset: String,
}

/// What answers for a file that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The app
    App,
    /// 404
    NotFound,
    /// The file of this path below the root
    File(String),
}

impl Fallback {
    fn is_app(&self) -> bool {
        *self == Fallback::App
    }
}

/// All directories that are served.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Those that clients see
    pub directories: Vec<Settings>,
    /// Those whose files the app names by X-Accel-Redirect
    pub internal: Vec<Settings>,
    /// Those whose files the app names by X-Sendfile; their URLs count for nothing
    pub sendfile: Vec<Settings>,
}

/// A directory as it is served.
#[derive(Debug)]
struct Directory {
    root: Root,
    /// The way from the root to what is served.
    folder: Vec<Vec<u8>>,
    index: Vec<Vec<u8>>,
    listing: bool,
    hidden: bool,
    fallback: Fallback,
    cache_control: String,
    headers: Vec<(String, String)>,
    kinds: Kinds,
}

impl Directory {
    fn new(settings: &Settings) -> Self {
        let index = settings.index.iter();
        let folder = settings.folder.iter();
        Directory {
            folder: folder.map(|name| name.as_bytes().to_vec()).collect(),
            root: Root {
                path: settings.path.clone(),
                links: settings.links,
            },
            index: index.map(|name| name.clone().into_bytes()).collect(),
            listing: settings.listing,
            hidden: settings.hidden,
            fallback: settings.fallback.clone(),
            cache_control: settings.cache_control.clone(),
            headers: settings.headers.clone(),
            kinds: Kinds::new(&settings.types, &settings.charset),
        }
    }
}

/// A part of a URL's path, and what is below it.
#[derive(Debug, Default)]
struct Node {
    directory: Option<Arc<Directory>>,
    below: BTreeMap<Vec<u8>, Node>,
}

impl Node {
    /// The directory of the longest path that these names begin with, and how many of them are its own.
    fn find(&self, names: &[Vec<u8>]) -> Option<(&Arc<Directory>, usize)> {
        let mut node = self;
        let mut found = node.directory.as_ref().map(|directory| (directory, 0));
        for (index, name) in names.iter().enumerate() {
            let Some(below) = node.below.get(name) else {
                break;
            };
            node = below;
            let here = node.directory.as_ref();
            found = here.map(|directory| (directory, index + 1)).or(found);
        }
        found
    }
}

/// The first part of the path of a request, decoded; nothing where it could be no file's.
pub fn first_name(head: &RequestHead) -> Option<Vec<u8>> {
    let parts = Parts::of(head.method(), head.target())?;
    parts.names.into_iter().next()
}

/// The directories, and what all look-ups share.
#[derive(Debug)]
pub struct Files {
    root: Node,
    disks: Disks,
}

/// The look-ups that may wait for a disk at a time.
#[derive(Clone, Debug)]
pub struct Disks(Arc<Semaphore>);

impl Default for Disks {
    fn default() -> Self {
        Disks(Arc::new(Semaphore::new(DISKS)))
    }
}

/// Where a request leads.
#[derive(Clone, Debug)]
pub struct Place {
    directory: Arc<Directory>,
    /// The path of the URL, part by part; the directory's own parts come first.
    names: Vec<Vec<u8>>,
    own: usize,
    slash: bool,
    /// Whether all parts could name a file.
    sound: bool,
}

impl Files {
    /// These directories. Of two with the same URL the later one counts.
    pub fn new(directories: &[Settings]) -> Self {
        Files::sharing(directories, &Disks::default())
    }

    /// As [`Files::new`], of several that share the disks.
    pub fn sharing(directories: &[Settings], disks: &Disks) -> Self {
        let mut root = Node::default();
        for settings in directories {
            let parts = settings.url.split('/').filter(|part| !part.is_empty());
            let node = parts.fold(&mut root, |node, part| {
                node.below.entry(part.as_bytes().to_vec()).or_default()
            });
            node.directory = Some(Arc::new(Directory::new(settings)));
        }
        Files {
            root,
            disks: disks.clone(),
        }
    }

    /// The directory that has this request: that of the longest path. Nothing where the app has it without a look at files.
    pub fn find(&self, head: &RequestHead) -> Option<Place> {
        let parts = Parts::of(head.method(), head.target())?;
        let (directory, own) = self.root.find(&parts.names)?;
        let reads = matches!(head.method(), b"GET" | b"HEAD");
        if directory.fallback.is_app() && (!reads || !parts.sound) {
            return None;
        }
        Some(Place {
            directory: Arc::clone(directory),
            own,
            slash: parts.slash,
            sound: parts.sound,
            names: parts.names,
        })
    }

    /// The response to a request that leads there; nothing where the app is to give it.
    pub async fn answer(&self, place: &Place, head: &RequestHead) -> Option<Answer> {
        let directory = &place.directory;
        match head.method() {
            b"GET" | b"HEAD" => {}
            b"OPTIONS" => {
                let head = [(&b"Allow"[..], ALLOW), (b"Content-Length", b"0")];
                return Some(Answer {
                    head: ResponseHead {
                        status: 204,
                        fields: Fields::from_pairs(head),
                    },
                    body: Body::default(),
                });
            }
            _ => return Some(text(405, &[(b"Allow", ALLOW)])),
        }
        let below = &place.names[place.own..];
        let hidden = !directory.hidden && below.iter().any(|name| is_hidden(name));
        let mut wanted = Wanted {
            names: directory.names(below),
            slash: place.slash,
            codings: Codings::of(&head.fields),
            content: head.method() == b"GET",
        };
        let mut found = match place.sound && !hidden {
            true => self.look(directory, &wanted).await,
            false => Err(Refusal::Missing),
        };
        if let Err(refusal) = &found {
            self.complain(directory, &wanted, refusal);
        }
        if let (Err(Refusal::Missing | Refusal::Link), Fallback::File(path)) =
            (&found, &directory.fallback)
        {
            let names = path.split('/').filter(|name| !name.is_empty());
            let names: Vec<_> = names.map(|name| name.as_bytes().to_vec()).collect();
            wanted.slash = names.is_empty();
            wanted.names = directory.names(&names);
            found = self.look(directory, &wanted).await;
        }
        let answer = match found {
            Ok(Found::File(chosen)) => directory.file(*chosen, head),
            Ok(Found::Redirect) => redirect(place, head),
            Ok(Found::Listing(opened, below)) => {
                self.list(place, wanted.names, (opened, below), head).await
            }
            Ok(Found::Unlisted) => text(403, &[]),
            Ok(Found::NotAcceptable) => text(406, &[(b"Vary", b"Accept-Encoding")]),
            Err(Refusal::Missing | Refusal::Link) if directory.fallback.is_app() => return None,
            Err(Refusal::Missing | Refusal::Link) => text(404, &[]),
            Err(Refusal::Forbidden) => text(403, &[]),
            Err(Refusal::Wait | Refusal::Failed(_)) => text(500, &[]),
        };
        Some(answer)
    }

    /// The file of this path as the content of an error's response; nothing where it can't be sent.
    pub async fn page(
        &self,
        path: &str,
        status: u16,
        kept: &Fields,
        request: &RequestHead,
    ) -> Option<Answer> {
        let parts = Parts::of_plain(path.as_bytes()).filter(|parts| parts.sound)?;
        let (directory, own) = self.root.find(&parts.names)?;
        let wanted = Wanted {
            names: directory.names(&parts.names[own..]),
            slash: parts.slash,
            codings: Codings::of(&request.fields),
            content: request.method() != b"HEAD",
        };
        match self.look(directory, &wanted).await {
            Ok(Found::File(chosen)) => Some(Directory::page(*chosen, status, kept)),
            Err(refusal @ (Refusal::Link | Refusal::Failed(_))) => {
                self.complain(directory, &wanted, &refusal);
                None
            }
            _ => {
                limited!(
                    Warn,
                    "there is no page '{path}' for errors with status {status}"
                );
                None
            }
        }
    }

    async fn list(
        &self,
        place: &Place,
        names: Vec<Vec<u8>>,
        (opened, below): (OwnedFd, Below),
        head: &RequestHead,
    ) -> Answer {
        let Some(asked) = Asked::of(head) else {
            return text(406, &[listing::VARY]);
        };
        let directory = Arc::clone(&place.directory);
        let url = url(&place.names);
        let _permit = self.disks.0.acquire().await;
        let made =
            disk::blocking(move || listing::make(&directory, opened, &below, &names, &url, &asked));
        match made.await {
            Ok(text) => listing::answer(&asked, text),
            Err(error) => {
                limited!(Warn, "a directory can't be listed: {error}");
                text(500, &[])
            }
        }
    }

    /// Looks in memory, and if that is not enough, on a thread that may wait for a disk.
    async fn look(&self, directory: &Arc<Directory>, wanted: &Wanted) -> Result<Found, Refusal> {
        match look(directory, wanted, Reach::Memory) {
            Err(Refusal::Wait) => {}
            found => return found,
        }
        let _permit = self.disks.0.acquire().await;
        let (directory, wanted) = (Arc::clone(directory), wanted.clone());
        let looked = disk::blocking(move || Ok(look(&directory, &wanted, Reach::Disk)));
        looked
            .await
            .unwrap_or_else(|error| Err(Refusal::Failed(error)))
    }

    fn complain(&self, directory: &Directory, wanted: &Wanted, refusal: &Refusal) {
        let root = directory.root.path.display();
        let name = wanted.names.join(&b'/');
        let name = name.escape_ascii();
        match refusal {
            Refusal::Link => limited!(
                Warn,
                "'{name}' below {root} is or leads through a symbolic link that option 'symlinks' does not allow"
            ),
            Refusal::Failed(error) => {
                limited!(Warn, "'{name}' below {root} can't be opened: {error}");
            }
            Refusal::Missing | Refusal::Forbidden | Refusal::Wait => {}
        }
    }
}

impl Directory {
    /// The path from the root to what has this path in the folder.
    fn names(&self, below: &[Vec<u8>]) -> Vec<Vec<u8>> {
        [&self.folder, below].concat()
    }

    fn file(&self, chosen: Chosen, head: &RequestHead) -> Answer {
        let now = date::seconds_now();
        let metadata = &chosen.metadata;
        let etag = etag(metadata, chosen.coding, now);
        let date = last_modified(metadata, now);
        let mut fields: Vec<(&[u8], &[u8])> = Vec::with_capacity(8);
        fields.push((b"Content-Type", chosen.kind.text.as_bytes()));
        if let Some(date) = &date {
            fields.push((b"Last-Modified", date));
        }
        fields.push((b"ETag", etag.as_bytes()));
        if let Some(coding) = chosen.coding {
            fields.push((b"Content-Encoding", coding.as_bytes()));
        }
        if chosen.kind.compresses {
            fields.push((b"Vary", b"Accept-Encoding"));
        }
        if !self.cache_control.is_empty() {
            fields.push((b"Cache-Control", self.cache_control.as_bytes()));
        }
        let more = self.headers.iter();
        fields.extend(more.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let representation = Representation {
            fields: &fields,
            source: chosen.source,
        };
        representation.answer(head, now)
    }
}

impl Directory {
    /// An error's response has no validators: it is no representation of what was asked for.
    fn page(chosen: Chosen, status: u16, kept: &Fields) -> Answer {
        let is_contents = |name: &[u8]| {
            name.get(..8)
                .is_some_and(|begin| begin.eq_ignore_ascii_case(b"content-"))
        };
        let kept = kept.iter().filter(|(name, _)| !is_contents(name));
        let mut fields: Vec<(&[u8], &[u8])> = kept.collect();
        fields.push((b"Content-Type", chosen.kind.text.as_bytes()));
        if let Some(coding) = chosen.coding {
            fields.push((b"Content-Encoding", coding.as_bytes()));
        }
        let representation = Representation {
            fields: &fields,
            source: chosen.source,
        };
        representation.whole_with(status)
    }
}

/// The value of Last-Modified. Times before the second one mean that there is none, as in images of containers; a future one would be
/// wrong (RFC 9110 section 8.8.2.1).
fn last_modified(metadata: &std::fs::Metadata, now: i64) -> Option<[u8; date::LENGTH]> {
    let modified = metadata.mtime();
    (2..=now)
        .contains(&modified)
        .then(|| date::imf_fixdate(modified))
}

/// The entity tag: from time and size, and the coding. Weak where the file may be written again without a change of these.
fn etag(metadata: &std::fs::Metadata, coding: Option<&str>, now: i64) -> String {
    let (mut seconds, mut nanos) = (metadata.mtime(), metadata.mtime_nsec());
    let weak = if (now..=now + 1).contains(&seconds) {
        "W/"
    } else {
        ""
    };
    if seconds < 2 {
        (seconds, nanos) = (metadata.ctime(), metadata.ctime_nsec());
    }
    let time = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let size = metadata.len();
    match coding {
        Some(coding) => format!("{weak}\"{time:x}-{size:x}-{coding}\""),
        None => format!("{weak}\"{time:x}-{size:x}\""),
    }
}

/// To the same path with a slash. Made of the parts: what a client writes could lead elsewhere.
fn redirect(place: &Place, head: &RequestHead) -> Answer {
    let mut location = url(&place.names).into_bytes();
    let query = memchr::memchr(b'?', head.target()).map(|at| &head.target()[at..]);
    location.extend_from_slice(query.unwrap_or_default());
    text(301, &[(b"Location", &location)])
}

/// The path of a directory's URL.
fn url(names: &[Vec<u8>]) -> String {
    let mut url = String::from("/");
    for name in names {
        url += &listing::percent_encoded(name);
        url.push('/');
    }
    url
}
