//! The channel's frames: garbage is refused, and what is taken is what was sent.

/// The first byte chooses the cuts; what another process might have written to a channel follows.
pub fn check(data: &[u8]) {
    let [seed, bytes @ ..] = data else {
        return;
    };
    let pieces: Vec<&[u8]> = super::pieces(bytes, *seed).collect();
    gepok::channel::fuzz::check(&pieces);
}
