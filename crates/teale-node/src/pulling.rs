//! A pull as lines: what the API streams and `--json` prints.

use std::time::Duration;

use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use teale_cluster::{Pull, PullState, share::PullError};
use teale_wire::NodeId;
use tokio::time::Instant;

/// The least time between two lines of progress.
const PAUSE: Duration = Duration::from_millis(500);

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum PullLine {
    /// How far it is.
    Progress {
        /// Which model.
        model: String,
        /// Bytes of the model; 0 until they are known.
        total: u64,
        /// Bytes that are here.
        done: u64,
        /// Bytes that came over links.
        fetched: u64,
        /// Bytes per second.
        rate: f64,
        /// Seconds that are left at this rate.
        eta_seconds: Option<f64>,
        /// Who gives.
        sources: Vec<SourceLine>,
    },
    /// It is here.
    Done {
        /// Which model.
        model: String,
        /// Its folder.
        path: String,
        /// Bytes of the model.
        total: u64,
        /// Bytes that came over links.
        fetched: u64,
    },
    /// It is not.
    Error {
        /// Which model.
        model: String,
        /// What kind.
        code: String,
        /// In words.
        message: String,
    },
}

/// A source in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceLine {
    /// Who.
    pub(crate) node: NodeId,
    /// Bytes that came from it.
    pub(crate) bytes: u64,
    /// Bytes per second.
    pub(crate) rate: f64,
    /// How it stands.
    pub(crate) state: String,
}

impl PullLine {
    fn progress(model: &str, state: &PullState) -> Self {
        let progress = &state.progress;
        let rate: f64 = progress.sources.iter().map(|source| source.rate).sum();
        let left = progress.total.saturating_sub(progress.done);
        let source = |source: &teale_cluster::share::SourceProgress| SourceLine {
            node: source.node,
            bytes: source.bytes,
            rate: source.rate,
            state: source.state.clone(),
        };
        Self::Progress {
            model: model.to_owned(),
            total: progress.total,
            done: progress.done,
            fetched: progress.fetched,
            rate,
            eta_seconds: (rate > 0.0 && progress.total > 0).then(|| left as f64 / rate),
            sources: progress.sources.iter().map(source).collect(),
        }
    }

    fn end(model: &str, state: &PullState) -> Option<Self> {
        let (model, progress) = (model.to_owned(), &state.progress);
        Some(match state.end.as_ref()? {
            Ok(path) => Self::Done {
                model,
                path: path.display().to_string(),
                total: progress.total,
                fetched: progress.fetched,
            },
            Err(error) => Self::error(&model, error),
        })
    }

    /// A failure.
    pub(crate) fn error(model: &str, error: &PullError) -> Self {
        let code = code(error).to_owned();
        Self::Error { model: model.to_owned(), code, message: error.to_string() }
    }
}

/// The kind of a failure.
pub(crate) fn code(error: &PullError) -> &'static str {
    match error {
        PullError::NotFound => "model_not_found",
        PullError::NoSource { .. } => "no_source",
        PullError::Storage(_) => "storage",
        PullError::Name(_) => "invalid_model",
        PullError::Exists => "already_here",
        PullError::Running => "already_running",
        PullError::ShuttingDown => "shutting_down",
        _ => "internal_error",
    }
}

/// The lines of a pull, the end last. Dropping the stream stops the pull.
pub(crate) fn lines(model: String, pull: Pull) -> impl Stream<Item = PullLine> + Send {
    let begin = (model, Some(pull), Instant::now());
    stream::unfold(begin, |(model, pull, next)| async move {
        let mut pull = pull?;
        loop {
            let running = pull.changed().await;
            let state = pull.state();
            if let Some(end) = PullLine::end(&model, &state) {
                return Some((end, (model, None, next)));
            }
            if !running {
                return None;
            }
            if Instant::now() >= next {
                return Some((
                    PullLine::progress(&model, &state),
                    (model, Some(pull), Instant::now() + PAUSE),
                ));
            }
        }
    })
}
