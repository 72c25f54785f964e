//! From settings to engines: model files and upstream servers behind the `Backend` trait.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use teale_cluster::Backend;

use crate::{NodeError, config::Secret, demo_model};

/// A model file and the id it is served under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Its id on the network.
    pub id: String,
    /// Its file.
    pub path: PathBuf,
}

impl ModelSpec {
    /// `NAME=FILE.gguf`, or `FILE.gguf` named by its stem. A file whose own name holds `=` is found as well.
    /// `demo` is the built-in model, where the program has one and there is no file of that name.
    ///
    /// # Errors
    /// [`NodeError::Model`] when there is no name.
    pub fn parse(text: &str) -> Result<Self, NodeError> {
        if !Path::new(text).exists()
            && let Some((id, path)) = text.split_once('=')
        {
            return Self { id: id.trim().to_owned(), path: path.into() }.checked();
        }
        let path = PathBuf::from(text);
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self { id, path }.checked()
    }

    /// Whether it is the model inside the program.
    pub fn is_built_in(&self) -> bool {
        demo_model::IS_HERE && self.path == Path::new(demo_model::ID) && !self.path.is_file()
    }

    fn checked(self) -> Result<Self, NodeError> {
        let fine = !self.id.is_empty() && self.id.len() <= teale_wire::limits::MODEL_ID;
        if fine && !self.path.as_os_str().is_empty() {
            return Ok(self);
        }
        Err(NodeError::Model { model: self.id, reason: "expected FILE.gguf or NAME=FILE.gguf".into() })
    }
}

/// How engines run.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Requests decoded at once.
    pub slots: usize,
    /// Tokens of context per slot.
    pub context: Option<u32>,
    /// Threads.
    pub threads: Option<u32>,
    /// Layers on the GPU.
    pub gpu_layers: Option<u32>,
}

/// An OpenAI-compatible server to serve from.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Its base URL, with or without `/v1`.
    pub url: String,
    /// Its key.
    pub key: Option<Secret>,
}

/// Loads a model. Blocks until the file has been read: call it where blocking is allowed.
#[cfg(feature = "llama")]
pub(crate) fn load(spec: &ModelSpec, options: &EngineOptions) -> Result<Arc<dyn Backend>, NodeError> {
    let failed = |reason: String| NodeError::Model { model: spec.id.clone(), reason };
    let unwritten = |error| failed(format!("its temporary file cannot be written: {error}"));
    let built_in = spec.is_built_in().then(demo_model::file).transpose().map_err(unwritten)?;
    let path = built_in.as_ref().map_or(spec.path.as_path(), tempfile::NamedTempFile::path);
    let mut llama = teale_infer::LlamaOptions::new(path);
    llama.id.clone_from(&spec.id);
    llama.slots = options.slots;
    llama.context = options.context;
    llama.threads = options.threads;
    llama.gpu_layers = options.gpu_layers;
    let backend = teale_infer::LlamaBackend::load(llama).map_err(|error| failed(error.to_string()))?;
    Ok(Arc::new(backend))
}

/// This build has no engine.
#[cfg(not(feature = "llama"))]
pub(crate) fn load(spec: &ModelSpec, _options: &EngineOptions) -> Result<Arc<dyn Backend>, NodeError> {
    Err(NodeError::Model {
        model: spec.id.clone(),
        reason: "this program was built without llama.cpp; use --upstream, or build with the feature `llama`"
            .into(),
    })
}

/// Connects to an upstream server. Returns at once; its models appear when it answers.
pub(crate) fn upstream(options: &UpstreamOptions, slots: usize) -> Result<Arc<dyn Backend>, NodeError> {
    let mut upstream = teale_infer::UpstreamOptions::new(&options.url);
    upstream.api_key = options.key.as_ref().map(|key| key.reveal().to_owned());
    upstream.slots = slots;
    let backend = teale_infer::UpstreamBackend::new(upstream);
    Ok(Arc::new(backend.map_err(|error| NodeError::Upstream(error.to_string()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_alias_or_stem() {
        let spec = |text| ModelSpec::parse(text).map(|spec| (spec.id, spec.path)).ok();
        assert_eq!(spec("/m/Tiny-Q8.gguf"), Some(("Tiny-Q8".into(), "/m/Tiny-Q8.gguf".into())));
        assert_eq!(spec("me/tiny=/m/a.gguf"), Some(("me/tiny".into(), "/m/a.gguf".into())));
        assert_eq!(spec("demo"), Some(("demo".into(), "demo".into())));
        assert_eq!(spec("=x"), None);
        assert_eq!(spec("x="), None);
        assert_eq!(spec(""), None);
    }
}
