//! The built-in demo model: a real language model of some megabytes inside the program, made by
//! `cargo xtask demo-model build`. It knows this project and little else; whoever serves it says so.

/// The name it is asked for, and served under.
pub(crate) const ID: &str = "demo";
/// What must be said wherever it is served.
pub(crate) const NOTICE: &str = "built-in demo model: answers questions about Teale only";
/// Whether this build has it.
pub(crate) const IS_HERE: bool = cfg!(feature = "demo-model");
/// The GGUF file.
#[cfg(feature = "demo-model")]
const FILE: &[u8] = include_bytes!("../assets/demo.gguf");
/// None in this build.
#[cfg(all(feature = "llama", not(feature = "demo-model")))]
const FILE: &[u8] = &[];

/// The model as a file, because that is what the engine reads. It is deleted on drop; an engine that has loaded it
/// keeps what it needs.
///
/// # Errors
/// No room, or no right, in the system's directory for temporary files.
#[cfg(feature = "llama")]
pub(crate) fn file() -> std::io::Result<tempfile::NamedTempFile> {
    use std::io::Write;
    let mut file = tempfile::Builder::new().prefix("teale-demo-").suffix(".gguf").tempfile()?;
    file.write_all(FILE)?;
    file.flush()?;
    Ok(file)
}
