//! Process titles: what ps(1) shows instead of the command line.
//!
//! The kernel shows the memory that held the program's arguments when it was started. A title is written there, so that it
//! costs no system call; what does not fit is cut. The environment, which follows, is never touched.

use std::ffi::CString;
use std::fs;
use std::ptr;
use std::slice;

use nix::sys::prctl;

/// Longer titles are cut, however much room there is: writing one is part of each request.
const LONGEST: usize = 96;

/// The title of this process, and of those that it forks.
#[derive(Clone, Debug)]
pub struct Title {
    area: Area,
    name: String,
    /// What stood there before, and the name that the kernel knew.
    before: (Vec<u8>, Option<CString>),
    /// What was written last.
    shown: Line,
    /// The program itself has written there since then (Perl's `$0`): its title stays.
    disowned: bool,
}

/// A title's bytes, all of which can be printed.
#[derive(Clone, Copy, Debug)]
struct Line {
    bytes: [u8; LONGEST],
    length: usize,
}

/// The memory of the arguments.
#[derive(Clone, Debug)]
struct Area {
    start: *mut u8,
    /// Its bytes, without the last one, which stays zero: were it none, the kernel would show the environment too.
    room: usize,
}

impl Title {
    /// For a program of this name; nothing where the memory can't be found.
    pub fn of(name: &str) -> Option<Title> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let mut title = Title::at(arguments(&stat)?, name);
        title.before.1 = prctl::get_name().ok();
        title.name_process();
        Some(title)
    }

    /// Has the kernel know this process by the program's name, as pgrep(1) and top(1) show it: the first 15 bytes. It is that of the
    /// thread; those that it forks begin with it.
    fn name_process(&self) {
        if let Ok(name) = CString::new(self.name.as_str()) {
            // It can't fail.
            let _ = prctl::set_name(&name);
        }
    }

    fn at(area: Area, name: &str) -> Title {
        Title {
            before: (area.bytes().to_vec(), None),
            area,
            name: name.to_owned(),
            shown: Line::EMPTY,
            disowned: false,
        }
    }

    /// Shows `NAME [A B]` from now on, for the words A and B. Bytes that could move a terminal become `?`.
    pub fn show(&mut self, words: &[&[u8]]) {
        if !self.is_ours() {
            return;
        }
        let mut line = Line::EMPTY;
        line.add(self.name.as_bytes());
        for (at, word) in words.iter().enumerate() {
            line.add(if at == 0 { b" [" } else { b" " });
            line.add(word);
        }
        line.add(b"]");
        line.length = line.length.min(self.area.room);
        // The first time the whole command line goes, later what is left of a longer title.
        let used = match self.shown.length {
            0 => self.area.room,
            used => used,
        };
        self.area.write(line.as_bytes(), used);
        self.shown = line;
    }

    /// Whatever was written there since: it is this title's place again. Loading an app writes there, since Perl has `$0`
    /// be the app's file meanwhile.
    pub fn claim(&mut self) {
        self.name_process();
        self.shown = Line::EMPTY;
        self.disowned = false;
    }

    /// Shows the command line again, because the program goes on to do something else.
    pub fn end(mut self) {
        if self.is_ours() {
            self.area.write(&self.before.0, self.area.room);
        }
        if let Some(name) = &self.before.1 {
            let _ = prctl::set_name(name);
        }
    }

    fn is_ours(&mut self) -> bool {
        self.disowned |= !self.area.bytes().starts_with(self.shown.as_bytes());
        !self.disowned
    }
}

impl Line {
    const EMPTY: Line = Line {
        bytes: [0; LONGEST],
        length: 0,
    };

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// As much of it as there is room for.
    fn add(&mut self, text: &[u8]) {
        for (to, &byte) in self.bytes[self.length..].iter_mut().zip(text) {
            *to = match byte {
                b' '..=b'~' => byte,
                _ => b'?',
            };
            self.length += 1;
        }
    }
}

impl Area {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `room` bytes from `start` on are the process's own arguments, mapped and writable as long as it lives.
        // Beside the kernel only Perl writes there, for `$0`, and on this thread, not while this is borrowed.
        unsafe { slice::from_raw_parts(self.start, self.room) }
    }

    /// Writes these bytes, and zeros after them up to `used`.
    fn write(&mut self, bytes: &[u8], used: usize) {
        let length = bytes.len().min(self.room);
        let rest = used.min(self.room).saturating_sub(length);
        // SAFETY: as in `bytes`; no slice of it exists now, and both stay below `room`.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, length);
            ptr::write_bytes(self.start.add(length), 0, rest);
        }
    }
}

/// Where the arguments are, from the fields `arg_start` and `arg_end` of `/proc/self/stat`, as proc(5) numbers them.
fn arguments(stat: &str) -> Option<Area> {
    const START: usize = 48;
    // The second field, a name in brackets, may have blanks and brackets itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(START - 3);
    let mut address = || fields.next()?.parse::<usize>().ok();
    let (start, end) = (address()?, address()?);
    let room = end.checked_sub(start)?.checked_sub(1)?;
    (start > 0 && room > 0).then_some(Area {
        start: ptr::with_exposed_provenance_mut(start),
        room,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(memory: &mut [u8]) -> Title {
        let (start, room) = (memory.as_mut_ptr(), memory.len() - 1);
        Title::at(Area { start, room }, "app")
    }

    #[test]
    fn it_replaces_the_arguments_and_longer_titles() {
        let mut memory = *b"perl\0-e\0a long program\0";
        let mut title = title(&mut memory);
        title.show(&[b"listening"]);
        assert_eq!(&memory, b"app [listening]\0\0\0\0\0\0\0\0");
        title.show(&[b"serving", b"GET", b"/a/rather/long/path"]);
        assert_eq!(
            &memory, b"app [serving GET /a/ra\0",
            "cut, and a zero ends it"
        );
        title.show(&[b"\x1b[2J\n"]);
        assert_eq!(&memory, b"app [?[2J?]\0\0\0\0\0\0\0\0\0\0\0\0");
        title.end();
        assert_eq!(&memory, b"perl\0-e\0a long program\0");
    }

    #[test]
    fn what_the_program_has_written_itself_stays() {
        let mut memory = *b"perl\0-e\0a long program\0";
        let mut title = title(&mut memory);
        title.show(&[b"listening"]);
        title.area.write(b"mine", 22);
        title.show(&[b"serving"]);
        assert_eq!(&memory[..5], b"mine\0");
    }

    #[test]
    fn the_arguments_are_where_the_kernel_says() {
        let fields = |start: &str, end: &str| {
            let before = vec!["7"; 44].join(" ");
            format!("12 (a) (b c) S {before} {start} {end} 9 9 0\n")
        };
        let area = arguments(&fields("4096", "4196")).unwrap();
        assert_eq!((area.start.addr(), area.room), (4096, 99));
        for (start, end) in [
            ("0", "0"),
            ("4096", "4096"),
            ("4096", "4097"),
            ("9", "1"),
            ("x", "9"),
        ] {
            assert!(arguments(&fields(start, end)).is_none(), "{start} {end}");
        }
        assert!(arguments("12 (short").is_none());
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let own = arguments(&stat).unwrap();
        let line = fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(own.bytes(), &line[..own.room]);
    }
}
