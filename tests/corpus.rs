//! Replays the inputs of `fuzz/corpus` through the checks of the fuzz targets, without libFuzzer.

use std::fs;
use std::io;
use std::panic;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
pub mod targets;

/// Protects: what fuzzing and its authors have once thought of stays right on every platform and toolchain.
fn replay(target: &str, check: fn(&[u8])) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let data = fs::read(&file)?;
        let held = panic::catch_unwind(|| {
            check(&data);
            // Inputs cut short are inputs as well.
            for end in 0..data.len() {
                check(&data[..end]);
            }
        });
        assert!(held.is_ok(), "the check fails for {}", file.display());
        inputs += 1;
    }
    assert!(inputs > 10, "the inputs have not been found");
    Ok(())
}

#[test]
fn request_head() -> io::Result<()> {
    replay("request_head", targets::request_head::check)
}

#[test]
fn chunked() -> io::Result<()> {
    replay("chunked", targets::chunked::check)
}

#[test]
fn target() -> io::Result<()> {
    replay("target", targets::target::check)
}

#[test]
fn channel_frames() -> io::Result<()> {
    replay("channel_frames", targets::channel_frames::check)
}

#[test]
fn proxy_header() -> io::Result<()> {
    replay("proxy_header", targets::proxy_header::check)
}

#[test]
fn forwarded() -> io::Result<()> {
    replay("forwarded", targets::forwarded::check)
}

#[test]
fn options() -> io::Result<()> {
    replay("options", targets::options::check)
}

#[test]
fn log_format() -> io::Result<()> {
    replay("log_format", targets::log_format::check)
}

#[test]
fn range() -> io::Result<()> {
    replay("range", targets::range::check)
}

#[test]
fn conditional() -> io::Result<()> {
    replay("conditional", targets::conditional::check)
}

#[test]
fn accept_encoding() -> io::Result<()> {
    replay("accept_encoding", targets::accept_encoding::check)
}

#[test]
fn core() -> io::Result<()> {
    replay("core", targets::core::check)
}

#[test]
fn http2() -> io::Result<()> {
    replay("http2", targets::http2::check)
}
