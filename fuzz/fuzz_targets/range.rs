//! Hands libFuzzer's bytes to the check of `range`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::range::check(data));
