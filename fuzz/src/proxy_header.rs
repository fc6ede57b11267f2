//! PROXY headers: what has been decided stays so whatever follows, and nothing is read beyond the header.

use gepok::semantics::proxy_header::{LONGEST, parse};

/// What a connection begins with.
pub fn check(data: &[u8]) {
    let whole = parse(data);
    let mut decided = None;
    for end in 0..=data.len().min(LONGEST + 1) {
        let part = parse(&data[..end]);
        if part != Ok(None) {
            decided = Some(part);
            break;
        }
    }
    match (decided, &whole) {
        (Some(part), whole) => assert_eq!(part, *whole),
        (None, Ok(None)) => assert!(data.len() < LONGEST),
        (None, other) => panic!("{other:?} came late"),
    }
    let Ok(Some((header, length))) = whole else {
        return;
    };
    assert!(length <= data.len() && length <= LONGEST);
    let values: usize = header.tlvs.iter().map(|(_, value)| value.len() + 3).sum();
    assert_eq!(values, header.tlvs.bytes().len());
    let _ = (header.tlvs.tls(), header.tlvs.authority());
}
