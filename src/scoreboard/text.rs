//! Texts in shared memory, written by one process and read by any: a seqlock. Nobody ever waits for a reader, and no reader
//! sees parts of two texts.
//!
//! One word guards a text: its length in the lower 16 bits, above them a sequence number, which is odd while the text is
//! being written. The words of the text are relaxed atomics, so that the race between writer and reader is no undefined
//! behaviour; two fences order them between the two states of the guard.

#![forbid(unsafe_code)]

use super::sync::{AtomicU64, Ordering, TRIES, fence, yield_now};

/// Bytes of the longest text.
pub(super) const LONGEST: usize = 256;

/// Where the sequence number begins in the guard.
const SEQUENCE: u32 = 16;

/// Writes the parts, one after the other; what finds no room is cut. There must be one writer at a time.
pub(super) fn write(guard: &AtomicU64, text: &[AtomicU64], parts: &[&[u8]]) {
    // Odd already where a writer has died in the middle.
    let odd = guard.load(Ordering::Relaxed) >> SEQUENCE | 1;
    guard.store(odd << SEQUENCE, Ordering::Relaxed);
    // Whoever reads a word of the new text finds the odd number, or a later one, when it looks again.
    fence(Ordering::Release);
    let mut bytes = [0; LONGEST];
    let room = (text.len() * 8).min(LONGEST);
    let mut written = 0;
    for part in parts {
        let end = (written + part.len()).min(room);
        bytes[written..end].copy_from_slice(&part[..end - written]);
        written = end;
    }
    let (words, _) = bytes.as_chunks::<8>();
    for (word, &bytes) in text.iter().zip(&words[..written.div_ceil(8)]) {
        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
    // Whoever reads this number reads the new text.
    let even = odd.wrapping_add(1);
    guard.store(even << SEQUENCE | written as u64, Ordering::Release);
}

/// The text; nothing where it is being written each time that we look, or its writer has died in the middle.
pub(super) fn read(guard: &AtomicU64, text: &[AtomicU64]) -> Option<Vec<u8>> {
    for _ in 0..TRIES {
        let before = guard.load(Ordering::Acquire);
        if before >> SEQUENCE & 1 == 0 {
            let length = (before & ((1 << SEQUENCE) - 1)) as usize;
            let words = text.iter().take(length.div_ceil(8));
            let mut bytes: Vec<u8> = words
                .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
                .collect();
            bytes.truncate(length);
            fence(Ordering::Acquire);
            if guard.load(Ordering::Relaxed) == before {
                return Some(bytes);
            }
        }
        yield_now();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_text_is_read_as_it_was_written() {
        let (guard, text) = (AtomicU64::new(0), words(3));
        assert_eq!(read(&guard, &text), Some(Vec::new()), "none yet");
        for parts in [
            &[&b"GET"[..], b" ", b"/"][..],
            &[b"12345678"],
            &[b"123456789"],
            &[],
            &[b"123456789012345678901234"],
        ] {
            write(&guard, &text, parts);
            assert_eq!(read(&guard, &text), Some(parts.concat()));
        }
        write(&guard, &text, &[&[b'x'; 20], b"yyyyyyyy", b"z"]);
        let cut = [&[b'x'; 20][..], b"yyyy"].concat();
        assert_eq!(read(&guard, &text), Some(cut));
    }

    #[test]
    fn a_text_whose_writer_has_died_is_none_until_the_next_one() {
        let (guard, text) = (AtomicU64::new(0), words(1));
        write(&guard, &text, &[b"first"]);
        // The first step of `write`.
        let odd = guard.load(Ordering::Relaxed) >> SEQUENCE | 1;
        guard.store(odd << SEQUENCE, Ordering::Relaxed);
        assert_eq!(read(&guard, &text), None);
        write(&guard, &text, &[b"next"]);
        assert_eq!(read(&guard, &text), Some(b"next".to_vec()));
    }

    #[test]
    fn no_reader_sees_parts_of_two_texts() {
        let (guard, text) = (AtomicU64::new(0), words(32));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..50_000_usize {
                    // Each differs in letter and length.
                    let letter = number % 26;
                    write(
                        &guard,
                        &text,
                        &[&[b'a' + letter as u8; 256][..200 + letter]],
                    );
                    if number % 64 == 0 {
                        thread::yield_now();
                    }
                }
                done.store(true, Ordering::Release);
            });
            let mut seen = 0;
            while !done.load(Ordering::Acquire) || seen == 0 {
                let Some(bytes) = read(&guard, &text) else {
                    continue;
                };
                let [first, rest @ ..] = &bytes[..] else {
                    continue;
                };
                seen += 1;
                assert!(rest.iter().all(|&letter| letter == *first));
                assert_eq!(1 + rest.len(), 200 + usize::from(*first - b'a'));
            }
        });
    }
}
