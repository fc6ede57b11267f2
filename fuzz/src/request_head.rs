//! Request heads: how a client's bytes are cut must not matter, and each head has one reading.

use bytes::BytesMut;
use gepok::http::error::Error;
use gepok::http::examine::examine;
use gepok::http::h1::framing::{self, Facts, Framing};
use gepok::http::h1::parse::HeadReader;
use gepok::http::limits::{self, Limits};
use gepok::semantics::message::RequestHead;

/// The first byte chooses the limits (odd: small ones), the second the cuts; requests without content follow.
pub fn check(data: &[u8]) {
    let [size, seed, bytes @ ..] = data else {
        return;
    };
    let limits = if size % 2 == 1 {
        Limits {
            field_section: 64,
            fields: 3,
            target: 16,
            content: Some(10),
            underscore_names: true,
            // Each of the relaxing options, as the second byte has it.
            bare_lf: seed % 2 == 1,
            te_cl: seed % 3 == 1,
            target_fragment: seed % 5 == 1,
            require_host: seed % 7 == 1,
        }
    } else {
        Limits::default()
    };
    let whole = Heads::read([bytes].into_iter(), &limits);
    let cut = Heads::read(super::pieces(bytes, *seed), &limits);
    assert_eq!(
        whole.heads.iter().map(written).collect::<Vec<_>>(),
        cut.heads.iter().map(written).collect::<Vec<_>>(),
        "cuts change what is read"
    );
    // Which error it is may differ: a line that is wrong in two ways is refused as soon as one of them shows.
    assert_eq!(
        whole.refused.is_some(),
        cut.refused.is_some(),
        "cuts change what is refused: {:?}, {:?}",
        whole.refused,
        cut.refused
    );
    if whole.refused.is_none() {
        assert_eq!(whole.rest, cut.rest);
    }
    for head in &whole.heads {
        check_head(head, &limits);
    }
}

/// All that is read off one connection.
struct Heads {
    heads: Vec<RequestHead>,
    refused: Option<Error>,
    rest: BytesMut,
}

impl Heads {
    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> Self {
        let mut reader = HeadReader::new();
        let mut rest = BytesMut::new();
        let mut heads = Vec::new();
        for piece in pieces {
            rest.extend_from_slice(piece);
            loop {
                match reader.read(&mut rest, limits) {
                    Ok(Some(head)) => heads.push(head),
                    Ok(None) => break,
                    Err(error) => {
                        return Heads {
                            heads,
                            refused: Some(error),
                            rest,
                        };
                    }
                }
            }
        }
        Heads {
            heads,
            refused: None,
            rest,
        }
    }
}

/// What a connection must know of a request, or why it is refused.
fn facts(head: &RequestHead, limits: &Limits) -> Result<Facts, Error> {
    examine(head, limits)?;
    framing::facts(head, limits)
}

fn check_head(head: &RequestHead, limits: &Limits) {
    let (method, target) = (head.method(), head.target());
    assert!(
        (1..=limits::METHOD).contains(&method.len()) && method.iter().all(u8::is_ascii_graphic)
    );
    assert!((1..=limits.target).contains(&target.len()));
    assert!(!target.iter().any(|b| b.is_ascii_control() || *b == b' '));
    assert!(head.fields.len() <= limits.fields);
    for (name, value) in head.fields.iter() {
        assert!((1..=limits::FIELD_NAME).contains(&name.len()));
        assert!(name.iter().all(|b| b.is_ascii_graphic() && *b != b':'));
        assert!(!name.eq_ignore_ascii_case(b"proxy"));
        assert!(limits.underscore_names || !name.contains(&b'_'));
        assert!(!value.iter().any(|b| b.is_ascii_control() && *b != b'\t'));
        assert_eq!(
            value,
            value.trim_ascii(),
            "white space is no part of a value"
        );
    }

    let facts = facts(head, limits);
    if let Ok(facts) = &facts {
        check_framing(head, facts, limits);
    }
    // A proxy that writes the head anew must not make another request of it.
    let anew = Heads::read(
        [&written(head)[..]].into_iter(),
        &Limits {
            field_section: 1 << 20,
            ..limits.clone()
        },
    );
    assert!(anew.rest.is_empty(), "the head has two ends");
    let [again] = &anew.heads[..] else {
        panic!("not one head, but {}", anew.heads.len());
    };
    assert_eq!(written(again), written(head));
    assert_eq!(self::facts(again, limits), facts);
}

/// No request that says its length in two ways may pass (RFC 9112 section 6.3).
fn check_framing(head: &RequestHead, facts: &Facts, limits: &Limits) {
    let lengths: Vec<_> = head.fields.all("content-length").collect();
    let codings: Vec<_> = head.fields.all("transfer-encoding").collect();
    match (facts.content, &lengths[..], &codings[..]) {
        (Framing::None, [], []) => {}
        (Framing::Length(length), [said], []) => {
            let said = std::str::from_utf8(said)
                .ok()
                .and_then(|said| said.parse().ok());
            assert_eq!(said, Some(length));
            assert!(limits.content.is_none_or(|limit| length <= limit));
        }
        (Framing::Chunked, [], [said]) => assert!(said.eq_ignore_ascii_case(b"chunked")),
        (Framing::Chunked, [_], [_]) => assert!(limits.te_cl && !facts.persistent),
        (framing, lengths, codings) => panic!("{framing:?} of {lengths:?} and {codings:?}"),
    }
    assert!(head.fields.all("host").count() <= 1);
}

fn written(head: &RequestHead) -> Vec<u8> {
    let mut bytes = [
        head.method(),
        b" ",
        head.target(),
        b" ",
        head.version.as_str().as_bytes(),
    ]
    .concat();
    for (name, value) in head.fields.iter() {
        bytes.extend([b"\r\n", name, b":", value].concat());
    }
    bytes.extend(b"\r\n\r\n");
    bytes
}
