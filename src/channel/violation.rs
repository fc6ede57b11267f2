//! How a process can break the rules of the channel. The channel of one that does is closed.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;

/// A rule of the channel that the other process has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A frame of a kind that does not exist.
    UnknownKind(u8),
    /// A frame that only the other side may send.
    WrongDirection(u8),
    /// A frame longer than any.
    FrameTooLong(usize),
    /// A payload that can't be read.
    Malformed(&'static str),
    /// A frame says that a descriptor comes along, and none has come.
    MissingDescriptor,
    /// More descriptors than frames for them.
    UnannouncedDescriptor,
    /// More than one descriptor at a time.
    TooManyDescriptors(usize),
    /// The worker's position in the ring is impossible.
    RingPosition,
    /// A batch in the ring is empty, or longer than any.
    BatchLength(u64),
    /// A batch in the ring ends within a frame.
    BatchCut,
    /// Content in shared memory beyond its end.
    OutsideOfArea {
        /// Where it begins.
        at: u64,
        /// How long it is.
        length: u64,
    },
    /// A claim word holds what neither side has written.
    ClaimOverwritten(u64),
    /// A call was claimed before one that was sent earlier.
    ClaimOrder(u64),
    /// A response to a request that was not claimed.
    NotClaimed(u64),
    /// A frame for a response that is not open.
    NotOpen(u64),
    /// An interim response after the head.
    InterimAfterHead(u64),
    /// A status that this part of a response can't have.
    Status(u16),
    /// A second head.
    SecondHead(u64),
    /// Content before the head.
    ContentBeforeHead(u64),
    /// A piece of content without content.
    EmptyContent(u64),
    /// More than there was credit for.
    NoCredit(u64),
    /// The end of a response that has no head.
    EndBeforeHead(u64),
    /// The client's socket was asked for while an earlier question was open.
    SecondTake(u64),
    /// A verdict that nobody has asked for.
    UnaskedVerdict(u64),
    /// It says that its event loop has turned, and nobody has asked.
    UnaskedTurn,
    /// Ready, without a call that could be over.
    IdleWithoutCall,
    /// It has sent Leaving already.
    SecondLeaving,
    /// It rings the bell without having sent anything.
    Ringing,
    /// It asks to be woken without pause.
    Wakes,
    /// It does not read what it is sent.
    NotReading,
    /// It has closed its end, and goes on.
    Closed,
    /// The kernel says that its channel can't be used.
    Unusable(io::ErrorKind),
}

impl From<ChannelError> for Violation {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Violation(violation) => violation,
            ChannelError::Io(error) => Violation::Unusable(error.kind()),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::UnknownKind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Violation::WrongDirection(kind) => {
                write!(f, "a frame of kind {kind} from the wrong side")
            }
            Violation::FrameTooLong(length) => write!(f, "a frame of {length} bytes"),
            Violation::Malformed(what) => write!(f, "a malformed frame: {what}"),
            Violation::MissingDescriptor => write!(f, "a frame without its descriptor"),
            Violation::UnannouncedDescriptor => write!(f, "a descriptor that no frame announces"),
            Violation::TooManyDescriptors(count) => write!(f, "{count} descriptors at a time"),
            Violation::RingPosition => write!(f, "an impossible position in the ring"),
            Violation::BatchLength(length) => write!(f, "a batch of {length} bytes in the ring"),
            Violation::BatchCut => write!(f, "a batch in the ring that ends within a frame"),
            Violation::OutsideOfArea { at, length } => {
                write!(
                    f,
                    "content outside of the shared memory, {length} bytes at {at}"
                )
            }
            Violation::ClaimOverwritten(id) => {
                write!(f, "the claim word of request {id} was overwritten")
            }
            Violation::ClaimOrder(id) => {
                write!(f, "request {id} was claimed before an earlier one")
            }
            Violation::NotClaimed(id) => {
                write!(f, "a response to request {id}, which was not claimed")
            }
            Violation::NotOpen(id) => write!(f, "a frame for response {id}, which is not open"),
            Violation::InterimAfterHead(id) => {
                write!(f, "an interim response after the head of response {id}")
            }
            Violation::Status(status) => write!(f, "status {status} where it can't stand"),
            Violation::SecondHead(id) => write!(f, "a second head of response {id}"),
            Violation::ContentBeforeHead(id) => {
                write!(f, "content before the head of response {id}")
            }
            Violation::EmptyContent(id) => write!(f, "an empty piece of content of response {id}"),
            Violation::NoCredit(id) => write!(f, "content of response {id} beyond its credit"),
            Violation::EndBeforeHead(id) => {
                write!(f, "the end of response {id}, which has no head")
            }
            Violation::SecondTake(id) => {
                write!(
                    f,
                    "a second question for the client's socket of request {id}"
                )
            }
            Violation::UnaskedVerdict(id) => write!(f, "verdict {id}, which nobody has asked for"),
            Violation::UnaskedTurn => write!(f, "a turn that nobody has asked for"),
            Violation::IdleWithoutCall => write!(f, "ready without a call that could be over"),
            Violation::SecondLeaving => write!(f, "leaving twice"),
            Violation::Ringing => write!(f, "rings without anything to say"),
            Violation::Wakes => write!(f, "asks to be woken without pause"),
            Violation::NotReading => write!(f, "does not read what it is sent"),
            Violation::Closed => write!(f, "has closed its end, and goes on"),
            Violation::Unusable(kind) => write!(f, "it can't be used: {kind}"),
        }
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, violation)
    }
}

/// Why nothing more can be read from a channel.
#[derive(Debug)]
pub enum ChannelError {
    /// What the kernel says.
    Io(io::Error),
    /// The other process has broken a rule.
    Violation(Violation),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Io(error) => write!(f, "the channel can't be read: {error}"),
            ChannelError::Violation(violation) => violation.fmt(f),
        }
    }
}

impl std::error::Error for ChannelError {}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        ChannelError::Io(error)
    }
}

impl From<Violation> for ChannelError {
    fn from(violation: Violation) -> Self {
        ChannelError::Violation(violation)
    }
}
