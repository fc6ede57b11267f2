//! PROXY headers, whole, malformed and cut anywhere.

use super::*;

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((block.len() as u16).to_be_bytes());
    bytes.extend(block);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes
}

const V4: [u8; 12] = [203, 0, 113, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

fn v6() -> Vec<u8> {
    let mut block = Vec::new();
    for text in ["2001:db8::1", "2001:db8::2"] {
        block.extend(text.parse::<Ipv6Addr>().unwrap().octets());
    }
    block.extend([0x12, 0x34, 0, 80]);
    block
}

/// A header over TCP4 with these values.
fn with(values: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[&V4[..], &values.concat()].concat())
}

/// The value of TLS: flags, what verifying gave, values within.
fn ssl(flags: u8, verify: u32, values: &[Vec<u8>]) -> Vec<u8> {
    let head = [&[flags][..], &verify.to_be_bytes()].concat();
    tlv(SSL, &[head, values.concat()].concat())
}

/// A header with a checksum, which is wrong by `error`.
fn summed(before: Vec<u8>, after: Vec<u8>, error: u32) -> Vec<u8> {
    let mut bytes = with(&[before.clone(), tlv(CRC32C, &[0; 4]), after]);
    let at = FIXED + V4.len() + before.len() + 3;
    let sum = crc32c([&bytes, &[], &[]]) ^ error;
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn shown(parsed: Result<Option<(Header, usize)>, Malformed>) -> String {
    match parsed {
        Ok(None) => "more".to_owned(),
        Ok(Some((header, _))) => match header.sender {
            Sender::Proxy => "local".to_owned(),
            Sender::Unknown => "unknown".to_owned(),
            Sender::Client {
                source,
                destination,
            } => format!("{source} {destination}"),
        },
        Err(malformed) => format!("{malformed:?}"),
    }
}

/// Raw headers, and what they come to.
#[rustfmt::skip] // A table.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    let four = "203.0.113.1:4660 10.0.0.1:80";
    let six = "[2001:db8::1]:4660 [2001:db8::2]:80";
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let longest = format!("UNKNOWN {}", "x".repeat(LONGEST_LINE - 16));
    let too_long = format!("UNKNOWN {}", "x".repeat(LONGEST_LINE - 15));
    let mapped: Vec<u8> = ["::ffff:203.0.113.1", "::ffff:10.0.0.1"].iter()
        .flat_map(|text| text.parse::<Ipv6Addr>().unwrap().octets()).chain([0x12, 0x34, 0, 80]).collect();
    let tls = [tlv(SSL_VERSION, b"TLSv1.3"), tlv(SSL_CN, b"alice"), tlv(SSL_CIPHER, b"TLS_AES_128_GCM_SHA256")];
    let noop = |length: usize| tlv(0x04, &vec![0; length]);
    vec![
        // Version 1.
        (line("TCP4 203.0.113.1 10.0.0.1 4660 80"), four),
        (line("TCP6 2001:db8::1 2001:db8::2 4660 80"), six),
        (line("TCP6 ::ffff:203.0.113.1 ::ffff:10.0.0.1 4660 80"), four),
        (line("TCP4 255.255.255.255 255.255.255.255 65535 65535"), "255.255.255.255:65535 255.255.255.255:65535"),
        (line("TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535"),
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        (line("TCP4 0.0.0.0 0.0.0.0 0 0"), "0.0.0.0:0 0.0.0.0:0"),
        (line("UNKNOWN"), "unknown"),
        (line("UNKNOWN ffff::1 ::1 1 2"), "unknown"),
        (line("UNKNOWN anything at all"), "unknown"),
        (line(&longest), "unknown"),
        (line(&too_long), "LineTooLong"),
        (line("TCP4 203.0.113.1 10.0.0.1 4660"), "Line"),
        (line("TCP4 203.0.113.1 10.0.0.1 4660 80 1"), "Line"),
        (line("TCP4  203.0.113.1 10.0.0.1 4660 80"), "Line"),
        (line(" TCP4 203.0.113.1 10.0.0.1 4660 80"), "Line"),
        (line("TCP4 203.0.113.1 10.0.0.1 4660 80 "), "Line"),
        (line("TCP4\t203.0.113.1 10.0.0.1 4660 80"), "Line"),
        (line("tcp4 203.0.113.1 10.0.0.1 4660 80"), "Line"),
        (line("TCP5 203.0.113.1 10.0.0.1 4660 80"), "Line"),
        (line("UDP4 203.0.113.1 10.0.0.1 4660 80"), "Line"),
        (line("UNKNOWNX"), "Line"),
        (line("unknown"), "Line"),
        (line(""), "Line"),
        (line("TCP4 2001:db8::1 10.0.0.1 4660 80"), "Address"),
        (line("TCP6 203.0.113.1 2001:db8::2 4660 80"), "Address"),
        (line("TCP6 [2001:db8::1] 2001:db8::2 4660 80"), "Address"),
        (line("TCP6 fe80::1%eth0 2001:db8::2 4660 80"), "Address"),
        (line("TCP4 203.0.113.01 10.0.0.1 4660 80"), "Address"),
        (line("TCP4 203.0.113.256 10.0.0.1 4660 80"), "Address"),
        (line("TCP4 localhost 10.0.0.1 4660 80"), "Address"),
        (line("TCP4 203.0.113.1 10.0.0.1 65536 80"), "Address"),
        (line("TCP4 203.0.113.1 10.0.0.1 04660 80"), "Address"),
        (line("TCP4 203.0.113.1 10.0.0.1 +4660 80"), "Address"),
        (line("TCP4 203.0.113.1 10.0.0.1 4660 -80"), "Address"),
        (line("TCP4 203.0.113.1 10.0.0.1  80"), "Address"),
        (b"PROXY TCP4 203.0.113.1 10.0.0.1 4660 80\n".to_vec(), "Line"),
        (b"PROXY UNKNOWN\n".to_vec(), "Line"),
        (b"PROXY \xff\xfe\r\n".to_vec(), "Line"),
        (b"PROXY UNKNOWN\r\r\n".to_vec(), "Line"),
        // No header at all.
        (b"GET / HTTP/1.1\r\n".to_vec(), "Missing"),
        (b"POST / HTTP/1.1\r\n".to_vec(), "Missing"),
        (b"PROXYTCP4 1.1.1.1\r\n".to_vec(), "Missing"),
        (b"proxy UNKNOWN\r\n".to_vec(), "Missing"),
        (b"\x16\x03\x01\x02\0\x01".to_vec(), "Missing"),
        (b"\r\nGET / HTTP/1.1\r\n".to_vec(), "Missing"),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), "Missing"),
        (b" PROXY UNKNOWN\r\n".to_vec(), "Missing"),
        // Version 2.
        (v2(0x21, 0x11, &V4), four),
        (v2(0x21, 0x21, &v6()), six),
        (v2(0x21, 0x21, &mapped), four),
        (v2(0x21, 0x31, &[b'/'; 216]), "unknown"),
        (v2(0x21, 0x00, &[]), "unknown"),
        (v2(0x21, 0x00, &tlv(0x05, b"id")), "unknown"),
        (v2(0x20, 0x00, &[]), "local"),
        (v2(0x20, 0x11, &V4), "local"),
        (v2(0x20, 0xff, b"whatever"), "local"),
        (v2(0x20, 0x12, &[0; 3]), "local"),
        (v2(0x22, 0x11, &V4), "Command"),
        (v2(0x2f, 0x11, &V4), "Command"),
        (v2(0x11, 0x11, &V4), "Command"),
        (v2(0x31, 0x11, &V4), "Command"),
        (v2(0x01, 0x11, &V4), "Command"),
        (v2(0x21, 0x12, &V4), "Family"),
        (v2(0x21, 0x22, &v6()), "Family"),
        (v2(0x21, 0x32, &[0; 216]), "Family"),
        (v2(0x21, 0x10, &V4), "Family"),
        (v2(0x21, 0x01, &V4), "Family"),
        (v2(0x21, 0x41, &V4), "Family"),
        (v2(0x21, 0x13, &V4), "Family"),
        (v2(0x21, 0x11, &V4[..11]), "TooShort"),
        (v2(0x21, 0x11, &[]), "TooShort"),
        (v2(0x21, 0x21, &V4), "TooShort"),
        (v2(0x21, 0x31, &[0; 215]), "TooShort"),
        (with(&[noop(LONGEST_BLOCK - 12 - 3)]), four),
        (with(&[noop(LONGEST_BLOCK - 12 - 2)]), "TooLong"),
        (v2(0x20, 0x00, &vec![0; LONGEST_BLOCK]), "local"),
        (v2(0x20, 0x00, &vec![0; LONGEST_BLOCK + 1]), "TooLong"),
        (v2(0x21, 0x11, &[0xff; 65535]), "TooLong"),
        // Values.
        (with(&[tlv(0x01, b"h2"), tlv(AUTHORITY, b"example.org"), tlv(0xea, b"\x01vpce-1")]), four),
        (with(&[tlv(0x04, b"")]), four),
        (with(&[vec![0x04]]), "Value"),
        (with(&[vec![0x04, 0]]), "Value"),
        (with(&[vec![0x04, 0, 1]]), "Value"),
        (with(&[tlv(0x04, b"x"), vec![0x04, 0xff, 0xff, 0]]), "Value"),
        (with(&[ssl(7, 0, &tls)]), four),
        (with(&[ssl(1, 0, &[])]), four),
        (with(&[tlv(SSL, &[1, 0, 0, 0])]), "Value"),
        (with(&[ssl(1, 0, &[vec![SSL_CN, 0, 9, b'x']])]), "Value"),
        (summed(vec![], vec![], 0), four),
        (summed(tlv(AUTHORITY, b"example.org"), tlv(0x05, b"id"), 0), four),
        (summed(vec![], tlv(0x05, b"id"), 1), "Checksum"),
        (summed(tlv(0x05, b"id"), vec![], 0x8000_0000), "Checksum"),
        (with(&[tlv(CRC32C, &[0; 3])]), "Value"),
        (with(&[tlv(CRC32C, &[0; 4])]), "Checksum"),
        (summed(vec![], tlv(CRC32C, &[0; 4]), 0), "Value"),
    ]
}

#[test]
fn a_header_has_one_reading() {
    let headers = headers();
    assert!(headers.len() >= 80, "{}", headers.len());
    for (bytes, expected) in headers {
        let name = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(shown(parse(&bytes)), expected, "{name:?}");
    }
}

/// However the bytes come, the answer is the same: as long as more are needed, none of them belongs to what follows.
#[test]
fn headers_may_be_cut_anywhere() {
    const NEXT: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    for (bytes, expected) in headers() {
        let name = String::from_utf8_lossy(&bytes).into_owned();
        let mut refused = false;
        for cut in 0..bytes.len() {
            let part = parse(&bytes[..cut]);
            match &part {
                Ok(None) => assert!(!refused, "{name:?} cut at {cut}"),
                Ok(Some(_)) => panic!("{name:?} is whole at {cut}"),
                Err(_) => {
                    refused = true;
                    assert_eq!(shown(part), expected, "{name:?} cut at {cut}");
                }
            }
        }
        let whole = [&bytes, NEXT].concat();
        let parsed = parse(&whole);
        if let Ok(Some((_, length))) = &parsed {
            assert_eq!(*length, bytes.len(), "{name:?}");
            assert!(*length <= LONGEST);
        }
        assert_eq!(shown(parsed), expected, "{name:?} and a request");
    }
}

#[test]
fn values_are_found_by_their_types() {
    let tls = [
        tlv(SSL_VERSION, b"TLSv1.3"),
        tlv(SSL_CN, b"alice"),
        tlv(SSL_CIPHER, b"AES"),
    ];
    let read = |values: &[Vec<u8>]| parse(&with(values)).unwrap().unwrap().0.tlvs;
    let tlvs = read(&[tlv(AUTHORITY, b"example.org"), ssl(7, 0, &tls)]);
    assert_eq!(tlvs.authority(), Some(&b"example.org"[..]));
    assert_eq!(
        tlvs.tls(),
        Some(ProxyTls {
            has_certificate: true,
            is_verified: true,
            version: Some(b"TLSv1.3"),
            common_name: Some(b"alice"),
            cipher: Some(b"AES"),
        })
    );
    assert_eq!(
        tlvs.iter().map(|(kind, _)| kind).collect::<Vec<_>>(),
        [2, 0x20]
    );
    // Not verified; no certificate; no TLS.
    assert!(!read(&[ssl(3, 18, &tls)]).tls().unwrap().is_verified);
    let plain = read(&[ssl(1, 0, &[])]);
    let none = plain.tls().unwrap();
    assert!(!none.has_certificate && !none.is_verified);
    assert_eq!(read(&[ssl(0, 0, &tls)]).tls(), None);
    assert_eq!(read(&[]).tls(), None);
    assert!(read(&[]).is_empty());
}

#[test]
fn the_checksum_is_that_of_rfc_4960() {
    assert_eq!(crc32c([b"123456789", &[], &[]]), 0xe306_9283);
    assert_eq!(crc32c([&[0; 32], &[], &[]]), 0x8a91_36aa);
}

proptest::proptest! {
    /// What has been decided about the first bytes stays so, whatever comes.
    #[test]
    fn any_bytes_have_an_answer(
        begins in proptest::sample::select(headers()),
        cut in 0usize..300,
        rest in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
    ) {
        let (bytes, _) = begins;
        let cut = cut.min(bytes.len());
        let whole = [&bytes[..cut], &rest[..]].concat();
        let at_once = parse(&whole);
        let bytewise = (0..=whole.len()).map(|end| parse(&whole[..end]));
        let first = bytewise.into_iter().find(|parsed| !matches!(parsed, Ok(None)));
        proptest::prop_assert_eq!(first.unwrap_or(Ok(None)), at_once);
    }
}
