//! Model files: where they lie, what is offered, and what a name stands for.

use std::path::{Path, PathBuf};

use teale_cluster::{LocalModelView, Sharing, SharingConfig};

use crate::{DataDir, NodeError};

/// How models are shared.
#[derive(Debug, Clone, Default)]
pub struct ShareOptions {
    /// Where fetched models live. Default: `models` below the data directory.
    pub models_dir: Option<PathBuf>,
    /// Whether models are offered to others.
    pub enabled: bool,
    /// Whether other programs' GGUF files are known too (Hugging Face, llama.cpp, LM Studio): read, never written.
    pub caches: bool,
    /// Peers sent to at once.
    pub uploads: Option<usize>,
    /// Bytes per second in all.
    pub upload_rate: Option<u64>,
    /// Bytes per second over relays; `None`: nothing is sent over relays.
    pub relay_rate: Option<u64>,
}

impl ShareOptions {
    /// What the cluster layer is told; `None` where there is no place for models.
    pub(crate) fn config(
        &self,
        dir: Option<&DataDir>,
        named: Vec<(String, PathBuf)>,
    ) -> Option<SharingConfig> {
        let models = self.models_dir.clone().or_else(|| dir.map(DataDir::models))?;
        let mut config = SharingConfig::new(models);
        config.hashes = dir.map(DataDir::model_hashes);
        config.caches = if self.caches { caches() } else { Vec::new() };
        config.named = named;
        config.enabled = self.enabled;
        config.upload_rate = self.upload_rate;
        config.relay_rate = self.relay_rate;
        if let Some(uploads) = self.uploads {
            config.uploads = uploads;
        }
        Some(config)
    }
}

/// Folders where other programs keep GGUF files.
fn caches() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = etcetera::home_dir().ok();
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let cache = variable("XDG_CACHE_HOME").or_else(|| below_home(".cache"));
    let hugging_face = variable("HF_HUB_CACHE")
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| cache.as_ref().map(|cache| cache.join("huggingface/hub")));
    let llama = variable("LLAMA_CACHE").or_else(|| cache.as_ref().map(|cache| cache.join("llama.cpp")));
    let studio = [below_home(".lmstudio/models"), cache.as_ref().map(|cache| cache.join("lm-studio/models"))];
    [hugging_face, llama].into_iter().chain(studio).flatten().collect()
}

/// The name of a model to be fetched, when `--model` names no file: neither `NAME=FILE`, nor something with a file's end,
/// nor the built-in model.
pub(crate) fn model_name(text: &str) -> Option<&str> {
    let is_file =
        Path::new(text).exists() || text.contains('=') || text.ends_with(".gguf") || text.contains('\\');
    let built_in = text == "demo";
    (!is_file && !built_in && !text.is_empty() && !text.starts_with(['/', '.', '~'])).then_some(text)
}

/// The file that an engine reads of a model: its only GGUF file, or the first part of several.
pub(crate) fn engine_file(model: &LocalModelView) -> Result<PathBuf, NodeError> {
    let failed = |reason: &str| NodeError::Model { model: model.id.clone(), reason: reason.into() };
    let is_gguf = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let mut files: Vec<&PathBuf> = model.files.iter().filter(is_gguf).collect();
    files.sort();
    let later_part = |path: &&&PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem.rsplit_once("-of-").is_some_and(|(before, _)| !before.ends_with("-00001"))
    };
    let firsts: Vec<_> = files.iter().filter(|path| !later_part(path)).collect();
    match firsts.as_slice() {
        [] => Err(failed("it has no GGUF file")),
        [file] => Ok((**file).clone()),
        _ => Err(failed("it has several GGUF files; name one with --model NAME=FILE.gguf")),
    }
}

/// Finds a model by name on this machine, off the runtime's threads.
pub(crate) async fn find(sharing: &Sharing, name: &str) -> Option<LocalModelView> {
    let (sharing, name) = (sharing.clone(), name.to_owned());
    tokio::task::spawn_blocking(move || sharing.find(&name)).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_files() {
        assert_eq!(model_name("Qwen/Qwen3-8B"), Some("Qwen/Qwen3-8B"));
        assert_eq!(model_name("tiny"), Some("tiny"));
        for file in ["a.gguf", "x=y", "/m/tiny", "./tiny", "~/tiny", "", "C:\\m"] {
            assert_eq!(model_name(file), None, "{file}");
        }
    }

    #[test]
    fn the_engine_reads_the_first_part() {
        let model = |names: &[&str]| LocalModelView {
            id: "m".into(),
            size_bytes: 0,
            files: names.iter().map(PathBuf::from).collect(),
            own: true,
        };
        let file = |names: &[&str]| engine_file(&model(names)).ok();
        assert_eq!(file(&["x.json", "m.gguf"]), Some("m.gguf".into()));
        let parts = ["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"];
        assert_eq!(file(&parts), Some("m-00001-of-00002.gguf".into()));
        assert_eq!(file(&["a.gguf", "b.gguf"]), None);
        assert_eq!(file(&["x.json"]), None);
    }
}
