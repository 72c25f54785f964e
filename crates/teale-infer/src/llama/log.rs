//! llama.cpp's log lines: kept for error messages, and passed on to `tracing` at debug level.
//!
//! llama.cpp has one log for the whole process. Its lines arrive as `tracing` events on the thread that called it, so
//! a subscriber of our own, set for the engine's thread alone, tells whose they are.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, Once, PoisonError},
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

/// The target under which llama-cpp-2 reports.
const TARGET: &str = "llama-cpp-2";
/// Lines kept until somebody asks.
const MOST_LINES: usize = 256;
/// Bytes kept of a line.
const LONGEST_LINE: usize = 512;

/// Sends llama.cpp's log to `tracing` instead of stderr. Once per process.
pub(super) fn redirect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default()));
}

/// The lines of one thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Arc<Mutex<VecDeque<(Level, String)>>>);

impl Lines {
    /// Runs `work` with its llama.cpp lines caught; everything else goes to `outer`.
    pub(super) fn catch<T>(&self, outer: Dispatch, work: impl FnOnce() -> T) -> T {
        let capture = Dispatch::new(Capture { outer, lines: self.clone() });
        tracing::dispatcher::with_default(&capture, work)
    }

    /// Passes the lines on, and gives those that tell of a problem.
    pub(super) fn drain(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut problems = Vec::new();
        for (level, line) in lines {
            tracing::debug!(target: "llama_cpp", "{line}");
            if level <= Level::WARN {
                problems.push((level, line));
            }
        }
        // Warnings only count where no error was reported.
        let worst = problems.iter().map(|(level, _)| *level).min();
        problems.into_iter().filter(|(level, _)| Some(*level) == worst).map(|(_, line)| line).collect()
    }

    fn push(&self, level: Level, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MOST_LINES {
            lines.pop_front();
        }
        lines.push_back((level, line));
    }
}

struct Capture {
    outer: Dispatch,
    lines: Lines,
}

fn is_llama(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET
}

impl Subscriber for Capture {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_llama(metadata) { Interest::always() } else { self.outer.register_callsite(metadata) }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if is_llama(metadata) { *metadata.level() <= Level::INFO } else { self.outer.enabled(metadata) }
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        // What the program's own subscriber made it; ours wants nothing more.
        Some(tracing::level_filters::LevelFilter::current())
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.outer.new_span(span)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.outer.record(span, values);
    }

    fn record_follows_from(&self, span: &span::Id, follows: &span::Id) {
        self.outer.record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        if is_llama(event.metadata()) {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.lines.push(*event.metadata().level(), line.0);
        } else if self.outer.enabled(event.metadata()) {
            self.outer.event(event);
        }
    }

    fn enter(&self, span: &span::Id) {
        self.outer.enter(span);
    }

    fn exit(&self, span: &span::Id) {
        self.outer.exit(span);
    }

    fn clone_span(&self, id: &span::Id) -> span::Id {
        self.outer.clone_span(id)
    }

    fn try_close(&self, id: span::Id) -> bool {
        self.outer.try_close(id)
    }
}

/// The text of an event.
struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0 = value.chars().filter(|letter| !letter.is_control()).take(LONGEST_LINE).collect();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
