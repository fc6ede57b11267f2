//! Certificates that OpenSSL has made, and what OpenSSL says of them.

use data_encoding::BASE64;

use super::*;

/// Of most types of names; its owner's name needs every escape.
const ODD: &str = include_str!("../../tests/certificates/odd.pem");

/// In BMPString, which is UTF-16.
const BMP: &str = include_str!("../../tests/certificates/bmp.pem");

/// In T61String.
const T61: &str = include_str!("../../tests/certificates/t61.pem");

/// Several attributes in one part of the name; valid for long.
const SET: &str = include_str!("../../tests/certificates/set.pem");

fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().filter(|line| !line.starts_with("---"));
    BASE64.decode(lines.collect::<String>().as_bytes()).unwrap()
}

#[test]
fn names_are_those_of_openssl() {
    for (certificate, oneline, rfc2253) in [
        (
            ODD,
            r#"/C=DE/ST=Baden-W\xC3\xBCrttemberg/O=Odd, Even \+ Co; <#1> "x" \ y/OU=#first /OU=second=2/DC=org/UID=u1/1.2.3.4.5=value/emailAddress=a@example.org/CN=J\xC3\xBCrgen\/M\xC3\xBCller/CN=second"#,
            r#"CN=second,CN=Jürgen/Müller,emailAddress=a@example.org,1.2.3.4.5=#0C0576616C7565,UID=u1,DC=org,OU=second=2,OU=\#first\ ,O=Odd\, Even \+ Co\; \<#1\> \"x\" \\ y,ST=Baden-Württemberg,C=DE"#,
        ),
        (
            BMP,
            r"/O=\x00K\x00\xF6\x00l\x00n/CN=\x00B\x00m\x00p\x00  \xAC",
            "CN=Bmp €,O=Köln",
        ),
        (T61, r"/O=K\xF6ln/CN=Bmp", "CN=Bmp,O=Köln"),
        (SET, "/O=x/CN=z+L=q+OU=y", "OU=y+L=q+CN=z,O=x"),
    ] {
        let der = der(certificate);
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.subject().oneline(), oneline);
        assert_eq!(certificate.subject().rfc2253(), rfc2253);
        assert_eq!(certificate.issuer().oneline(), oneline);
    }
}

#[test]
fn the_common_name_is_the_first_one() {
    for (pem, name) in [(ODD, "Jürgen/Müller".as_bytes()), (T61, b"Bmp")] {
        let der = der(pem);
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.subject().common_name(), Some(name));
    }
}

#[test]
fn other_names_keep_their_order_and_kind() {
    let der = der(ODD);
    let names = Certificate::parse(&der).unwrap().alt_names();
    let expected: [(u8, &[u8]); 9] = [
        (2, b"example.org"),
        (2, b"*.example.org"),
        (7, &[192, 0, 2, 1]),
        (
            7,
            &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
        (1, b"a@example.org"),
        (6, b"https://example.org/x"),
        (8, b"1.2.3.4"),
        (4, b"/C=DE/CN=dir"),
        (0, b"user@example.org"),
    ];
    assert_eq!(names, expected.map(|(tag, value)| (tag, value.to_vec())));
}

#[test]
fn numbers_and_times_are_those_of_openssl() {
    for (pem, serial, from, to) in [
        (
            ODD,
            "0FA0B1C2",
            "Nov 23 13:43:41 2026 GMT",
            "Nov 26 13:43:41 2026 GMT",
        ),
        (
            BMP,
            "80",
            "Nov 23 13:43:41 2026 GMT",
            "Nov 26 13:43:41 2026 GMT",
        ),
        (
            T61,
            "00",
            "Nov 23 13:43:41 2026 GMT",
            "Nov 26 13:43:41 2026 GMT",
        ),
        (
            SET,
            "05",
            "Nov 23 13:44:33 2026 GMT",
            "Oct 30 13:44:33 2126 GMT",
        ),
    ] {
        let der = der(pem);
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.serial(), serial);
        assert_eq!(certificate.not_before(), from);
        assert_eq!(certificate.not_after(), to);
    }
}

#[test]
fn pem_is_written_as_it_was_read() {
    for text in [ODD, BMP, T61, SET] {
        assert_eq!(pem(&der(text)), text);
    }
}

#[test]
fn bytes_that_are_no_certificate_have_no_texts() {
    let whole = der(BMP);
    for cut in 0..whole.len() {
        assert!(Certificate::parse(&whole[..cut]).is_none(), "cut at {cut}");
    }
    assert!(Certificate::parse(&[&whole[..], &[0]].concat()).is_none());
}
