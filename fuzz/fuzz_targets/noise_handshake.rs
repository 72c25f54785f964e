//! libFuzzer's way into `teale_fuzz::targets::noise_handshake`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::noise_handshake::run(data));
