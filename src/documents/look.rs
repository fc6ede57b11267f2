//! What a path leads to: a file and its variant, a directory, or nothing. All of it by descriptors.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use bytes::Bytes;
use nix::fcntl::OFlag;

use super::Directory;
use super::answer::{Slice, Source};
use super::kinds::Kind;
use super::links::Refusal;
use super::open::{Below, Reach};
use crate::coding::Coding;
use crate::disk::read_cached;
use crate::semantics::accept::{Choice, Codings};

/// Files up to this size are read at once and leave together with their head.
const SMALL: u64 = 16 * 1024;

/// What a request wants below a directory.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The path below the root.
    pub(super) names: Vec<Vec<u8>>,
    /// Whether it ends with a slash.
    pub(super) slash: bool,
    /// Codings that the client accepts.
    pub(super) codings: Codings,
    /// Whether its content will be sent.
    pub(super) content: bool,
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    File(Box<Chosen>),
    /// A directory whose path wants a slash.
    Redirect,
    /// A directory whose entries are shown.
    Listing(OwnedFd, Below),
    /// A directory whose entries are not shown.
    Unlisted,
    /// The client accepts no coding that there is.
    NotAcceptable,
}

/// A file to be sent.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) metadata: Metadata,
    pub(super) source: Source,
    pub(super) coding: Option<&'static str>,
    pub(super) kind: Kind,
}

/// Looks in `directory`. What `reach` does not allow is [`Refusal::Wait`].
pub(super) fn look(directory: &Directory, wanted: &Wanted, reach: Reach) -> Result<Found, Refusal> {
    let below = directory.root.open(reach)?;
    let path = wanted.names.join(&b'/');
    if !wanted.slash && !wanted.names.is_empty() {
        match below.open(&path, OFlag::O_RDONLY) {
            Ok(opened) => {
                let file = File::from(opened);
                let metadata = file.metadata().map_err(Refusal::Failed)?;
                if metadata.is_file() {
                    return variant(directory, &below, &path, file, metadata, wanted, reach);
                }
                if !metadata.is_dir() {
                    return Err(Refusal::Missing);
                }
            }
            // A directory may let through whom it does not let read.
            Err(Refusal::Forbidden) if is_directory(&below, &path)? => {}
            Err(refusal) => return Err(refusal),
        }
    }
    for index in &directory.index {
        let path = beneath(&path, index);
        let file = match below.open(&path, OFlag::O_RDONLY) {
            Ok(opened) => File::from(opened),
            Err(Refusal::Missing) => continue,
            Err(refusal) => return Err(refusal),
        };
        let metadata = file.metadata().map_err(Refusal::Failed)?;
        if !metadata.is_file() {
            continue;
        }
        if !wanted.slash {
            return Ok(Found::Redirect);
        }
        return variant(directory, &below, &path, file, metadata, wanted, reach);
    }
    if !directory.listing && directory.fallback.is_app() {
        return Err(Refusal::Missing);
    }
    if !is_directory(&below, &path)? {
        return Err(Refusal::Missing);
    }
    match (wanted.slash, directory.listing) {
        (false, _) => Ok(Found::Redirect),
        (true, false) => Ok(Found::Unlisted),
        (true, true) => {
            let opened = below.open(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            Ok(Found::Listing(opened, below))
        }
    }
}

fn is_directory(below: &Below, path: &[u8]) -> Result<bool, Refusal> {
    match below.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(_) => Ok(true),
        Err(Refusal::Missing | Refusal::Forbidden) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

pub(super) fn beneath(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path.is_empty() {
        true => name.to_owned(),
        false => [path, b"/", name].concat(),
    }
}

/// The file itself, or what lies beside it in a coding that the client likes better.
fn variant(
    directory: &Directory,
    below: &Below,
    path: &[u8],
    file: File,
    metadata: Metadata,
    wanted: &Wanted,
    reach: Reach,
) -> Result<Found, Refusal> {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let kind = directory.kinds.of(name).clone();
    let mut there = Vec::new();
    if kind.compresses && wanted.codings.any() {
        for coding in Coding::ALL {
            if wanted.codings.weight(coding.name()) == 0 {
                continue;
            }
            if let Some((file, metadata)) = sibling(below, path, coding, &metadata)? {
                there.push((coding.name(), file, metadata));
            }
        }
    }
    let choice = wanted.codings.choose(there.iter().map(|(name, ..)| *name));
    let (coding, file, metadata) = match choice {
        Choice::Coded(index) => {
            let (name, file, metadata) = there.swap_remove(index);
            (Some(name), file, metadata)
        }
        Choice::Identity => (None, file, metadata),
        Choice::None => return Ok(Found::NotAcceptable),
    };
    let small = match wanted.content {
        true => small(&file, &metadata, reach),
        false => None,
    };
    let source = match small {
        Some(small) => Source::Memory(small),
        None => Source::File(Slice {
            file: Arc::new(file),
            offset: 0,
            length: metadata.len(),
        }),
    };
    Ok(Found::File(Box::new(Chosen {
        metadata,
        source,
        coding,
        kind,
    })))
}

/// The variant of a file in this coding: a regular file that is not older.
fn sibling(
    below: &Below,
    path: &[u8],
    coding: Coding,
    original: &Metadata,
) -> Result<Option<(File, Metadata)>, Refusal> {
    let file = match below.open(
        &[path, coding.ending().as_bytes()].concat(),
        OFlag::O_RDONLY,
    ) {
        Ok(opened) => File::from(opened),
        Err(Refusal::Wait) => return Err(Refusal::Wait),
        // The file itself can be sent.
        Err(_) => return Ok(None),
    };
    let metadata = file.metadata().map_err(Refusal::Failed)?;
    let time = |metadata: &Metadata| (metadata.mtime(), metadata.mtime_nsec());
    let usable = metadata.is_file() && time(&metadata) >= time(original);
    Ok(usable.then_some((file, metadata)))
}

/// All content of a file that has little.
fn small(file: &File, metadata: &Metadata, reach: Reach) -> Option<Bytes> {
    let length = metadata.len();
    if length > SMALL {
        return None;
    }
    let mut content = vec![0; length as usize];
    let read = match reach {
        _ if length == 0 => Ok(0),
        Reach::Memory => read_cached(file, &mut content, 0),
        Reach::Disk => read_all(file, &mut content),
    };
    // A file that has become shorter is sent as a large one would be: the client learns that it is not whole.
    (read.ok()? == content.len()).then(|| content.into())
}

fn read_all(file: &File, content: &mut [u8]) -> io::Result<usize> {
    let length = content.len();
    file.read_exact_at(content, 0).map(|()| length)
}
