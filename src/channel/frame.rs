//! Frames: sixteen bytes of header, then a payload. Both processes are one program on one machine.
//!
//! ```text
//!  0        4      5       6        8            16
//!  | length | kind | marks | status | request id | payload ... |
//! ```

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::violation::Violation;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 16;

/// Where a header has its kind.
pub(super) const KIND: usize = 4;

/// Where a header has its marks.
pub(super) const MARKS: usize = 5;

/// Mark: a descriptor comes along.
const DESCRIPTOR: u8 = 1;

/// Mark: the response is complete after this frame, as with an End.
pub(super) const ENDS: u8 = 2;

/// Mark: the worker is ready after this frame, as with an Idle.
pub(super) const IDLE: u8 = 4;

/// Mark of a head: the content is all of a regular file.
pub(super) const OF_FILE: u8 = 8;

/// A payload up to this size is copied: a reference to it would hold the whole buffer that was read into.
const COPY: usize = 4 * 1024;

/// No frame's payload is longer; a length beyond it means that the stream is garbage.
pub(super) const MAX_PAYLOAD: usize = 1024 * 1024;

/// Frames that are written together have no more bytes than this: a piece of content, and the longest frame after it.
const MOST_TOGETHER: usize = 2 * (HEADER + MAX_PAYLOAD);

/// The worker sends content in pieces up to this size.
pub(super) const PIECE: usize = 64 * 1024;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Core to worker: a complete request.
    Request = 1,
    /// Core to worker: how many more bytes of content may be sent.
    Credit = 2,
    /// Core to worker: leave when nothing is in flight.
    Stop = 3,
    /// Core to worker: the client's socket, or nothing where it can't be had.
    Reply = 4,
    /// Core to worker: what does the app say of this client's certificate? Send Verdict.
    Verify = 5,
    /// Core to worker: has its event loop turned? Send Turned.
    Ask = 6,
    /// Worker to core: an interim response.
    Informational = 16,
    /// Worker to core: the head of the final response.
    Head = 17,
    /// Worker to core: a piece of content.
    Chunk = 18,
    /// Worker to core: the response is complete.
    End = 19,
    /// Worker to core: the response can't be completed.
    Abort = 20,
    /// Worker to core: ready for a request.
    Idle = 21,
    /// Worker to core: a piece of content in a file, whose descriptor comes along.
    File = 22,
    /// Worker to core: the app wants the client's socket (psgix.io), send Reply.
    Take = 23,
    /// A signal has come while the worker waited: it asks to be woken, and the core sends it back.
    Wake = 24,
    /// Worker to core: it takes no request any more, and has claimed what it will.
    Leaving = 25,
    /// Worker to core: whether the app takes the certificate, 1 or 0 in the place of a status.
    Verdict = 26,
    /// Worker to core: a piece of content in the shared memory.
    Shared = 27,
    /// Worker to core: the fields that follow the content.
    Trailers = 28,
    /// Worker to core: its event loop has turned, as Ask wanted to know.
    Turned = 29,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        use Kind::*;
        Some(match number {
            1 => Request,
            2 => Credit,
            3 => Stop,
            4 => Reply,
            5 => Verify,
            6 => Ask,
            16 => Informational,
            17 => Head,
            18 => Chunk,
            19 => End,
            20 => Abort,
            21 => Idle,
            22 => File,
            23 => Take,
            24 => Wake,
            25 => Leaving,
            26 => Verdict,
            27 => Shared,
            28 => Trailers,
            29 => Turned,
            _ => return None,
        })
    }
}

/// A frame as it was read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Status code of an Informational or Head frame, answer of a Verdict, else 0.
    pub(super) status: u16,
    /// The request it belongs to; 0 where it belongs to none.
    pub(super) id: u64,
    /// What it says besides: ENDS, IDLE, OF_FILE.
    pub(super) marks: u8,
    pub(super) payload: Bytes,
    pub(super) descriptor: Descriptor,
}

/// The descriptor of a frame.
#[derive(Debug, Default)]
pub(super) enum Descriptor {
    /// It has none.
    #[default]
    None,
    /// It could not be received: descriptors have run out in this process.
    Lost,
    Here(OwnedFd),
}

impl Descriptor {
    /// It, if it is here.
    pub(super) fn here(self) -> Option<OwnedFd> {
        match self {
            Descriptor::Here(descriptor) => Some(descriptor),
            Descriptor::None | Descriptor::Lost => None,
        }
    }
}

impl Frame {
    /// Bytes that it had on its way.
    pub(super) fn length(&self) -> u64 {
        (HEADER + self.payload.len()) as u64
    }
}

/// A header without its length: what is known before the payload is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) status: u16,
    pub(super) id: u64,
    pub(super) with_descriptor: bool,
}

impl Header {
    pub(super) fn new(kind: Kind, id: u64) -> Self {
        Header {
            kind,
            status: 0,
            id,
            with_descriptor: false,
        }
    }

    /// The header's bytes for a payload of `length` bytes.
    pub(super) fn bytes(self, length: usize) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut to = &mut bytes[..];
        to.put_u32_le(length as u32);
        to.put_u8(self.kind as u8);
        to.put_u8(if self.with_descriptor { DESCRIPTOR } else { 0 });
        to.put_u16_le(self.status);
        to.put_u64_le(self.id);
        bytes
    }
}

/// Appends a frame whose payload `write` produces.
pub(super) fn put(out: &mut Vec<u8>, header: Header, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    write(out);
    let length = out.len() - start - HEADER;
    debug_assert!(length <= MAX_PAYLOAD);
    out[start..start + HEADER].copy_from_slice(&header.bytes(length));
}

/// Takes frames off a stream of bytes and descriptors.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    /// Bytes read and not yet taken.
    pub(super) bytes: BytesMut,
    /// Descriptors received and not yet matched with their frames: they come in order, with or before
    /// the last byte of their frame. One that was lost keeps its place, or frames would get those of others.
    pub(super) descriptors: VecDeque<Option<OwnedFd>>,
    /// Bytes of frames that were read while a descriptor waited.
    unannounced: usize,
}

impl Unframer {
    /// What a long frame still lacks that has begun. Who reads just that gets each of them into memory of its own: those that
    /// wait for their clients hold no more than their content.
    pub(super) fn lacking(&self) -> Option<usize> {
        let mut head = self.bytes.get(..HEADER)?;
        let length = head.get_u32_le() as usize;
        let lacking = (HEADER + length).checked_sub(self.bytes.len())?;
        (COPY < length && length <= MAX_PAYLOAD && lacking > 0).then_some(lacking)
    }

    /// Room for `more` bytes. A buffer that grows has just those: doubled, as buffers mostly are, it would be held by the
    /// one frame in it for as long as its client takes.
    pub(super) fn make_room(&mut self, more: usize) {
        if !self.bytes.try_reclaim(more) {
            let mut larger = BytesMut::with_capacity(self.bytes.len() + more);
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
    }

    /// A frame without a descriptor was read, of this length. A descriptor that waits is announced by one of the frames that were
    /// written together with it.
    fn pass_descriptor(&mut self, length: usize) -> Result<(), Violation> {
        if self.descriptors.is_empty() {
            return Ok(());
        }
        self.unannounced += length;
        match self.unannounced > MOST_TOGETHER {
            true => Err(Violation::UnannouncedDescriptor),
            false => Ok(()),
        }
    }

    /// The next frame, if it is here whole.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Violation> {
        match self.bytes.len() < HEADER {
            true => Ok(None),
            false => self.next_begun(),
        }
    }

    /// The frame whose header is here, if it is here whole.
    fn next_begun(&mut self) -> Result<Option<Frame>, Violation> {
        let mut head = &self.bytes[..HEADER];
        let length = head.get_u32_le() as usize;
        let number = head.get_u8();
        let kind = Kind::from_number(number).ok_or(Violation::UnknownKind(number))?;
        let marks = head.get_u8();
        let status = head.get_u16_le();
        let id = head.get_u64_le();
        if length > MAX_PAYLOAD {
            return Err(Violation::FrameTooLong(length));
        }
        if self.bytes.len() < HEADER + length {
            return Ok(None);
        }
        let descriptor = if marks & DESCRIPTOR != 0 {
            self.unannounced = 0;
            match self.descriptors.pop_front() {
                Some(Some(descriptor)) => Descriptor::Here(descriptor),
                Some(None) => Descriptor::Lost,
                None => return Err(Violation::MissingDescriptor),
            }
        } else {
            self.pass_descriptor(HEADER + length)?;
            Descriptor::None
        };
        self.bytes.advance(HEADER);
        let payload = if length <= COPY {
            let copy = Bytes::copy_from_slice(&self.bytes[..length]);
            self.bytes.advance(length);
            copy
        } else {
            self.bytes.split_to(length).freeze()
        };
        Ok(Some(Frame {
            kind,
            status,
            id,
            marks,
            payload,
            descriptor,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, payload) in payloads.iter().enumerate() {
            let header = Header {
                status: 200,
                ..Header::new(Kind::Head, id as u64)
            };
            put(&mut out, header, |out| out.extend_from_slice(payload));
        }
        out
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6),
            step in 1usize..50,
        ) {
            let mut unframer = Unframer::default();
            let mut got = Vec::new();
            for piece in stream(&payloads).chunks(step) {
                unframer.bytes.extend_from_slice(piece);
                while let Some(frame) = unframer.next().unwrap() {
                    prop_assert_eq!((frame.kind, frame.status), (Kind::Head, 200));
                    prop_assert_eq!(frame.id, got.len() as u64);
                    got.push(frame.payload.to_vec());
                }
            }
            prop_assert_eq!(got, payloads);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut unframer = Unframer::default();
            unframer.bytes.extend_from_slice(&bytes);
            while let Ok(Some(_)) = unframer.next() {}
        }
    }

    #[test]
    fn a_kind_has_one_number() {
        let known = (0..=255).filter_map(|number| Some((Kind::from_number(number)?, number)));
        let known: Vec<_> = known.collect();
        assert_eq!(known.len(), 20);
        assert!(known.iter().all(|&(kind, number)| kind as u8 == number));
    }

    #[test]
    fn what_a_long_frame_lacks_is_read_alone() {
        let lacking = |length: usize, here: usize| {
            let mut unframer = Unframer::default();
            let header = Header::new(Kind::Chunk, 1).bytes(length);
            unframer.bytes.extend_from_slice(&header);
            unframer.bytes.resize(here, 0);
            unframer.lacking()
        };
        assert_eq!(lacking(65_536, HEADER), Some(65_536));
        assert_eq!(lacking(65_536, HEADER + 65_535), Some(1));
        assert_eq!(lacking(65_536, HEADER + 65_536), None, "it is whole");
        assert_eq!(lacking(65_536, HEADER - 1), None, "its length is not known");
        assert_eq!(lacking(COPY, HEADER), None, "it is short");
        assert_eq!(lacking(MAX_PAYLOAD + 1, HEADER), None, "it is garbage");
    }

    #[test]
    fn a_missing_descriptor_and_an_absurd_length_are_garbage() {
        let mut unframer = Unframer::default();
        let header = Header {
            with_descriptor: true,
            ..Header::new(Kind::Request, 1)
        };
        unframer.bytes.extend_from_slice(&header.bytes(0));
        assert_eq!(unframer.next().unwrap_err(), Violation::MissingDescriptor);

        let mut unframer = Unframer::default();
        unframer
            .bytes
            .extend_from_slice(&Header::new(Kind::Chunk, 1).bytes(MAX_PAYLOAD + 1));
        let length = MAX_PAYLOAD + 1;
        assert_eq!(
            unframer.next().unwrap_err(),
            Violation::FrameTooLong(length)
        );
    }

    #[test]
    fn a_descriptor_that_no_frame_announces_is_garbage() {
        let mut unframer = Unframer::default();
        unframer.descriptors.push_back(None);
        let mut frames = 0;
        let refused = loop {
            let header = Header::new(Kind::Chunk, 1);
            let mut bytes = Vec::new();
            put(&mut bytes, header, |out| out.resize(out.len() + PIECE, 0));
            unframer.bytes.extend_from_slice(&bytes);
            match unframer.next() {
                Ok(_) => frames += 1,
                Err(violation) => break violation,
            }
        };
        assert_eq!(refused, Violation::UnannouncedDescriptor);
        assert!((16..64).contains(&frames), "{frames}");
    }
}
