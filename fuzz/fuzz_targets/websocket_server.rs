//! libFuzzer's way into `teale_fuzz::targets::websocket_server`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::websocket_server::run(data));
