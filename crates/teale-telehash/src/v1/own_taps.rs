//! What we tap with others.

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::{End, Ipp, Signals, TapRule};

use super::{TapId, bounds};

#[derive(Debug)]
struct OwnTap {
    end: End,
    rules: Vec<TapRule>,
    /// Who keeps it.
    at: Vec<Ipp>,
    /// When it is to be placed anew; never while that is being done.
    due: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct OwnTaps(BTreeMap<TapId, OwnTap>);

impl OwnTaps {
    pub(super) fn insert(&mut self, now: Duration, id: TapId, end: End, mut rules: Vec<TapRule>) {
        if self.0.len() >= bounds::OWN_TAPS {
            return;
        }
        if rules.is_empty() {
            rules.push(TapRule::of_end(end));
        }
        rules.truncate(teale_wire::limits::TAP_RULES);
        self.0.insert(id, OwnTap { end, rules, at: Vec::new(), due: now });
    }

    /// Forgets one; who kept it.
    pub(super) fn remove(&mut self, id: TapId) -> Vec<Ipp> {
        self.0.remove(&id).map(|tap| tap.at).unwrap_or_default()
    }

    /// Who keeps one.
    pub(super) fn at(&self, id: TapId) -> &[Ipp] {
        self.0.get(&id).map_or(&[], |tap| &tap.at)
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.0.values().map(|tap| tap.due).min()
    }

    /// One that is to be placed now; it counts as being placed.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(TapId, End)> {
        let (id, tap) = self.0.iter_mut().find(|(_, tap)| tap.due <= now)?;
        tap.due = Duration::MAX;
        Some((*id, tap.end))
    }

    /// One was placed. Who kept it before and who keeps it now, if it still exists.
    pub(super) fn placed(&mut self, id: TapId, at: Vec<Ipp>, due: Duration) -> Option<Vec<Ipp>> {
        let tap = self.0.get_mut(&id)?;
        tap.due = due;
        Some(std::mem::replace(&mut tap.at, at))
    }

    /// All are to be placed anew.
    pub(super) fn hurry(&mut self, now: Duration) {
        for tap in self.0.values_mut() {
            tap.due = tap.due.min(now);
        }
    }

    /// A switch is gone: the taps that it kept, with who is left.
    pub(super) fn lost(&mut self, now: Duration, peer: Ipp) -> Vec<(TapId, Vec<Ipp>)> {
        let mut changed = Vec::new();
        for (id, tap) in self.0.iter_mut().filter(|(_, tap)| tap.at.contains(&peer)) {
            tap.at.retain(|at| *at != peer);
            if tap.due < Duration::MAX {
                tap.due = tap.due.min(now + bounds::TAP_LOST);
            }
            changed.push((*id, tap.at.clone()));
        }
        changed
    }

    /// Whether a switch keeps one of them.
    pub(super) fn is_at(&self, peer: Ipp) -> bool {
        self.0.values().any(|tap| tap.at.contains(&peer))
    }

    /// What a switch is to keep for us.
    pub(super) fn rules_at(&self, peer: Ipp) -> impl Iterator<Item = TapRule> {
        self.0.values().filter(move |tap| tap.at.contains(&peer)).flat_map(|tap| tap.rules.clone())
    }

    /// Whether one of them wants these signals.
    pub(super) fn matches(&self, signals: &Signals) -> bool {
        self.0.values().flat_map(|tap| &tap.rules).any(|rule| rule.matches(signals))
    }
}
