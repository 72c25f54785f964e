//! libFuzzer's way into `teale_fuzz::targets::telehash_v2`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::telehash_v2::run(data));
