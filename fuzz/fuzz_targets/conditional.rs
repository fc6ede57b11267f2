//! Hands libFuzzer's bytes to the check of `conditional`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::conditional::check(data));
