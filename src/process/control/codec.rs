//! Messages as bytes and descriptors.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bytes::{Buf, BufMut};

use super::log_files::LogFiles;
use super::socket::LONGEST;
use super::{Incomplete, Load, TlsFile, ToCore, ToMaster};

pub(super) const WORKER: u8 = 1;
pub(super) const DIED: u8 = 2;
const DRAIN: u8 = 3;
const QUIT: u8 = 4;
const READY: u8 = 5;
const DRAINED: u8 = 6;
const NO_WORKERS: u8 = 7;
const SERVING: u8 = 8;
const DONE: u8 = 9;
const REFUSED: u8 = 10;
const ACCEPT: u8 = 11;
const CANDIDATE: u8 = 12;
const CHECK: u8 = 13;
const ADMIT: u8 = 14;
const RETIRE: u8 = 15;
const GIVE_WAY: u8 = 16;
const PING: u8 = 17;
const ALIVE: u8 = 18;
const CHECKED: u8 = 19;
pub(super) const TLS_FILE: u8 = 20;
const READ_TLS: u8 = 21;
const LEAVING: u8 = 22;
const HUNG: u8 = 23;
const REREAD: u8 = 24;
pub(super) const LOGS: u8 = 25;
const LOAD: u8 = 26;
const UNCONNECTED: u8 = 27;
const BROKEN: u8 = 28;
const SITE: u8 = 29;
const HOST_LOG: u8 = 30;

/// No host name has this byte.
const BEFORE_HOST: u8 = b'\n';

/// A message to the core: its bytes, and the descriptors that go with them.
pub(super) fn encode(word: &ToCore) -> (Vec<u8>, Vec<RawFd>) {
    let mut bytes = Vec::with_capacity(8);
    let mut descriptors = Vec::new();
    match word {
        ToCore::Worker(number, pid, channel) | ToCore::Candidate(number, pid, channel) => {
            let candidate = matches!(word, ToCore::Candidate(..));
            bytes.put_u8(if candidate { CANDIDATE } else { WORKER });
            bytes.put_u32_le(*number);
            bytes.put_i32_le(*pid);
            descriptors.extend(channel.as_raw());
        }
        ToCore::Check(number, path) => {
            bytes.put_u8(CHECK);
            bytes.put_u32_le(*number);
            bytes.put_slice(path.as_bytes());
        }
        ToCore::Admit(number) => {
            bytes.put_u8(ADMIT);
            bytes.put_u32_le(*number);
        }
        ToCore::Retire(number) => {
            bytes.put_u8(RETIRE);
            bytes.put_u32_le(*number);
        }
        ToCore::Accept => bytes.put_u8(ACCEPT),
        ToCore::GiveWay => bytes.put_u8(GIVE_WAY),
        ToCore::Ping => bytes.put_u8(PING),
        ToCore::Died(number) => {
            bytes.put_u8(DIED);
            bytes.put_u32_le(*number);
        }
        ToCore::Drain => bytes.put_u8(DRAIN),
        ToCore::Quit => bytes.put_u8(QUIT),
        ToCore::NoWorkers => bytes.put_u8(NO_WORKERS),
        ToCore::TlsFile(file) => {
            bytes.put_u8(TLS_FILE);
            bytes.put_u8(file.role);
            let path = file.path.as_os_str().as_bytes();
            bytes.put_u32_le(path.len() as u32);
            bytes.put_slice(path);
            for host in file.hosts.iter().flatten() {
                bytes.put_u8(BEFORE_HOST);
                bytes.put_slice(host.as_bytes());
            }
            descriptors.push(file.file.as_raw_fd());
        }
        ToCore::ReadTls => bytes.put_u8(READ_TLS),
        ToCore::Site(file) => {
            bytes.put_u8(SITE);
            descriptors.push(file.as_raw_fd());
        }
        ToCore::Reread(logs) => {
            bytes.put_u8(REREAD);
            bytes.put_slice(logs.as_ref().err().map_or(&[], |why| why.as_bytes()));
            bytes.truncate(LONGEST);
        }
        ToCore::HostLog(key, file) => {
            bytes.put_u8(HOST_LOG);
            bytes.put_slice(key.as_bytes());
            descriptors.push(file.as_raw_fd());
        }
        ToCore::Logs(files) => {
            let (there, files) = files.encode();
            bytes.put_slice(&[LOGS, there]);
            descriptors = files;
        }
    }
    (bytes, descriptors)
}

/// A message to the master.
pub(super) fn encode_to_master(word: &ToMaster) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8);
    match word {
        ToMaster::Ready => bytes.put_u8(READY),
        ToMaster::Serving(number) => {
            bytes.put_u8(SERVING);
            bytes.put_u32_le(*number);
        }
        ToMaster::Leaving(number) => {
            bytes.put_u8(LEAVING);
            bytes.put_u32_le(*number);
        }
        ToMaster::Broken(number) => {
            bytes.put_u8(BROKEN);
            bytes.put_u32_le(*number);
        }
        ToMaster::Hung(number, call) => {
            bytes.put_u8(HUNG);
            bytes.put_u32_le(*number);
            bytes.put_slice(call.as_bytes());
            bytes.truncate(LONGEST);
        }
        ToMaster::Load(load) => {
            bytes.put_u8(LOAD);
            for count in [load.ready, load.idle_least, load.idle_most, load.waiting] {
                bytes.put_u32_le(count);
            }
        }
        ToMaster::Drained => bytes.put_u8(DRAINED),
        ToMaster::Alive => bytes.put_u8(ALIVE),
        ToMaster::Checked(number, checked) => {
            bytes.put_u8(CHECKED);
            bytes.put_u32_le(*number);
            let why = checked.as_ref().err();
            bytes.put_slice(why.map_or(&[], |why| why.as_bytes()));
        }
        ToMaster::Answer(Ok(())) => bytes.put_u8(DONE),
        ToMaster::Answer(Err(why)) => {
            bytes.put_u8(REFUSED);
            bytes.put_slice(why.as_bytes());
            bytes.truncate(LONGEST);
        }
        ToMaster::Unconnected(number, why) => {
            bytes.put_u8(UNCONNECTED);
            bytes.put_u32_le(*number);
            bytes.put_slice(why.as_bytes());
            bytes.truncate(LONGEST);
        }
    }
    bytes
}

/// What a message was about whose descriptors are lost.
pub(super) fn read_incomplete(mut from: &[u8]) -> io::Result<Incomplete> {
    match from.try_get_u8().map_err(|_| garbage())? {
        WORKER | CANDIDATE => {
            let number = from.try_get_u32_le().map_err(|_| garbage())?;
            Ok(Incomplete::Worker(number))
        }
        TLS_FILE => {
            let (_, path) = role_and_path(&mut from)?;
            Ok(Incomplete::TlsFile(path))
        }
        LOGS | HOST_LOG => Ok(Incomplete::Logs),
        SITE => Ok(Incomplete::Site),
        _ => Err(garbage()),
    }
}

/// What a file of certificates or keys is for, and its name.
fn role_and_path(from: &mut &[u8]) -> io::Result<(u8, PathBuf)> {
    let role = from.try_get_u8().map_err(|_| garbage())?;
    let length = from.try_get_u32_le().map_err(|_| garbage())?;
    let path = from.split_off(..length as usize).ok_or_else(garbage)?;
    Ok((role, PathBuf::from(OsStr::from_bytes(path))))
}

/// A message from the master.
pub(super) fn read_word(bytes: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<ToCore> {
    let mut from = bytes;
    let number = |mut from: &[u8]| from.try_get_u32_le().map_err(|_| garbage());
    Ok(match from.try_get_u8().map_err(|_| garbage())? {
        kind @ (WORKER | CANDIDATE) => {
            let channel = <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| garbage())?;
            let number = from.try_get_u32_le().map_err(|_| garbage())?;
            let pid = from.try_get_i32_le().map_err(|_| garbage())?;
            let channel = channel.into();
            match kind {
                WORKER => ToCore::Worker(number, pid, channel),
                _ => ToCore::Candidate(number, pid, channel),
            }
        }
        CHECK => {
            let number = from.try_get_u32_le().map_err(|_| garbage())?;
            let path = String::from_utf8(from.to_vec()).map_err(|_| garbage())?;
            ToCore::Check(number, path)
        }
        ADMIT => ToCore::Admit(number(from)?),
        RETIRE => ToCore::Retire(number(from)?),
        ACCEPT => ToCore::Accept,
        GIVE_WAY => ToCore::GiveWay,
        PING => ToCore::Ping,
        DIED => ToCore::Died(number(from)?),
        DRAIN => ToCore::Drain,
        QUIT => ToCore::Quit,
        NO_WORKERS => ToCore::NoWorkers,
        TLS_FILE => {
            let [file] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| garbage())?;
            let (role, path) = role_and_path(&mut from)?;
            let hosts = from.split(|&byte| byte == BEFORE_HOST).skip(1);
            let hosts = hosts.map(|host| String::from_utf8(host.to_vec()));
            let hosts: Vec<_> = hosts.collect::<Result<_, _>>().map_err(|_| garbage())?;
            ToCore::TlsFile(TlsFile {
                role,
                hosts: Some(hosts).filter(|hosts| !hosts.is_empty()),
                path,
                file,
            })
        }
        READ_TLS => ToCore::ReadTls,
        SITE => {
            let [file] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| garbage())?;
            ToCore::Site(file)
        }
        REREAD => {
            let why = String::from_utf8_lossy(from);
            ToCore::Reread(match why.is_empty() {
                true => Ok(()),
                false => Err(why.into_owned()),
            })
        }
        HOST_LOG => {
            let [file] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| garbage())?;
            let key = String::from_utf8(from.to_vec()).map_err(|_| garbage())?;
            ToCore::HostLog(key, file)
        }
        LOGS => {
            let there = from.try_get_u8().map_err(|_| garbage())?;
            ToCore::Logs(LogFiles::decode(there, descriptors).ok_or_else(garbage)?)
        }
        _ => return Err(garbage()),
    })
}

/// A message from the core.
pub(super) fn read_to_master(bytes: &[u8]) -> io::Result<ToMaster> {
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes);
    let number = |bytes| number(bytes).map_err(|_| garbage());
    Ok(match bytes {
        [READY] => ToMaster::Ready,
        [SERVING, rest @ ..] => ToMaster::Serving(number(rest)?),
        [LEAVING, rest @ ..] => ToMaster::Leaving(number(rest)?),
        [BROKEN, rest @ ..] => ToMaster::Broken(number(rest)?),
        [HUNG, rest @ ..] => {
            let (number, call) = rest.split_first_chunk().ok_or_else(garbage)?;
            let call = String::from_utf8_lossy(call).into_owned();
            ToMaster::Hung(u32::from_le_bytes(*number), call)
        }
        [UNCONNECTED, rest @ ..] => {
            let (number, why) = rest.split_first_chunk().ok_or_else(garbage)?;
            let why = String::from_utf8_lossy(why).into_owned();
            ToMaster::Unconnected(u32::from_le_bytes(*number), why)
        }
        [LOAD, rest @ ..] => {
            let (counts, []) = rest.as_chunks() else {
                return Err(garbage());
            };
            let counts: Vec<_> = counts
                .iter()
                .map(|&count| u32::from_le_bytes(count))
                .collect();
            let [ready, idle_least, idle_most, waiting] = counts[..] else {
                return Err(garbage());
            };
            ToMaster::Load(Load {
                ready,
                idle_least,
                idle_most,
                waiting,
            })
        }
        [DRAINED] => ToMaster::Drained,
        [ALIVE] => ToMaster::Alive,
        [CHECKED, rest @ ..] => {
            let (number, why) = rest.split_first_chunk().ok_or_else(garbage)?;
            let checked = match why {
                [] => Ok(()),
                why => Err(String::from_utf8_lossy(why).into_owned()),
            };
            ToMaster::Checked(u32::from_le_bytes(*number), checked)
        }
        [DONE] => ToMaster::Answer(Ok(())),
        [REFUSED, why @ ..] => ToMaster::Answer(Err(String::from_utf8_lossy(why).into_owned())),
        _ => return Err(garbage()),
    })
}

pub(super) fn garbage() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "garbage between master and core",
    )
}
