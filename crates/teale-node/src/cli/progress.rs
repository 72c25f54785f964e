//! The progress bar of a pull, on a terminal only.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    output::{bytes, plain},
    pulling::{PullLine, SourceLine},
};

/// Sources that are named.
const NAMED: usize = 4;

/// A bar on stderr; nothing where stderr is no terminal, or data is JSON.
pub(super) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(super) fn new(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}% {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message("looking for sources");
        Self(Some(bar))
    }

    pub(super) fn show(&mut self, line: &PullLine) {
        let (Some(bar), PullLine::Progress { total, done, rate, eta_seconds, sources, .. }) = (&self.0, line)
        else {
            return;
        };
        if *total == 0 {
            bar.set_message("looking for sources");
            return;
        }
        bar.set_length(*total);
        bar.set_position((*done).max(bar.position()).min(*total));
        let eta = eta_seconds.map(|seconds| format!(", {}", time(seconds))).unwrap_or_default();
        let rate = bytes(*rate as u64);
        bar.set_message(format!("{} of {}, {rate}/s{eta}{}", bytes(*done), bytes(*total), named(sources)));
    }

    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// Each source with its rate, or with what is wrong with it.
fn named(sources: &[SourceLine]) -> String {
    let one = |source: &SourceLine| {
        let short: String = source.node.to_string().chars().take(8).collect();
        match source.state.as_str() {
            "fetching" => format!(" · {short} {}/s", bytes(source.rate as u64)),
            state => format!(" · {short} {}", plain(state)),
        }
    };
    sources.iter().take(NAMED).map(one).collect()
}

fn time(seconds: f64) -> String {
    let seconds = seconds.min(1e9) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s left"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s left"),
        (hours, minutes, _) => format!("{hours} h {minutes} min left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        assert_eq!(time(7.9), "7 s left");
        assert_eq!(time(125.0), "2 min 5 s left");
        assert_eq!(time(7260.0), "2 h 1 min left");
        assert_eq!(time(f64::INFINITY), "277777 h 46 min left");
    }
}
