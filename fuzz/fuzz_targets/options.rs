//! Hands libFuzzer's bytes to the check of `options`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::options::check(data));
