//! The page that lists a directory, as HTML or JSON. Names come from anybody who can make files: they are text in one and
//! strings in the other, never markup.

use std::cmp::Ordering;
use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use super::answer::Answer;
use super::look::beneath;
use super::open::Below;
use super::path::is_hidden;
use super::{Directory, style};
use crate::html;
use crate::semantics::accept::media_type;
use crate::semantics::date;
use crate::semantics::field::Fields;
use crate::semantics::message::{RequestHead, ResponseHead};

/// The most entries that a page shows.
const MOST: usize = 10_000;

/// What a request asks of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    form: Form,
    by: By,
    descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Name,
    Size,
    Time,
}

impl Asked {
    /// By Accept and the query; nothing where the client accepts no form that there is.
    pub(super) fn of(head: &RequestHead) -> Option<Self> {
        let query = head.target().splitn(2, |&byte| byte == b'?').nth(1);
        let mut form = match media_type(&head.fields, &["text/html", "application/json"]) {
            Some(0) => Some(Form::Html),
            Some(_) => Some(Form::Json),
            None => None,
        };
        let (mut by, mut descending) = (By::Name, false);
        for parameter in query.unwrap_or_default().split(|&byte| byte == b'&') {
            match parameter {
                b"json" => form = Some(Form::Json),
                b"sort=size" => by = By::Size,
                b"sort=time" => by = By::Time,
                b"order=desc" => descending = true,
                _ => {}
            }
        }
        form.map(|form| Asked {
            form,
            by,
            descending,
        })
    }
}

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    directory: bool,
    size: u64,
    modified: i64,
}

/// The text of the listing of an open directory. To be made where a disk may be waited for.
pub(super) fn make(
    directory: &Directory,
    opened: OwnedFd,
    below: &Below,
    names: &[Vec<u8>],
    url: &str,
    asked: &Asked,
) -> io::Result<String> {
    let (mut entries, more) = read(directory, opened, below, names)?;
    entries.sort_unstable_by(|a, b| order(a, b, asked));
    Ok(match asked.form {
        Form::Json => json(&entries),
        Form::Html => page(&entries, more, url, asked),
    })
}

/// The response with this text.
pub(super) fn answer(asked: &Asked, text: String) -> Answer {
    let kind = match asked.form {
        Form::Json => &b"application/json"[..],
        Form::Html => b"text/html; charset=utf-8",
    };
    let length = text.len().to_string();
    let fields = [
        (&b"Content-Type"[..], kind),
        (b"Content-Length", length.as_bytes()),
        VARY,
        (b"Cache-Control", b"no-cache"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", html::POLICY.as_bytes()),
    ];
    Answer {
        head: ResponseHead {
            status: 200,
            fields: Fields::from_pairs(fields),
        },
        body: text.into(),
    }
}

/// The form of a listing depends on what the client accepts.
pub(super) const VARY: (&[u8], &[u8]) = (b"Vary", b"Accept");

/// The entries that a request could have, and whether there are more than are shown.
fn read(
    directory: &Directory,
    opened: OwnedFd,
    below: &Below,
    names: &[Vec<u8>],
) -> io::Result<(Vec<Entry>, bool)> {
    let path = names.join(&b'/');
    let mut dir = Dir::from_fd(opened)?;
    let mut entries = Vec::new();
    let mut all = Vec::new();
    for entry in dir.iter() {
        let name = entry?.file_name().to_bytes().to_owned();
        let hidden = !directory.hidden && is_hidden(&name);
        if name == b"." || name == b".." || hidden {
            continue;
        }
        all.push(name);
        if all.len() > MOST {
            break;
        }
    }
    let more = all.len() > MOST;
    all.truncate(MOST);
    for name in all {
        let Ok(stat) = fstatat(&dir, &*name, AtFlags::AT_SYMLINK_NOFOLLOW) else {
            continue;
        };
        let stat = match kind(&stat) {
            // A link shows what it leads to, if it is one that is followed.
            SFlag::S_IFLNK => match below.open(&beneath(&path, &name), OFlag::O_PATH) {
                Ok(target) => fstat(&target)?,
                Err(_) => continue,
            },
            _ => stat,
        };
        let kind = kind(&stat);
        if kind == SFlag::S_IFDIR || kind == SFlag::S_IFREG {
            entries.push(Entry {
                name,
                directory: kind == SFlag::S_IFDIR,
                size: u64::try_from(stat.st_size).unwrap_or(0),
                modified: stat.st_mtime,
            });
        }
    }
    Ok((entries, more))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Directories come first.
fn order(a: &Entry, b: &Entry, asked: &Asked) -> Ordering {
    let by = match asked.by {
        By::Name => Ordering::Equal,
        By::Size => a.size.cmp(&b.size),
        By::Time => a.modified.cmp(&b.modified),
    };
    let by = by.then_with(|| a.name.cmp(&b.name));
    let by = if asked.descending { by.reverse() } else { by };
    b.directory.cmp(&a.directory).then(by)
}

fn json(entries: &[Entry]) -> String {
    let mut out = String::from("[");
    for (index, entry) in entries.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let kind = if entry.directory { "directory" } else { "file" };
        let _ = write!(out, "{comma}\n{{\"name\":");
        json_string(&mut out, &String::from_utf8_lossy(&entry.name));
        let _ = write!(
            out,
            ",\"type\":\"{kind}\",\"mtime\":\"{}\"",
            rfc3339(entry.modified)
        );
        if !entry.directory {
            let _ = write!(out, ",\"size\":{}", entry.size);
        }
        let slash = if entry.directory { "/" } else { "" };
        let _ = write!(
            out,
            ",\"href\":\"./{}{slash}\"}}",
            percent_encoded(&entry.name)
        );
    }
    out.push_str("\n]\n");
    out
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            // `<` as well: so the text is harmless within a page's script.
            c if c.is_control() || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn page(entries: &[Entry], more: bool, url: &str, asked: &Asked) -> String {
    let mut out = html::begin(&decoded(url), style::STYLE, "");
    out.reserve(entries.len() * 256);
    out.push_str(style::ICONS);
    out.push_str("\n<main>\n<h1>");
    crumbs(&mut out, url);
    out.push_str("</h1>\n<table>\n<thead><tr>");
    column(&mut out, asked, By::Name, "name", "Name");
    column(&mut out, asked, By::Size, "size", "Size");
    column(&mut out, asked, By::Time, "time", "Modified");
    out.push_str("</tr></thead>\n<tbody>\n");
    if url != "/" {
        out.push_str(
            "<tr><td><a href=\"../\"><svg aria-hidden=\"true\"><use href=\"#u\"/></svg>Parent directory</a></td><td></td><td></td></tr>\n",
        );
    }
    entries.iter().for_each(|entry| row(&mut out, entry));
    out.push_str("</tbody>\n</table>\n");
    let directories = entries.iter().filter(|entry| entry.directory).count();
    let files = entries.len() - directories;
    let note = match (entries.len(), more) {
        (_, true) => format!("There are more entries: only {MOST} of them are shown."),
        (0, false) => "This directory is empty.".to_owned(),
        _ => {
            let s = |count: usize| if count == 1 { "" } else { "s" };
            let ies = if directories == 1 { "y" } else { "ies" };
            format!("{directories} director{ies}, {files} file{}", s(files))
        }
    };
    let _ = write!(out, "<p>{note}</p>\n</main>\n{}", html::END);
    out
}

/// The path, each of its parts a link.
fn crumbs(out: &mut String, url: &str) {
    out.push_str("<a href=\"/\">/</a>");
    let mut href = String::from("/");
    for part in url.split('/').filter(|part| !part.is_empty()) {
        href += part;
        href.push('/');
        let _ = write!(out, "<a href=\"{href}\">");
        html::escape(out, &decoded(part));
        out.push_str("</a><span>/</span>");
    }
}

fn column(out: &mut String, asked: &Asked, by: By, word: &str, title: &str) {
    let current = asked.by == by;
    let descending = current && !asked.descending;
    let order = if descending { "&amp;order=desc" } else { "" };
    let aria = match (current, asked.descending) {
        (false, _) => "",
        (true, false) => " aria-sort=\"ascending\"",
        (true, true) => " aria-sort=\"descending\"",
    };
    let _ = write!(
        out,
        "<th scope=\"col\"{aria}><a href=\"?sort={word}{order}\">{title}</a></th>"
    );
}

fn row(out: &mut String, entry: &Entry) {
    let (icon, slash) = if entry.directory {
        ("d", "/")
    } else {
        ("f", "")
    };
    // `./`: a name such as `javascript:x` is no scheme.
    let _ = write!(
        out,
        "<tr><td><a href=\"./{}{slash}\"><svg aria-hidden=\"true\"><use href=\"#{icon}\"/></svg><span>",
        percent_encoded(&entry.name)
    );
    html::escape(out, &String::from_utf8_lossy(&entry.name));
    let _ = write!(out, "{slash}</span></a></td><td");
    if entry.directory {
        out.push('>');
    } else {
        let _ = write!(out, " title=\"{} bytes\">{}", entry.size, human(entry.size));
    }
    let time = rfc3339(entry.modified);
    let (day, clock) = (&time[..10], &time[11..16]);
    let _ = writeln!(
        out,
        "</td><td><time datetime=\"{time}\" title=\"{time}\">{day}<i> {clock}</i></time></td></tr>"
    );
}

/// A name as a part of a URL's path.
pub(super) fn percent_encoded(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn decoded(url: &str) -> String {
    let decoded = crate::semantics::target::decode_path(url.as_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&decoded).into_owned()
}

fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        value /= 1000.0;
        unit = next;
        if value < 999.5 {
            break;
        }
    }
    match value < 9.95 {
        true => format!("{value:.1} {unit}"),
        false => format!("{value:.0} {unit}"),
    }
}

/// As `2026-11-28T23:05:00Z`.
fn rfc3339(seconds: i64) -> String {
    let text = date::imf_fixdate(seconds);
    let text = String::from_utf8_lossy(&text);
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.find(&text[8..11]).unwrap_or(0) / 3 + 1;
    format!(
        "{}-{month:02}-{}T{}Z",
        &text[12..16],
        &text[5..7],
        &text[17..25]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.as_bytes().to_vec(),
            directory: false,
            size: 1234,
            modified: 784_111_777,
        }
    }

    const ASKED: Asked = Asked {
        form: Form::Html,
        by: By::Name,
        descending: false,
    };

    /// Protects: a user who can name files can't write into the page.
    #[test]
    fn names_are_text() {
        for name in [
            "<script>alert(1)</script>",
            "\" onmouseover=\"alert(1)",
            "' onclick='x",
            "javascript:alert(1)",
            "&lt;b&gt;",
            "a\u{202e}gpj.exe",
            "line\nbreak",
        ] {
            let page = page(&[entry(name)], false, "/", &ASKED);
            let row = page.lines().find(|line| line.contains("1.2 KB")).unwrap();
            assert!(
                !row.contains("<script") && !row.contains("alert(1)\""),
                "{row}"
            );
            assert_eq!(row.matches('"').count() % 2, 0, "{row}");
            assert!(
                row.contains("href=\"./") && !row.contains('\u{202e}'),
                "{row}"
            );
            let list = json(&[entry(name)]);
            assert!(!list.contains('<') && list.lines().count() == 3, "{list}");
        }
    }

    #[test]
    fn the_url_of_the_page_is_text() {
        let page = page(&[], false, "/%3Cb%3E/%22/", &ASKED);
        assert!(page.contains("<a href=\"/%3Cb%3E/\">&lt;b&gt;</a>"));
        assert!(page.contains("<title>/&lt;b&gt;/&quot;/</title>"));
        assert!(page.contains("This directory is empty."));
    }

    #[test]
    fn sizes_and_times_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (9_940, "9.9 KB"),
            (9_960, "10 KB"),
            (999_499, "999 KB"),
            (999_500, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(rfc3339(784_111_777), "1994-11-06T08:49:37Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}
