//! What this node has to offer: whole models of its folder, files named by the user, and other programs' caches, which are
//! only ever read.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use teale_wire::{limits, model_matches};
use tokio::sync::Semaphore;

use super::{
    folder::ModelFolder,
    hashes::{Hashes, modified},
};
use crate::share::{Manifest, check_file_name};

/// How long a look at the folders is good for.
const FRESH: Duration = Duration::from_secs(5);
/// How deep caches are searched: Hugging Face's need five levels.
const DEPTH: usize = 6;
/// Folder entries looked at in one search.
const ENTRIES: usize = 20_000;
/// Files hashed at once.
const HASHING: usize = 1;

/// A file to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

/// A model to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalModel {
    pub(super) id: String,
    pub(super) files: Vec<LocalFile>,
    /// Whether it lies in this node's own folder.
    pub(super) own: bool,
}

impl LocalModel {
    pub(super) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// What is known of a model's hashes.
pub(super) enum Hashed {
    Known(Manifest),
    /// They are being computed.
    Soon,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) folder: ModelFolder,
    pub(super) hashes: Hashes,
    caches: Vec<PathBuf>,
    named: Vec<(String, PathBuf)>,
    seen: Mutex<Option<(Instant, Arc<Vec<LocalModel>>)>>,
    hashing: Semaphore,
    under_way: Mutex<HashSet<String>>,
}

impl Library {
    pub(super) fn new(
        folder: ModelFolder,
        hashes: Hashes,
        caches: Vec<PathBuf>,
        named: Vec<(String, PathBuf)>,
    ) -> Self {
        Self {
            folder,
            hashes,
            caches,
            named,
            seen: Mutex::new(None),
            hashing: Semaphore::new(HASHING),
            under_way: Mutex::new(HashSet::new()),
        }
    }

    /// The next look at the models reads the folders again.
    pub(super) fn forget_seen(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// All models, one per id. Blocks.
    pub(super) fn models(&self) -> Arc<Vec<LocalModel>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, models)) = &*seen
            && at.elapsed() < FRESH
        {
            return Arc::clone(models);
        }
        let models = Arc::new(self.look());
        *seen = Some((Instant::now(), Arc::clone(&models)));
        models
    }

    /// The model that a name asks for: the same id first, then the last part of one, letter case aside. Blocks.
    pub(super) fn find(&self, name: &str) -> Option<LocalModel> {
        let models = self.models();
        let exact = models.iter().find(|model| model.id == name);
        exact.or_else(|| models.iter().find(|model| model_matches(name, &model.id))).cloned()
    }

    fn look(&self) -> Vec<LocalModel> {
        let mut all: BTreeMap<String, LocalModel> = BTreeMap::new();
        let mut add = |model: LocalModel| {
            let fits = !model.files.is_empty() && model.files.len() <= limits::MODEL_FILES;
            if fits && model.id.len() <= limits::MODEL_ID && all.len() < limits::OFFERED_MODELS {
                all.entry(model.id.clone()).or_insert(model);
            }
        };
        for (id, path) in self.folder.models() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let mut files: Vec<_> = entries.filter_map(|entry| local_file(entry.path())).collect();
            files.sort_by(|a, b| a.name.cmp(&b.name));
            add(LocalModel { id, files, own: true });
        }
        for (id, path) in &self.named {
            let files = parts_beside(path);
            add(LocalModel { id: id.clone(), files, own: false });
        }
        let mut left = ENTRIES;
        let mut found = Vec::new();
        gguf_files(self.folder.root(), 1, &mut left, &mut found);
        self.caches.iter().for_each(|cache| gguf_files(cache, DEPTH, &mut left, &mut found));
        found.sort();
        for path in found {
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            match split_name(stem) {
                None => add(LocalModel { id: stem.to_owned(), files: parts_beside(&path), own: false }),
                Some((base, 1, _)) => {
                    add(LocalModel { id: base.to_owned(), files: parts_beside(&path), own: false })
                }
                Some(_) => {} // Comes with its first part.
            }
        }
        all.into_values().collect()
    }

    /// The hashes of a model's files: known ones at once, others are computed in the background. Call it where blocking
    /// for a moment is allowed.
    pub(super) fn manifest(
        self: &Arc<Self>,
        model: &LocalModel,
        stop: &tokio_util::sync::CancellationToken,
    ) -> Hashed {
        let known = |file: &LocalFile| self.hashes.get(&file.path, &file.name);
        let entries: Option<Vec<_>> = model.files.iter().map(known).collect();
        if let Some(entries) = entries {
            return Hashed::Known(Manifest::of(&model.id, entries));
        }
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.insert(model.id.clone()) {
            let (library, model, stop) = (Arc::clone(self), model.clone(), stop.clone());
            tokio::spawn(async move {
                let permit = tokio::select! {
                    () = stop.cancelled() => return,
                    permit = library.hashing.acquire() => permit,
                };
                let worker = Arc::clone(&library);
                let id = model.id.clone();
                let work = tokio::task::spawn_blocking(move || worker.hash(&model, &|| stop.is_cancelled()));
                if let Ok(Err(error)) = work.await {
                    tracing::warn!(model = id, %error, "a model cannot be hashed, so it is not offered");
                }
                drop(permit);
                library.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            });
        }
        Hashed::Soon
    }

    fn hash(&self, model: &LocalModel, stop: &dyn Fn() -> bool) -> std::io::Result<()> {
        for file in &model.files {
            if self.hashes.get(&file.path, &file.name).is_none() {
                self.hashes.compute(&file.path, &file.name, stop)?;
            }
        }
        Ok(())
    }
}

/// A file under a name that may travel, with its size.
fn local_file(path: PathBuf) -> Option<LocalFile> {
    let name = path.file_name()?.to_str()?.to_owned();
    check_file_name(&name).ok()?;
    let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let _ = modified(&metadata);
    Some(LocalFile { name, path, size: metadata.len() })
}

/// A file, and the other parts of the model beside it; empty when one is missing.
fn parts_beside(path: &Path) -> Vec<LocalFile> {
    let one = || local_file(path.to_owned()).into_iter().collect();
    let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(split_name);
    let (Some((base, 1, count)), Some(extension)) = (stem, path.extension().and_then(|e| e.to_str())) else {
        return one();
    };
    let part = |n| local_file(path.with_file_name(format!("{base}-{n:05}-of-{count:05}.{extension}")));
    (1..=count).map(part).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// `base-00001-of-00003`, as llama.cpp splits files.
fn split_name(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| if text.len() == 5 { text.parse::<u32>().ok() } else { None };
    let (number, count) = (digits(number)?, digits(count)?);
    let fits = (1..=count).contains(&number) && count as usize <= limits::MODEL_FILES;
    fits.then_some((base, number, count))
}

/// The GGUF files below a folder. Links to files are followed (Hugging Face's cache is made of them), links to folders
/// are not.
fn gguf_files(folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if kind.is_dir() && depth > 1 && !hidden {
            gguf_files(&path, depth - 1, left, found);
        } else if !kind.is_dir() && path.extension().is_some_and(|extension| extension == "gguf") {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn folder_named_files_and_caches_are_one_library() {
        let dir = tempfile::tempdir().unwrap();
        let (models, cache) = (dir.path().join("models"), dir.path().join("hub"));
        file(&models.join("Qwen%2FQwen3/a.gguf"), "1");
        file(&models.join("Qwen%2FQwen3/b.bin"), "22");
        file(&models.join(".partial/half/a.gguf"), "1");
        file(&models.join("loose.gguf"), "333");
        file(&dir.path().join("else/x.gguf"), "4444");
        file(&cache.join("models--o--n/snapshots/abc/deep-00001-of-00002.gguf"), "1");
        file(&cache.join("models--o--n/snapshots/abc/deep-00002-of-00002.gguf"), "2");
        file(&cache.join("models--o--n/snapshots/abc/lone-00001-of-00002.gguf"), "2");
        let library = Library::new(
            ModelFolder::new(models),
            Hashes::load(None),
            vec![cache],
            vec![("me/x".into(), dir.path().join("else/x.gguf"))],
        );
        let models = library.models();
        let seen: Vec<_> =
            models.iter().map(|model| (model.id.as_str(), model.files.len(), model.size())).collect();
        assert_eq!(seen, [("Qwen/Qwen3", 2, 3), ("deep", 2, 2), ("loose", 1, 3), ("me/x", 1, 4)]);
        assert_eq!(library.find("qwen3").unwrap().id, "Qwen/Qwen3");
        assert_eq!(library.find("X").unwrap().id, "me/x");
        assert!(library.find("qwen").is_none());
    }
}
