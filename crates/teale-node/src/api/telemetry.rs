//! Counters and histograms of the API, and the record of one request.
//!
//! Names and buckets are vLLM's with our prefix, so that existing dashboards fit.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use teale_wire::chat::{ChatChunk, Usage};

/// Status of a request whose client went away before the end (nginx's number for it).
const CLIENT_GONE: u16 = 499;
/// Models of this node that get a label of their own; the rest are counted as `other`.
const MODEL_LABELS: usize = 64;

const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const INTER_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
/// Of whole requests, and of their time in the queue.
const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// A histogram over fixed bucket borders, in seconds.
#[derive(Debug)]
pub(super) struct Histogram {
    borders: &'static [f64],
    /// Observations at or under each border; the last one counts those above all.
    counts: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Over a request's time, or its time in the queue.
    pub(super) fn of_requests() -> Self {
        Self::new(REQUEST)
    }

    fn new(borders: &'static [f64]) -> Self {
        Self {
            borders,
            counts: (0..=borders.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_micros: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        let bucket = self.borders.partition_point(|border| *border < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum_micros.fetch_add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Upper border (`None` is infinity) and cumulative count of each bucket, then the sum in seconds.
    pub(super) fn snapshot(&self) -> (Vec<(Option<f64>, u64)>, f64) {
        let mut total = 0;
        let borders = self.borders.iter().copied().map(Some).chain([None]);
        let buckets = borders
            .zip(&self.counts)
            .map(|(border, count)| {
                total += count.load(Relaxed);
                (border, total)
            })
            .collect();
        (buckets, self.sum_micros.load(Relaxed) as f64 / 1e6)
    }
}

/// Everything the API counts.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) running: AtomicU64,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) generation_tokens: AtomicU64,
    pub(super) first_token: Histogram,
    pub(super) inter_token: Histogram,
    pub(super) end_to_end: Histogram,
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

impl Telemetry {
    pub(super) fn new() -> Self {
        Self {
            running: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            generation_tokens: AtomicU64::new(0),
            first_token: Histogram::new(FIRST_TOKEN),
            inter_token: Histogram::new(INTER_TOKEN),
            end_to_end: Histogram::new(REQUEST),
            requests: Mutex::new(BTreeMap::new()),
        }
    }

    /// Requests by model label and status, so far.
    pub(super) fn requests(&self) -> BTreeMap<(String, u16), u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, model: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let known = requests.keys().any(|(label, _)| label == model);
        let mut labels: Vec<_> = requests.keys().map(|(label, _)| label.as_str()).collect();
        labels.dedup();
        let label = if known || labels.len() < MODEL_LABELS { model } else { "other" };
        *requests.entry((label.to_owned(), status)).or_insert(0) += 1;
    }
}

/// One request from its arrival to its end. Dropped unfinished, it counts as a client that went away.
#[derive(Debug)]
pub(super) struct RequestRecord {
    telemetry: Arc<Telemetry>,
    label: String,
    started: Instant,
    last_token: Option<Instant>,
    finished: bool,
}

impl RequestRecord {
    /// `label` must not be text of strangers: the id of an own model, or a fixed word.
    pub(super) fn start(telemetry: &Arc<Telemetry>, label: String) -> Self {
        telemetry.running.fetch_add(1, Relaxed);
        Self {
            telemetry: Arc::clone(telemetry),
            label,
            started: Instant::now(),
            last_token: None,
            finished: false,
        }
    }

    /// A chunk arrived.
    pub(super) fn chunk(&mut self, chunk: &ChatChunk) {
        let has_text =
            chunk.choices.iter().any(|c| c.delta.content.as_deref().is_some_and(|text| !text.is_empty()));
        if !has_text {
            return;
        }
        let now = Instant::now();
        match self.last_token.replace(now) {
            None => self.telemetry.first_token.observe(now - self.started),
            Some(before) => self.telemetry.inter_token.observe(now - before),
        }
    }

    /// The request ended; only the first call counts.
    pub(super) fn finish(&mut self, status: u16, usage: Option<&Usage>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.telemetry.running.fetch_sub(1, Relaxed);
        self.telemetry.count(&self.label, status);
        self.telemetry.end_to_end.observe(self.started.elapsed());
        if let Some(usage) = usage {
            self.telemetry.prompt_tokens.fetch_add(usage.prompt_tokens, Relaxed);
            self.telemetry.generation_tokens.fetch_add(usage.completion_tokens, Relaxed);
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        self.finish(CLIENT_GONE, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_and_including_its_borders() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for millis in [50, 100, 500, 5000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (buckets, sum) = histogram.snapshot();
        assert_eq!(buckets, [(Some(0.1), 2), (Some(1.0), 3), (None, 4)]);
        assert!((sum - 5.65).abs() < 1e-9);
    }

    #[test]
    fn a_client_that_goes_away_is_counted_once() {
        let telemetry = Arc::new(Telemetry::new());
        drop(RequestRecord::start(&telemetry, "m".into()));
        let mut ended = RequestRecord::start(&telemetry, "m".into());
        ended.finish(200, None);
        drop(ended);
        let requests = telemetry.requests();
        assert_eq!(requests[&("m".into(), 499)], 1);
        assert_eq!(requests[&("m".into(), 200)], 1);
        assert_eq!(telemetry.running.load(Relaxed), 0);
    }

    #[test]
    fn labels_are_bounded() {
        let telemetry = Telemetry::new();
        (0..1000).for_each(|n| telemetry.count(&format!("m{n}"), 200));
        assert!(telemetry.requests().len() <= MODEL_LABELS + 1);
    }
}
