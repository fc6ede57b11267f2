//! Words between master and core: one SEQPACKET message each, with descriptors where they belong.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use bytes::{Buf, BufMut};
use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

use crate::channel::Descriptors;

/// What the master tells the core.
#[derive(Debug)]
pub enum ToCore {
    /// A worker was started; these are the core's descriptors of its channel.
    Worker(u32, Descriptors),
    /// Worker number so-and-so is dead, as waitpid told.
    Died(u32),
    /// Accept no more, finish what is in work, then say `Drained`.
    Drain,
    /// Leave at once.
    Quit,
    /// As `Drain`, but no worker is there any more, nor will one come: what waits for one has failed.
    NoWorkers,
}

/// What the core tells the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToMaster {
    /// The core accepts connections.
    Ready,
    /// Worker number so-and-so has loaded its app and waits for requests.
    Serving(u32),
    /// Nothing is in work any more, and the workers were told to stop.
    Drained,
}

const WORKER: u8 = 1;
const DIED: u8 = 2;
const DRAIN: u8 = 3;
const QUIT: u8 = 4;
const READY: u8 = 5;
const DRAINED: u8 = 6;
const NO_WORKERS: u8 = 7;
const SERVING: u8 = 8;

/// `Drain` as it stands on the wire, for a signal handler.
pub const DRAIN_WORD: [u8; 1] = [DRAIN];
/// `Quit` as it stands on the wire, for a signal handler.
pub const QUIT_WORD: [u8; 1] = [QUIT];

/// Makes the two ends: the master's, then the core's.
///
/// # Errors
/// Whatever the kernel says when descriptors run out.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Tells the core a word.
///
/// # Errors
/// When the core is gone.
pub fn tell_core(control: BorrowedFd<'_>, word: ToCore) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(8);
    let mut descriptors = Vec::new();
    match &word {
        ToCore::Worker(number, channel) => {
            bytes.put_u8(WORKER);
            bytes.put_u32_le(*number);
            descriptors.extend([channel.socket.as_raw_fd(), channel.memory.as_raw_fd()]);
        }
        ToCore::Died(number) => {
            bytes.put_u8(DIED);
            bytes.put_u32_le(*number);
        }
        ToCore::Drain => bytes.put_slice(&DRAIN_WORD),
        ToCore::Quit => bytes.put_slice(&QUIT_WORD),
        ToCore::NoWorkers => bytes.put_u8(NO_WORKERS),
    }
    send(control, &bytes, &descriptors)
}

/// Tells the master a word.
///
/// # Errors
/// When the master is gone.
pub fn tell_master(control: BorrowedFd<'_>, word: ToMaster) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(8);
    match word {
        ToMaster::Ready => bytes.put_u8(READY),
        ToMaster::Serving(number) => {
            bytes.put_u8(SERVING);
            bytes.put_u32_le(number);
        }
        ToMaster::Drained => bytes.put_u8(DRAINED),
    }
    send(control, &bytes, &[])
}

fn send(control: BorrowedFd<'_>, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() {
        &[][..]
    } else {
        &rights[..]
    };
    let pieces = [IoSlice::new(bytes)];
    loop {
        let sent = sendmsg::<()>(
            control.as_raw_fd(),
            &pieces,
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Err(nix::errno::Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// The next word from the master; nothing when it has gone.
///
/// # Errors
/// What recvmsg says (WouldBlock among it), or InvalidData for what is no word.
pub fn hear_master(control: BorrowedFd<'_>) -> io::Result<Option<ToCore>> {
    let Some((bytes, descriptors)) = receive(control)? else {
        return Ok(None);
    };
    let mut from = &bytes[..];
    let number = |mut from: &[u8]| from.try_get_u32_le().map_err(|_| garbage());
    let word = match from.try_get_u8().map_err(|_| garbage())? {
        WORKER => {
            let [socket, memory] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| garbage())?;
            ToCore::Worker(number(from)?, Descriptors { socket, memory })
        }
        DIED => ToCore::Died(number(from)?),
        DRAIN => ToCore::Drain,
        QUIT => ToCore::Quit,
        NO_WORKERS => ToCore::NoWorkers,
        _ => return Err(garbage()),
    };
    Ok(Some(word))
}

/// The next word from the core; nothing when it has gone.
///
/// # Errors
/// As [`hear_master`].
pub fn hear_core(control: BorrowedFd<'_>) -> io::Result<Option<ToMaster>> {
    match receive(control)?
        .as_ref()
        .map(|(bytes, _)| bytes.as_slice())
    {
        None => Ok(None),
        Some([READY]) => Ok(Some(ToMaster::Ready)),
        Some([SERVING, number @ ..]) => match number.try_into() {
            Ok(number) => Ok(Some(ToMaster::Serving(u32::from_le_bytes(number)))),
            Err(_) => Err(garbage()),
        },
        Some([DRAINED]) => Ok(Some(ToMaster::Drained)),
        Some(_) => Err(garbage()),
    }
}

fn garbage() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "garbage between master and core",
    )
}

fn receive(control: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; 64];
    let mut space = cmsg_space!([RawFd; 2]);
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(
        control.as_raw_fd(),
        &mut pieces,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        let ControlMessageOwned::ScmRights(received) = control else {
            continue;
        };
        for fd in received {
            // SAFETY: the kernel has just made this descriptor for this process; nobody else owns it.
            descriptors.push(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    Ok(if length == 0 {
        None
    } else {
        Some((bytes, descriptors))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn words_arrive_in_order_with_their_descriptors() {
        let (master, core) = pair().unwrap();
        let (channel, _worker) = crate::channel::pair().unwrap();
        tell_core(master.as_fd(), ToCore::Worker(7, channel)).unwrap();
        tell_core(master.as_fd(), ToCore::Died(7)).unwrap();
        tell_core(master.as_fd(), ToCore::Drain).unwrap();
        tell_master(core.as_fd(), ToMaster::Serving(70_000)).unwrap();
        tell_master(core.as_fd(), ToMaster::Drained).unwrap();

        assert!(matches!(
            hear_master(core.as_fd()).unwrap(),
            Some(ToCore::Worker(7, _))
        ));
        assert!(matches!(
            hear_master(core.as_fd()).unwrap(),
            Some(ToCore::Died(7))
        ));
        assert!(matches!(
            hear_master(core.as_fd()).unwrap(),
            Some(ToCore::Drain)
        ));
        assert_eq!(
            hear_core(master.as_fd()).unwrap(),
            Some(ToMaster::Serving(70_000))
        );
        assert_eq!(hear_core(master.as_fd()).unwrap(), Some(ToMaster::Drained));
        drop(master);
        assert!(hear_master(core.as_fd()).unwrap().is_none());
    }

    #[test]
    fn what_is_no_word_is_refused() {
        let (master, core) = pair().unwrap();
        for bytes in [&[99][..], &[WORKER, 1, 0, 0, 0], &[DIED, 1]] {
            send(master.as_fd(), bytes, &[]).unwrap();
            assert!(hear_master(core.as_fd()).is_err());
        }
    }
}
