//! Messages from end to end.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::codec::{DIED, LOGS, TLS_FILE, WORKER};
use super::master_end::ROOM;
use super::socket::{DESCRIPTORS, LONGEST, receive, send};
use super::*;

fn heard(core: &OwnedFd) -> Option<ToCore> {
    hear_master(core.as_fd()).unwrap().map(Result::unwrap)
}

#[test]
fn words_arrive_in_order_with_their_descriptors() {
    let (mut master, core) = pair().unwrap();
    let (channel, _worker) = crate::channel::pair().unwrap();
    master.tell(ToCore::Worker(7, 4711, channel)).unwrap();
    master.tell(ToCore::Died(7)).unwrap();
    let file = TlsFile {
        role: 2,
        hosts: Some(vec!["a.example".to_owned(), String::new()]),
        path: PathBuf::from("/etc/key\n.pem"),
        file: std::fs::File::open("/dev/null").unwrap().into(),
    };
    master.tell(ToCore::TlsFile(file)).unwrap();
    master.tell(ToCore::Drain).unwrap();
    tell_master(core.as_fd(), &ToMaster::Serving(70_000)).unwrap();
    let hung = ToMaster::Hung(3, "GET /".to_owned());
    tell_master(core.as_fd(), &hung.clone()).unwrap();
    tell_master(core.as_fd(), &ToMaster::Leaving(4)).unwrap();
    tell_master(core.as_fd(), &ToMaster::Broken(5)).unwrap();
    let load = ToMaster::Load(Load {
        ready: 70_000,
        waiting: 3,
        ..Load::default()
    });
    tell_master(core.as_fd(), &load.clone()).unwrap();
    tell_master(core.as_fd(), &ToMaster::Drained).unwrap();

    assert!(matches!(heard(&core), Some(ToCore::Worker(7, 4711, _))));
    assert!(matches!(heard(&core), Some(ToCore::Died(7))));
    match heard(&core) {
        Some(ToCore::TlsFile(file)) => {
            assert_eq!((file.role, file.path.to_str()), (2, Some("/etc/key\n.pem")));
            assert_eq!(
                file.hosts,
                Some(vec!["a.example".to_owned(), String::new()])
            );
        }
        word => panic!("{word:?}"),
    }
    assert!(matches!(heard(&core), Some(ToCore::Drain)));
    assert_eq!(master.hear().unwrap(), Some(ToMaster::Serving(70_000)));
    assert_eq!(master.hear().unwrap(), Some(hung));
    assert_eq!(master.hear().unwrap(), Some(ToMaster::Leaving(4)));
    assert_eq!(master.hear().unwrap(), Some(ToMaster::Broken(5)));
    assert_eq!(master.hear().unwrap(), Some(load));
    assert_eq!(master.hear().unwrap(), Some(ToMaster::Drained));
    drop(master);
    assert!(heard(&core).is_none());
}

#[test]
fn an_answer_overtakes_what_came_before_it_and_nothing_is_lost() {
    let (mut master, core) = pair().unwrap();
    tell_master(core.as_fd(), &ToMaster::Serving(1)).unwrap();
    let why = "x".repeat(LONGEST + 9);
    tell_master(core.as_fd(), &ToMaster::Answer(Err(why))).unwrap();
    tell_master(core.as_fd(), &ToMaster::Answer(Ok(()))).unwrap();
    let refused = master.ask(ToCore::Died(1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "x".repeat(LONGEST - 1),
        "as long as a word may be"
    );
    assert!(master.ask(ToCore::Died(1)).is_ok());
    assert!(master.has_heard());
    assert_eq!(master.hear().unwrap(), Some(ToMaster::Serving(1)));
    assert!(!master.has_heard());
    drop(core);
    assert!(master.ask(ToCore::Drain).is_err(), "the core is gone");
}

#[test]
fn who_dies_with_words_before_it_is_gone_and_nothing_else() {
    let (master, core) = pair().unwrap();
    tell_master(core.as_fd(), &ToMaster::Serving(1)).unwrap();
    drop(master);
    assert!(heard(&core).is_none());

    let (mut master, core) = pair().unwrap();
    master.tell(ToCore::Ping).unwrap();
    drop(core);
    assert_eq!(master.hear().unwrap(), None);
}

#[test]
fn long_words_and_many_descriptors_travel_whole() {
    let (master, core) = pair().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let bytes = vec![b'x'; LONGEST];
    send(master.as_fd(), &bytes, &[null.as_raw_fd(); DESCRIPTORS]).unwrap();
    let received = receive(core.as_fd()).unwrap().unwrap();
    assert_eq!(received.bytes, bytes);
    assert_eq!(received.descriptors.len(), DESCRIPTORS);
    assert!(send(master.as_fd(), &[b'x'; LONGEST + 1], &[]).is_err());
    let many = [null.as_raw_fd(); DESCRIPTORS + 1];
    assert!(send(master.as_fd(), b"x", &many).is_err());
}

#[test]
fn log_files_arrive_as_what_they_are() {
    let (master, core) = pair().unwrap();
    let null = || Some(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    for (access, errors) in [(true, true), (true, false), (false, true), (false, false)] {
        let access = access.then(null).flatten();
        let errors = errors.then(null).flatten();
        let expected = (access.is_some(), errors.is_some());
        master
            .tell(ToCore::Logs(LogFiles { access, errors }))
            .unwrap();
        let Some(ToCore::Logs(files)) = heard(&core) else {
            panic!("another word");
        };
        assert_eq!((files.access.is_some(), files.errors.is_some()), expected);
    }
}

#[test]
fn what_is_no_word_is_refused() {
    let (master, core) = pair().unwrap();
    for bytes in [
        &[99][..],
        &[WORKER, 1, 0, 0, 0],
        &[DIED, 1],
        &[TLS_FILE, 1],
        &[LOGS],
        &[LOGS, 1],
    ] {
        send(master.as_fd(), bytes, &[]).unwrap();
        assert!(hear_master(core.as_fd()).is_err());
    }
}

/// Protects: a core that reads nothing holds up its master for a second, once.
#[test]
fn a_core_that_reads_nothing_is_known_to_hang() {
    let (mut master, core) = pair().unwrap();
    let began = Instant::now();
    while master.tell(ToCore::Ping).is_ok() {}
    assert!(master.hangs());
    assert!(master.ask(ToCore::ReadTls).is_err());
    assert!(began.elapsed() < 3 * ROOM);
    assert!(matches!(heard(&core), Some(ToCore::Ping)));
}

/// Protects: a stop does not wait for a core that is silent.
#[test]
fn a_signal_ends_the_wait_for_an_answer() {
    let (mut master, _core) = pair().unwrap();
    let (mut notes, end) = UnixStream::pair().unwrap();
    master.interrupt_by(end.try_clone().unwrap(), b"T");
    std::io::Write::write_all(&mut notes, b"CT").unwrap();
    let began = Instant::now();
    let why = master.ask(ToCore::ReadTls).unwrap_err().to_string();
    assert!(why.contains("the server stops"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(1));
    let mut left = [0; 2];
    std::io::Read::read_exact(&mut { end }, &mut left).unwrap();
    assert_eq!(&left, b"CT", "the master still sees the signals");
}
