//! Forwarded chains: the client is the last address that is not trusted, and what names it lies within the field.

use gepok::semantics::field::Fields;
use gepok::semantics::forwarded::{Field, LINKS, read};
use gepok::semantics::networks::Networks;

/// Lines of one field.
pub fn check(data: &[u8]) {
    let lines = || data.split(|&byte| byte == b'\n');
    let Ok(ten) = "10.0.0.0".parse() else { return };
    let trusted = Networks {
        networks: vec![(ten, 8)],
        unix: false,
    };
    for field in [
        Field::XForwardedFor,
        Field::Forwarded,
        Field::Single("x-real-ip".to_owned()),
    ] {
        let fields = Fields::from_pairs(lines().map(|line| (field.name(), line)));
        let told = read(&fields, &field, &trusted);
        assert_eq!(told.client.is_some(), told.link.is_some());
        assert!(told.place < LINKS);
        for span in [told.link, told.host].into_iter().flatten() {
            assert!(span.start < span.end && span.end as usize <= fields.bytes().len());
        }
        // What a client sends before what proxies add changes nothing.
        let mut more: Vec<_> = lines().map(|line| (field.name(), line)).collect();
        more.insert(0, (field.name(), b"6.6.6.6".as_slice()));
        let fields = Fields::from_pairs(more);
        let stopped = told.is_cut
            || told
                .client
                .is_some_and(|client| !trusted.has(Some(client.ip())));
        if stopped && !matches!(field, Field::Single(_)) {
            assert_eq!(read(&fields, &field, &trusted).client, told.client);
        }
    }
}
