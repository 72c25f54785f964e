//! Finds stop texts in a stream, across the borders of its pieces.

/// What [`StopFilter::push`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Text that no stop text can begin in any more.
    Text(String),
    /// The text before a stop text; the stream is over.
    Stop(String),
}

/// Lets text through until a stop text is complete, and holds back only what may be the beginning of one.
#[derive(Debug, Clone)]
pub struct StopFilter {
    stops: Vec<String>,
    held: String,
}

impl StopFilter {
    /// A filter for these texts; empty ones are left out.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) -> Found {
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(position) = first {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(position);
            return Found::Stop(text);
        }
        let keep = self.beginning();
        let rest = self.held.split_off(keep);
        Found::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What is held back, once the stream has ended without a stop text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the earliest possible beginning of a stop text starts.
    fn beginning(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = (self.held.len() + 1).saturating_sub(longest);
        let may_begin = |position: &usize| {
            let tail = self.held.get(*position..);
            tail.is_some_and(|tail| self.stops.iter().any(|stop| stop.starts_with(tail)))
        };
        (from..self.held.len()).find(may_begin).unwrap_or(self.held.len())
    }
}
