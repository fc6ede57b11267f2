//! Hands libFuzzer's bytes to the check of `target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::target::check(data));
