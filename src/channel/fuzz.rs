//! Frames and payloads under arbitrary bytes: the one door by which fuzzing reaches the private codec.

use std::os::fd::AsFd;

use bytes::Bytes;

use super::codec::{
    get_head, get_range, get_request, get_tls, head_length, put_head, put_range, put_request,
    put_tls,
};
use super::frame::{Descriptor, Frame, HEADER, Header, Kind, Unframer, put};

/// Descriptors that stand ready for frames that say they bring one.
const DESCRIPTORS: usize = 2;

/// Reads `pieces` as one stream of frames, whatever they hold.
///
/// # Panics
/// When the cuts between the pieces change what is read, or when what was read, written again, differs.
pub fn check(pieces: &[&[u8]]) {
    let whole = pieces.concat();
    let mut frames = Frames::new();
    let refused = frames.read(&whole);
    let mut cut = Frames::new();
    let cut_refused = pieces.iter().any(|piece| cut.read(piece));
    assert_eq!(frames.written, cut.written, "cuts change the frames");
    assert_eq!(refused, cut_refused, "cuts change what is refused");
    assert_eq!(
        [&frames.written[..], &frames.unframer.bytes].concat(),
        whole,
        "frames are not what was sent"
    );
    for frame in frames.frames {
        check_payload(frame);
    }
}

struct Frames {
    unframer: Unframer,
    frames: Vec<Frame>,
    /// The frames, written again.
    written: Vec<u8>,
}

impl Frames {
    fn new() -> Self {
        let mut unframer = Unframer::default();
        let stdin = std::io::stdin();
        let duplicates = (0..DESCRIPTORS).flat_map(|_| stdin.as_fd().try_clone_to_owned());
        unframer.descriptors.extend(duplicates.map(Some));
        Frames {
            unframer,
            frames: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Reads on; true once the stream is garbage.
    fn read(&mut self, piece: &[u8]) -> bool {
        self.unframer.bytes.extend_from_slice(piece);
        loop {
            // Any number but 0 says that a descriptor comes along.
            let flag = self.unframer.bytes.get(5).copied();
            match self.unframer.next() {
                Ok(Some(frame)) => {
                    let start = self.written.len();
                    let header = Header {
                        status: frame.status,
                        with_descriptor: matches!(frame.descriptor, Descriptor::Here(_)),
                        ..Header::new(frame.kind, frame.id)
                    };
                    put(&mut self.written, header, |out| {
                        out.extend_from_slice(&frame.payload);
                    });
                    assert_eq!(self.written.len() - start, HEADER + frame.payload.len());
                    if let Some(flag) = flag.filter(|&flag| flag > 1) {
                        self.written[start + 5] = flag;
                    }
                    self.frames.push(frame);
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }
}

fn check_payload(frame: Frame) {
    let payload = frame.payload;
    match frame.kind {
        Kind::Request => {
            let descriptor = frame.descriptor.here();
            let in_file = descriptor.is_some();
            let Ok(request) = get_request(payload.clone(), descriptor) else {
                return;
            };
            let _ = (request.head.method(), request.head.target());
            let mut written = Vec::new();
            put_request(&mut written, &request);
            // Behind a file's length nothing is read.
            assert!(payload.starts_with(&written) && (in_file || payload.len() == written.len()));
        }
        Kind::Informational | Kind::Head | Kind::Trailers => {
            let Ok((head, length)) = get_head(payload, frame.status) else {
                return;
            };
            let pairs: Vec<_> = head.fields.iter().collect();
            let mut written = Vec::new();
            put_head(&mut written, &pairs, length);
            assert_eq!(written.len(), head_length(&pairs));
            let again = get_head(Bytes::from(written), frame.status);
            let again = again.map(|(head, length)| {
                let pairs = head.fields.iter().map(|(n, v)| (n.to_vec(), v.to_vec()));
                (head.status, pairs.collect::<Vec<_>>(), length)
            });
            let pairs = pairs.iter().map(|(n, v)| (n.to_vec(), v.to_vec()));
            assert_eq!(again, Ok((frame.status, pairs.collect(), length)));
        }
        Kind::Verify => {
            let Ok(tls) = get_tls(&mut payload.clone()) else {
                return;
            };
            let mut written = Vec::new();
            put_tls(&mut written, tls.as_ref());
            assert!(payload.starts_with(&written));
        }
        Kind::File | Kind::Shared => {
            let Ok((offset, length)) = get_range(payload.clone()) else {
                return;
            };
            let mut written = Vec::new();
            put_range(&mut written, offset, length);
            assert!(payload.starts_with(&written));
        }
        _ => {}
    }
}
