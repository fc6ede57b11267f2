//! Hands libFuzzer's bytes to the check of `request_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::request_head::check(data));
