//! Hands libFuzzer's bytes to the check of `channel_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::channel_frames::check(data));
