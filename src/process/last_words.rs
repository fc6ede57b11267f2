//! Why a worker could not begin: its own words, by a pipe to the master.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::fork;

/// What an empty pipe takes for certain.
const LONGEST: usize = 60 * 1024;

/// The worker's end.
#[derive(Debug)]
pub struct LastWords(File);

/// The master's end.
#[derive(Debug)]
pub struct LastWordsReader(File);

/// Makes the two ends. Neither waits for the other.
///
/// # Errors
/// When descriptors run out.
pub fn pair() -> io::Result<(LastWordsReader, LastWords)> {
    let (heard, said) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((LastWordsReader(heard.into()), LastWords(said.into())))
}

impl LastWords {
    /// Out of the way of apps that close the first few descriptors.
    ///
    /// # Errors
    /// None but those of a descriptor that is not open.
    pub fn move_high(self) -> io::Result<LastWords> {
        Ok(LastWords(fork::move_high(self.0.into())?.into()))
    }

    /// Tells the master, which logs it. Returns whether that succeeded.
    pub fn say(mut self, why: &str) -> bool {
        let end = why.len().min(LONGEST);
        self.0.write_all(&why.as_bytes()[..end]).is_ok()
    }
}

impl LastWordsReader {
    /// What a worker that is dead has said, if it has said anything.
    pub fn read(mut self) -> Option<String> {
        let mut said = Vec::new();
        // A child of the worker's may hold a copy of the other end: then it ends with WouldBlock.
        let _ = (&mut self.0).take(LONGEST as u64).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).trim_end().to_owned();
        (!said.is_empty()).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard() {
        let (heard, words) = pair().unwrap();
        let other = words.0.try_clone().unwrap();
        assert!(words.say("it is broken\n"));
        assert_eq!(heard.read().as_deref(), Some("it is broken"));
        drop(other);
        let (heard, words) = pair().unwrap();
        drop(words);
        assert_eq!(heard.read(), None);
        let (heard, words) = pair().unwrap();
        assert!(words.say(&"ä".repeat(LONGEST)));
        assert_eq!(heard.read().map(|said| said.len()), Some(LONGEST));
    }
}
