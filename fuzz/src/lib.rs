//! What must hold for any bytes, one module for each fuzz target.
//!
//! The fuzz targets and `tests/corpus.rs` call the same functions. Each panics where its property does not hold.

pub mod accept_encoding;
pub mod channel_frames;
pub mod chunked;
pub mod conditional;
pub mod core;
pub mod forwarded;
pub mod http2;
pub mod log_format;
pub mod options;
pub mod proxy_header;
pub mod range;
pub mod request_head;
pub mod target;

/// Cuts `bytes` into pieces of 1 to 23 bytes, as a client's packets might; `seed` chooses where.
fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let mut state = seed;
    std::iter::from_fn(move || {
        // A full period over all 256 states, so that no seed falls into a short cycle.
        state = state.wrapping_mul(141).wrapping_add(103);
        let (piece, behind) = rest
            .split_at_checked(usize::from(state) % 23 + 1)
            .unwrap_or((rest, b""));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
