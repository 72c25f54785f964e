//! Sends seen lately: one that is sent again, or relayed by several switches, is one.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use teale_wire::telehash::{End, Ipp};

use super::bounds;

type Key = (Ipp, End, String);

/// Source, hash and tid of the sends of the last [`bounds::HEARD_ONCE`], at most [`bounds::HEARD`].
#[derive(Debug, Default)]
pub(super) struct Memo {
    seen: BTreeSet<Key>,
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
        let news = self.seen.insert(key.clone());
        if news {
            self.order.push_back((now, key));
        }
        news
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

    const NOW: Duration = Duration::from_secs(11);
}
