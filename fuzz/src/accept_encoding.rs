//! Accept-Encoding: what is chosen is acceptable, and nothing that is there is more so.

use gepok::semantics::accept::{Choice, Codings, media_type};
use gepok::semantics::field::Fields;

const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];

/// The value of Accept-Encoding, and of Accept.
pub fn check(data: &[u8]) {
    let fields = Fields::from_pairs([("Accept-Encoding", data), ("Accept", data)]);
    let codings = Codings::of(&fields);
    assert!(CODINGS.iter().all(|coding| codings.weight(coding) <= 1000));
    match codings.choose(CODINGS) {
        Choice::Coded(index) => {
            let weight = codings.weight(CODINGS[index]);
            assert!(weight > 0 && codings.any());
            // The server's order decides among equals.
            for (other, coding) in CODINGS.iter().enumerate() {
                let more = codings.weight(coding) >= weight;
                assert!(
                    !more || other >= index && (other == index || codings.weight(coding) == weight)
                );
            }
        }
        Choice::Identity => assert!(codings.choose([]) == Choice::Identity),
        Choice::None => assert!(codings.choose([]) == Choice::None),
    }
    let offered = ["text/html", "application/json"];
    assert!(media_type(&fields, &offered).is_none_or(|index| index < offered.len()));
}
