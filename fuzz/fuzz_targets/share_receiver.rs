//! libFuzzer's way into `teale_fuzz::targets::share_receiver`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::share_receiver::run(data));
