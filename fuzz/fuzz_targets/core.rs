//! Hands libFuzzer's bytes to the check of `core`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::core::check(data));
