//! Sends seen lately: one that is sent again, or relayed by several switches, is one.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use teale_wire::telehash::{End, Ipp};

use super::{bounds, ports::SessionId};

type Key = (Ipp, End, String);

/// Source, hash and tid of the sends of the last [`bounds::HEARD_ONCE`], at most [`bounds::HEARD`], with the sessions in which
/// they were told again, at most [`bounds::LISTEN_AT`].
#[derive(Debug, Default)]
pub(super) struct Memo {
    seen: BTreeMap<Key, Vec<SessionId>>,
    order: VecDeque<(Duration, Key)>,
}

impl Memo {
    /// Whether this send was not seen. One without a tid is always news: nothing says that it is the same.
    pub(super) fn is_news(&mut self, now: Duration, source: Ipp, end: End, tid: Option<&str>) -> bool {
        let Some(tid) = tid else { return true };
        while let Some((at, key)) = self.order.front()
            && (*at + bounds::HEARD_ONCE <= now || self.order.len() >= bounds::HEARD)
        {
            self.seen.remove(key);
            self.order.pop_front();
        }
        let key = (source, end, tid.to_owned());
        let news = !self.seen.contains_key(&key);
        if news {
            self.seen.insert(key.clone(), Vec::new());
            self.order.push_back((now, key));
        }
        news
    }

    /// A send that was seen came again, in this session; false if it had come in it before.
    pub(super) fn told_again(&mut self, source: Ipp, end: End, tid: &str, by: SessionId) -> bool {
        let Some(told) = self.seen.get_mut(&(source, end, tid.to_owned())) else { return false };
        let news = told.len() < bounds::LISTEN_AT && !told.contains(&by);
        if news {
            told.push(by);
        }
        news
    }

    /// The sessions in which a send came again.
    pub(super) fn told_by(&self, source: Ipp, tid: &str) -> Vec<SessionId> {
        let first = (source, End::from_bytes([0; 20]), String::new());
        let theirs = self.seen.range(first..).take_while(|((from, ..), _)| *from == source);
        theirs.filter(|((.., other), _)| other == tid).flat_map(|(_, told)| told).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::end_of;

    #[test]
    fn once_in_ten_seconds_and_no_more_than_it_can_remember() {
        let mut memo = Memo::default();
        let source = Ipp::parse("10.0.0.1:7").unwrap();
        let mut news =
            |seconds, tid: &str| memo.is_news(Duration::from_secs(seconds), source, end_of("x"), Some(tid));
        assert!(news(0, "a") && !news(9, "a") && news(10, "a"));
        for n in 0..5000 {
            assert!(news(11, &n.to_string()));
        }
        assert!(memo.is_news(NOW, source, end_of("x"), None) && memo.is_news(NOW, source, end_of("x"), None));
        assert!(memo.seen.len() <= bounds::HEARD && memo.order.len() <= bounds::HEARD);
    }

    #[test]
    fn who_tells_again_is_remembered_once() {
        let mut memo = Memo::default();
        let source = Ipp::parse("10.0.0.1:7").unwrap();
        assert!(!memo.told_again(source, end_of("x"), "a", SessionId(1)), "never seen");
        memo.is_news(NOW, source, end_of("x"), Some("a"));
        memo.is_news(NOW, source, end_of("x"), Some("b"));
        assert!(memo.told_again(source, end_of("x"), "a", SessionId(2)));
        assert!(!memo.told_again(source, end_of("x"), "a", SessionId(2)));
        for n in 3..100 {
            memo.told_again(source, end_of("x"), "a", SessionId(n));
        }
        assert_eq!(memo.told_by(source, "a"), [2, 3, 4].map(SessionId));
        assert_eq!(memo.told_by(source, "b"), []);
    }

    const NOW: Duration = Duration::from_secs(11);
}
