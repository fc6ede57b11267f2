//! Certificates that OpenSSL has made, and what OpenSSL says of them.

use data_encoding::BASE64;

use super::*;

/// Of most types of names; its owner's name needs every escape.
const ODD: &str = "\
-----BEGIN CERTIFICATE-----
MIIDwjCCA2igAwIBAgIED6CxwjAKBggqhkjOPQQDAjCB+TELMAkGA1UEBhMCREUx
GzAZBgNVBAgMEkJhZGVuLVfDvHJ0dGVtYmVyZzElMCMGA1UECgwcT2RkLCBFdmVu
ICsgQ287IDwjMT4gIngiIFwgeTEQMA4GA1UECwwHI2ZpcnN0IDERMA8GA1UECwwI
c2Vjb25kPTIxEzARBgoJkiaJk/IsZAEZFgNvcmcxEjAQBgoJkiaJk/IsZAEBDAJ1
MTEPMA0GBCoDBAUMBXZhbHVlMRwwGgYJKoZIhvcNAQkBFg1hQGV4YW1wbGUub3Jn
MRgwFgYDVQQDDA9Kw7xyZ2VuL03DvGxsZXIxDzANBgNVBAMMBnNlY29uZDAeFw0y
NjExMjMxMzQzNDFaFw0yNjExMjYxMzQzNDFaMIH5MQswCQYDVQQGEwJERTEbMBkG
A1UECAwSQmFkZW4tV8O8cnR0ZW1iZXJnMSUwIwYDVQQKDBxPZGQsIEV2ZW4gKyBD
bzsgPCMxPiAieCIgXCB5MRAwDgYDVQQLDAcjZmlyc3QgMREwDwYDVQQLDAhzZWNv
bmQ9MjETMBEGCgmSJomT8ixkARkWA29yZzESMBAGCgmSJomT8ixkAQEMAnUxMQ8w
DQYEKgMEBQwFdmFsdWUxHDAaBgkqhkiG9w0BCQEWDWFAZXhhbXBsZS5vcmcxGDAW
BgNVBAMMD0rDvHJnZW4vTcO8bGxlcjEPMA0GA1UEAwwGc2Vjb25kMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEvi/WH1syXL0U0Stsa2QVsYxfhilz3q+62qwaSfWr
lkYgTv1hnqUj5dNFXaLlN9NQXLKQaouvrugbicD519sWP6OB2zCB2DCBqwYDVR0R
BIGjMIGgggtleGFtcGxlLm9yZ4INKi5leGFtcGxlLm9yZ4cEwAACAYcQIAENuAAA
AAAAAAAAAAAAAYENYUBleGFtcGxlLm9yZ4YVaHR0cHM6Ly9leGFtcGxlLm9yZy94
iAMqAwSkHTAbMQswCQYDVQQGEwJERTEMMAoGA1UEAwwDZGlyoCAGCisGAQQBgjcU
AgOgEgwQdXNlckBleGFtcGxlLm9yZzAJBgNVHRMEAjAAMB0GA1UdDgQWBBR1orQa
v2TokPS0MzT+L77I4UXigDAKBggqhkjOPQQDAgNIADBFAiBiGYSBctTc3I+tKrT2
0YT52Cr3fhuzIwuMzmygkM034QIhAMEy+mlSiuYLufD04Nh5E9egJNtzhAQqtRyY
qIUCjQqh
-----END CERTIFICATE-----
";

/// In BMPString, which is UTF-16.
const BMP: &str = "\
-----BEGIN CERTIFICATE-----
MIIBOTCB3wICAIAwCgYIKoZIzj0EAwIwKDERMA8GA1UECh4IAEsA9gBsAG4xEzAR
BgNVBAMeCgBCAG0AcAAgIKwwHhcNMjYxMTIzMTM0MzQxWhcNMjYxMTI2MTM0MzQx
WjAoMREwDwYDVQQKHggASwD2AGwAbjETMBEGA1UEAx4KAEIAbQBwACAgrDBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABL4v1h9bMly9FNErbGtkFbGMX4Ypc96vutqs
Gkn1q5ZGIE79YZ6lI+XTRV2i5TfTUFyykGqLr67oG4nA+dfbFj8wCgYIKoZIzj0E
AwIDSQAwRgIhAOT8Idr58t3/74yXL3MhSyc+kN3p5qiuQfRNHt6FG0yWAiEAvZxM
z6IaAryAG2MqrwUbIjYex7O+/0un+F117WA0PV4=
-----END CERTIFICATE-----
";

/// In T61String.
const T61: &str = "\
-----BEGIN CERTIFICATE-----
MIIBITCByAIBADAKBggqhkjOPQQDAjAdMQ0wCwYDVQQKFARL9mxuMQwwCgYDVQQD
FANCbXAwHhcNMjYxMTIzMTM0MzQxWhcNMjYxMTI2MTM0MzQxWjAdMQ0wCwYDVQQK
FARL9mxuMQwwCgYDVQQDFANCbXAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS+
L9YfWzJcvRTRK2xrZBWxjF+GKXPer7rarBpJ9auWRiBO/WGepSPl00VdouU301Bc
spBqi6+u6BuJwPnX2xY/MAoGCCqGSM49BAMCA0gAMEUCICdE9jk304HNmqWJwi91
TguJkQ+6mrYnlLU0olz269veAiEApkzOCtxhOdFlZSmuauwtftrTFfry3g1btRJe
OjXvptU=
-----END CERTIFICATE-----
";

/// Several attributes in one part of the name; valid for long.
const SET: &str = "\
-----BEGIN CERTIFICATE-----
MIIBnTCCAUKgAwIBAgIBBTAKBggqhkjOPQQDAjAsMQowCAYDVQQKDAF4MR4wCAYD
VQQDDAF6MAgGA1UEBwwBcTAIBgNVBAsMAXkwIBcNMjYxMTIzMTM0NDMzWhgPMjEy
NjEwMzAxMzQ0MzNaMCwxCjAIBgNVBAoMAXgxHjAIBgNVBAMMAXowCAYDVQQHDAFx
MAgGA1UECwwBeTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABL4v1h9bMly9FNEr
bGtkFbGMX4Ypc96vutqsGkn1q5ZGIE79YZ6lI+XTRV2i5TfTUFyykGqLr67oG4nA
+dfbFj+jUzBRMB0GA1UdDgQWBBR1orQav2TokPS0MzT+L77I4UXigDAfBgNVHSME
GDAWgBR1orQav2TokPS0MzT+L77I4UXigDAPBgNVHRMBAf8EBTADAQH/MAoGCCqG
SM49BAMCA0kAMEYCIQCe/hSkdP/aqOmUbu/aIPdG1NGMLk6hbC1XSVIPfLfv0AIh
AMdqIeaMtC5758ymoG+wCXs+Vsz3o67f8vhO9vfUdvLV
-----END CERTIFICATE-----
";

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
