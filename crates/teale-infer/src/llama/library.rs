//! llama.cpp itself: started once per process, never stopped.

use std::{mem::ManuallyDrop, sync::OnceLock};

use llama_cpp_2::llama_backend::LlamaBackend as Library;

use super::log;

/// Proof that llama.cpp is started. Another part of the program may have done it before.
pub(super) fn handle() -> &'static Library {
    static LIBRARY: OnceLock<ManuallyDrop<Library>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        log::redirect();
        ManuallyDrop::new(Library::init().unwrap_or(Library {}))
    })
}
