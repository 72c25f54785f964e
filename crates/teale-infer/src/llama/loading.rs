//! From a path to a loaded model.

use std::{fs::File, io::BufReader, path::Path, sync::Arc};

use llama_cpp_2::model::{LlamaModel, params::LlamaModelParams};

use super::{
    backend::Shared,
    library,
    log::Lines,
    options::{DEFAULT_CONTEXT, LlamaOptions, LoadError},
};
use crate::gguf::{GgufError, Header};

/// A model file that passed our checks.
#[derive(Debug)]
pub(super) struct CheckedFile {
    pub(super) header: Header,
    pub(super) size: u64,
}

/// Opens a file and checks its header.
///
/// # Errors
/// [`LoadError::NotFound`], [`LoadError::Unreadable`], [`LoadError::Gguf`].
pub(super) fn check(path: &Path) -> Result<CheckedFile, LoadError> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => LoadError::NotFound(path.to_owned()),
        reason => LoadError::Unreadable { path: path.to_owned(), reason },
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        let reason = std::io::ErrorKind::IsADirectory;
        return Err(LoadError::Unreadable { path: path.to_owned(), reason });
    }
    let header =
        Header::read(BufReader::with_capacity(1 << 16, file), metadata.len()).map_err(
            |error| match error {
                GgufError::Io(reason) => LoadError::Unreadable { path: path.to_owned(), reason },
                error => LoadError::Gguf { path: path.to_owned(), error },
            },
        )?;
    Ok(CheckedFile { header, size: metadata.len() })
}

/// Tokens of context that each slot gets.
pub(super) fn context(options: &LlamaOptions, header: &Header) -> u32 {
    let trained = header.context_length().and_then(|length| u32::try_from(length).ok()).unwrap_or(u32::MAX);
    options.context.unwrap_or(DEFAULT_CONTEXT.min(trained))
}

/// Loads the weights. Stops when `shared` says so.
///
/// # Errors
/// What llama.cpp said, sorted into [`LoadError`]'s kinds.
pub(super) fn load(
    options: &LlamaOptions,
    shared: &Arc<Shared>,
    lines: &Lines,
) -> Result<LlamaModel, LoadError> {
    let watch = Arc::clone(shared);
    let mut params = LlamaModelParams::default().with_progress_callback(move |_| !watch.is_stopping());
    if let Some(layers) = options.gpu_layers {
        params = params.with_n_gpu_layers(layers);
    }
    if options.path.to_str().is_none() {
        let reason = std::io::ErrorKind::InvalidFilename;
        return Err(LoadError::Unreadable { path: options.path.clone(), reason });
    }
    let loaded = LlamaModel::load_from_file(library::handle(), &options.path, &params);
    let problems = lines.drain();
    match loaded {
        Ok(model) => Ok(model),
        Err(_) if shared.is_stopping() => Err(LoadError::Cancelled),
        Err(_) => Err(failure(&problems)),
    }
}

/// Why llama.cpp gave nothing back, judged by its log.
pub(super) fn failure(problems: &[String]) -> LoadError {
    const ARCHITECTURE: &str = "unknown model architecture: '";
    let words = problems.join("; ");
    if let Some((_, rest)) = words.split_once(ARCHITECTURE) {
        return LoadError::Architecture(rest.split('\'').next().unwrap_or_default().to_owned());
    }
    let lower = words.to_lowercase();
    if ["failed to allocate", "out of memory", "unable to allocate", "bad_alloc"]
        .iter()
        .any(|sign| lower.contains(sign))
    {
        return LoadError::OutOfMemory(words);
    }
    if words.is_empty() {
        LoadError::Engine("it gives no reason".to_owned())
    } else {
        LoadError::Engine(words)
    }
}
