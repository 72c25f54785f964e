//! What others tap with us: one tap per peer, replaced by the next.

use std::collections::{BTreeMap, BTreeSet};

use teale_wire::telehash::{End, Ipp, Signals, TapRule};

use super::bounds::{TAPPERS, TAPPERS_OF_ANY};

/// The taps of all peers.
#[derive(Debug, Default)]
pub(super) struct Taps {
    rules: BTreeMap<Ipp, Box<[TapRule]>>,
    /// Who has to be looked at for signals with this `+end`, and for any. Nearly every rule names an end, and a switch
    /// holds one for each of its peers: without this, each telex would be compared with all of them.
    by_end: BTreeMap<Option<End>, Vec<Ipp>>,
}

impl Taps {
    /// Replaces a peer's tap; an empty one ends it. False if there are too many tappers already.
    pub(super) fn set(&mut self, peer: Ipp, rules: Vec<TapRule>) -> bool {
        if self.rules.get(&peer).is_some_and(|before| **before == *rules) {
            return true;
        }
        if !self.has_room(peer, &rules) {
            return false;
        }
        self.remove(peer);
        if !rules.is_empty() {
            for end in rules.iter().map(end_of_rule).collect::<BTreeSet<_>>() {
                // Most ends have one tapper: a place for each and no more.
                let peers = self.by_end.entry(end).or_default();
                peers.reserve_exact(usize::from(peers.is_empty()));
                peers.push(peer);
            }
            self.rules.insert(peer, rules.into());
        }
        true
    }

    fn has_room(&self, peer: Ipp, rules: &[TapRule]) -> bool {
        let of_any = self.by_end.get(&None).map_or(&[][..], Vec::as_slice);
        let wants_any = rules.iter().any(|rule| end_of_rule(rule).is_none());
        let fits = self.rules.contains_key(&peer) || self.rules.len() < TAPPERS;
        let any_fits = of_any.contains(&peer) || of_any.len() < TAPPERS_OF_ANY;
        rules.is_empty() || (fits && (any_fits || !wants_any))
    }

    /// Its line is over.
    pub(super) fn remove(&mut self, peer: Ipp) {
        for rule in self.rules.remove(&peer).into_iter().flatten() {
            let end = end_of_rule(&rule);
            if let Some(peers) = self.by_end.get_mut(&end) {
                peers.retain(|other| *other != peer);
                if peers.is_empty() {
                    self.by_end.remove(&end);
                }
            }
        }
    }

    /// Who wants these signals, each once however many rules match.
    pub(super) fn matching(&self, signals: &Signals) -> Vec<Ipp> {
        let end = signals.get("+end").and_then(|text| exact_end(text));
        let aimed = end.and_then(|end| self.by_end.get(&Some(end)));
        let candidates: BTreeSet<Ipp> =
            self.by_end.get(&None).into_iter().chain(aimed).flatten().copied().collect();
        let wants = |peer: &Ipp| {
            self.rules.get(peer).is_some_and(|rules| rules.iter().any(|rule| rule.matches(signals)))
        };
        candidates.into_iter().filter(wants).collect()
    }
}

/// The end whose signals alone a rule can match, if it names one as ends are written.
fn end_of_rule(rule: &TapRule) -> Option<End> {
    rule.is().find(|(key, _)| *key == "+end").and_then(|(_, text)| exact_end(text))
}

/// Rules compare texts: another spelling of the same end is another value.
fn exact_end(text: &str) -> Option<End> {
    End::parse(text).ok().filter(|_| !text.bytes().any(|byte| byte.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end_of;

    fn ipp(n: u16) -> Ipp {
        Ipp::new(([10, 0, 0, 1], n).into()).unwrap()
    }

    fn signals(end: &str) -> Signals {
        [("+end".to_owned(), end.to_owned()), ("+foo".to_owned(), "x".to_owned())].into()
    }

    #[test]
    fn those_with_the_end_and_those_with_any_are_found() {
        let (end, other) = (end_of("a"), end_of("b"));
        let upper = end.to_string().to_uppercase();
        let of_foo = || TapRule::new(Vec::<(String, String)>::new(), ["+foo"]).unwrap();
        let of_upper = TapRule::new([("+end", upper.clone())], Vec::<String>::new()).unwrap();
        let mut taps = Taps::default();
        assert!(taps.set(ipp(1), vec![TapRule::of_end(end), TapRule::of_end(end), TapRule::of_end(other)]));
        assert!(taps.set(ipp(2), vec![of_foo(), TapRule::of_end(end)]));
        assert!(taps.set(ipp(3), vec![TapRule::of_pop(end)]));
        assert!(taps.set(ipp(4), vec![of_upper]));
        assert_eq!(taps.matching(&signals(&end.to_string())), [ipp(1), ipp(2)]);
        assert_eq!(taps.matching(&signals(&upper)), [ipp(2), ipp(4)]);
        assert_eq!(taps.matching(&signals(&other.to_string())), [ipp(1), ipp(2)]);
        assert!(taps.set(ipp(1), vec![TapRule::of_end(other)]) && taps.set(ipp(2), Vec::new()));
        assert!(taps.matching(&signals(&end.to_string())).is_empty());
        taps.remove(ipp(1));
        taps.remove(ipp(3));
        taps.remove(ipp(4));
        assert!(taps.rules.is_empty() && taps.by_end.is_empty());
    }
}
