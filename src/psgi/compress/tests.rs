//! Responses as they leave the compressor, beside what the app has given.

use std::io::Read as _;
use std::os::fd::AsFd;

use super::*;
use crate::coding::Types;
use crate::semantics::field::{Fields, Span};
use crate::semantics::message::{Length, Version};

/// Notes what it gets; a chunk is taken in parts of at most `most` bytes, as where signals come.
struct Record {
    parts: RefCell<Vec<Part>>,
    most: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Head(u16, Vec<(String, String)>, Length),
    Content(Vec<u8>),
    File(u64, u64),
    End,
    Abort,
    Flush,
}

impl Record {
    fn note(&self, part: Part) {
        self.parts.borrow_mut().push(part);
    }
}

impl Respond for Record {
    fn trailers(&self, _: u64, _: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        Ok(())
    }

    fn informational(&self, _: u64, _: u16, _: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        Ok(())
    }
    fn head(
        &self,
        _: u64,
        status: u16,
        fields: &[(&[u8], &[u8])],
        length: Length,
    ) -> Result<(), Lost> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase();
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| (text(name), text(value)));
        self.note(Part::Head(status, fields.collect(), length));
        Ok(())
    }
    fn chunk(&self, _: u64, content: &[u8]) -> Result<usize, Lost> {
        let some = content.len().min(self.most);
        self.note(Part::Content(content[..some].to_vec()));
        Ok(some)
    }
    fn file(&self, _: u64, _: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Lost> {
        self.note(Part::File(offset, length));
        Ok(())
    }
    fn take(&self, _: u64) -> Result<OwnedFd, Lost> {
        Err(Lost::Client)
    }
    fn look(&self, _: u64) -> Result<(), Lost> {
        Ok(())
    }
    fn end(&self, _: u64) -> Result<(), Lost> {
        self.note(Part::End);
        Ok(())
    }
    fn abort(&self, _: u64) {
        self.note(Part::Abort);
    }
    fn idle(&self) {}
    fn flush(&self) -> Result<(), Lost> {
        self.note(Part::Flush);
        Ok(())
    }
}

/// A compressor before which a request with these fields stands.
struct Case {
    record: Rc<Record>,
    compressor: Compressor,
}

const ID: u64 = 7;

type Pairs<'a> = &'a [(&'a str, &'a str)];

impl Case {
    fn new(method: &str, fields: Pairs<'_>) -> Self {
        Self::with(method, fields, usize::MAX)
    }

    fn with(method: &str, fields: Pairs<'_>, most: usize) -> Self {
        let record = Rc::new(Record {
            parts: RefCell::default(),
            most,
        });
        let settings = Settings {
            codings: vec![Coding::Gzip],
            types: Types::Known,
            min_length: 100,
        };
        let compressor = Compressor::new(Rc::clone(&record) as Rc<dyn Respond>, settings);
        let accept = [(method, "/"), ("Accept-Encoding", "gzip")];
        let mut fields = Fields::from_pairs(accept.into_iter().chain(fields.iter().copied()));
        let bytes = fields.bytes().clone();
        fields.retain(|name, _| name != method.as_bytes());
        let head = RequestHead {
            method: Span::of(&bytes, &bytes[..method.len()]),
            target: Span::of(&bytes, &bytes[method.len()..method.len() + 1]),
            version: Version::Http11,
            fields,
        };
        compressor.begin(ID, &head);
        Case { record, compressor }
    }

    fn head(&self, fields: Pairs<'_>, length: Option<u64>) {
        let text = [("Content-Type", "text/plain")];
        let fields: Vec<_> = text
            .iter()
            .chain(fields)
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        self.head_of(&fields, length.map_or(Length::Unknown, Length::Known));
    }

    fn file_head(&self, length: u64) {
        self.head_of(&[(b"Content-Type", b"text/plain")], Length::File(length));
    }

    fn head_of(&self, fields: &[(&[u8], &[u8])], length: Length) {
        self.compressor.head(ID, 200, fields, length).unwrap();
    }

    /// As the C side writes: what was not taken again.
    fn write(&self, content: &[u8]) -> Result<(), Lost> {
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[self.compressor.chunk(ID, rest)?..];
        }
        Ok(())
    }

    fn end(&self) {
        let _ = self.compressor.end(ID);
        assert!(self.compressor.state.borrow().open.is_empty());
    }

    fn parts(&self) -> Vec<Part> {
        std::mem::take(&mut *self.record.parts.borrow_mut())
    }

    /// The head's status and length, whether it names the coding, the content, and the last part.
    fn seen(&self) -> (u16, Option<u64>, bool, Vec<u8>, Part) {
        let parts = self.parts();
        let Some(Part::Head(status, fields, length)) = parts.first().cloned() else {
            panic!("no head: {parts:?}");
        };
        let has = |name: &str, value: &str| fields.contains(&(name.to_owned(), value.to_owned()));
        assert!(has("vary", "accept-encoding"), "{fields:?}");
        let mut content = Vec::new();
        for part in &parts {
            if let Part::Content(some) = part {
                content.extend_from_slice(some);
            }
        }
        let last = parts.last().cloned().unwrap();
        (
            status,
            length.known(),
            has("content-encoding", "gzip"),
            content,
            last,
        )
    }
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(bytes);
    reader.read_to_end(&mut content).unwrap();
    content
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"compress"[at * at % 8]).collect()
}

#[test]
fn a_whole_content_has_a_length() {
    let text = text(2000);
    let case = Case::new("GET", &[]);
    case.head(&[("Content-Length", "2000")], Some(2000));
    case.write(&text[..500]).unwrap();
    assert_eq!(case.parts(), [], "nothing leaves before all is there");
    case.write(&text[500..]).unwrap();
    case.end();
    let (status, length, coded, content, last) = case.seen();
    assert_eq!((status, coded, last), (200, true, Part::End));
    assert_eq!(length, Some(content.len() as u64));
    assert_eq!(decoded(&content), text);
}

#[test]
fn content_that_does_not_shrink_stays() {
    let noise: Vec<u8> = (0..200_u32).map(|at| (at * 167 % 251) as u8).collect();
    let case = Case::new("GET", &[]);
    case.head(&[("ETag", "\"a\"")], Some(200));
    case.write(&noise).unwrap();
    case.end();
    let (_, length, coded, content, _) = case.seen();
    assert_eq!((length, coded, content), (Some(200), false, noise));
}

#[test]
fn large_content_is_a_stream() {
    let text = text(300_000);
    for most in [usize::MAX, 100] {
        let case = Case::with("GET", &[], most);
        case.head(&[], Some(300_000));
        case.write(&text).unwrap();
        case.end();
        let (_, length, coded, content, last) = case.seen();
        assert_eq!((length, coded, last), (None, true, Part::End));
        assert_eq!(decoded(&content), text);
    }
}

#[test]
fn pieces_leave_when_they_are_flushed() {
    let case = Case::new("GET", &[]);
    case.head(&[], None);
    let mut content = Vec::new();
    for piece in ["one\n", "two\n"] {
        case.parts();
        case.write(piece.as_bytes()).unwrap();
        case.compressor.flush().unwrap();
        let parts = case.parts();
        for part in &parts {
            if let Part::Content(some) = part {
                content.extend_from_slice(some);
            }
        }
        assert_eq!(parts.last(), Some(&Part::Flush));
        let mut reader = flate2::read::GzDecoder::new(&content[..]);
        let mut read = [0; 100];
        let mut got = 0;
        while let Ok(some @ 1..) = reader.read(&mut read[got..]) {
            got += some;
        }
        assert!(read[..got].ends_with(piece.as_bytes()));
        case.compressor.flush().unwrap();
        assert_eq!(
            case.parts(),
            [Part::Flush],
            "a flush without content is nothing"
        );
    }
    case.end();
    assert_eq!(case.parts().last(), Some(&Part::End));
}

/// Protects: a response that is not whole is cut, though its Content-Length was taken away.
#[test]
fn the_announced_length_counts() {
    let case = Case::new("GET", &[]);
    case.head(&[("Content-Length", "200")], None);
    case.write(&[b'a'; 199]).unwrap();
    case.end();
    assert_eq!(case.parts().last(), Some(&Part::Abort));

    let case = Case::new("GET", &[]);
    case.head(&[("Content-Length", "200")], None);
    case.write(&[b'a'; 200]).unwrap();
    assert_eq!(case.compressor.look(ID), Err(Lost::Complete));
    assert_eq!(case.write(b"b"), Err(Lost::Complete));
    case.end();
    let (_, _, _, content, last) = case.seen();
    assert_eq!((decoded(&content), last), (vec![b'a'; 200], Part::End));
}

#[test]
fn head_is_like_get_without_a_length() {
    for length in [None, Some(2000)] {
        let case = Case::new("HEAD", &[]);
        case.head(&[("Content-Length", "2000"), ("ETag", "\"a\"")], length);
        case.end();
        let parts = case.parts();
        let Part::Head(200, fields, Length::Unknown) = &parts[0] else {
            panic!("{parts:?}");
        };
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "etag", "content-encoding", "vary"]);
        assert_eq!(fields[1].1, "w/\"a\"");
    }
}

#[test]
fn a_client_that_has_it_is_told_so() {
    for (value, status) in [("W/\"a\"", 304), ("\"b\", \"a\"", 304), ("\"b\"", 200)] {
        let case = Case::new("GET", &[("If-None-Match", value)]);
        case.head(&[("ETag", "\"a\"")], Some(2000));
        let written = case.write(&text(2000));
        case.end();
        let (seen, _, _, content, last) = case.seen();
        assert_eq!((seen, last), (status, Part::End), "{value}");
        assert_eq!(content.is_empty(), status == 304);
        assert_eq!(written.is_err(), status == 304);
    }
}

#[test]
fn files_are_read_unless_they_are_large_or_parts_are_wanted() {
    let text = text(3_000_000);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&text, 0).unwrap();
    for (length, fields, compressed) in [
        (20_000_u64, &[][..], true),
        (200_000, &[], true),
        (2_000_000, &[], false),
        (20_000, &[("Range", "bytes=0-1")], false),
    ] {
        let case = Case::new("GET", fields);
        case.file_head(length);
        case.compressor.file(ID, file.as_fd(), 5, length).unwrap();
        case.end();
        let parts = case.parts();
        assert_eq!(parts.contains(&Part::File(5, length)), !compressed);
        *case.record.parts.borrow_mut() = parts;
        let (_, told, coded, content, last) = case.seen();
        assert_eq!((coded, last), (compressed, Part::End));
        if compressed {
            assert_eq!(decoded(&content), text[5..5 + length as usize]);
            assert_eq!(told.is_some(), length <= WHOLE);
        } else {
            assert_eq!(told, Some(length));
        }
    }
}

/// Protects: a file that has become shorter ends as a response that is not whole.
#[test]
fn a_file_that_shrinks_cuts() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(150_000).unwrap();
    let case = Case::new("GET", &[]);
    case.head(&[], Some(200_000));
    let sent = case.compressor.file(ID, file.as_fd(), 0, 200_000);
    assert_eq!(sent, Err(Lost::Finished));
    let _ = case.compressor.end(ID);
    assert_eq!(case.parts().last(), Some(&Part::Abort));
}
