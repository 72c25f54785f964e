//! libFuzzer's way into `teale_fuzz::targets::chat_request`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::chat_request::run(data));
