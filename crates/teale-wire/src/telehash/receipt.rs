//! What a side of a v2 session has received: `range` and `miss`, which mean nothing without each other.

/// The packets received so far: all from the first to the last, but those missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    first: u32,
    last: u32,
    miss: Vec<u32>,
}

impl Receipt {
    /// A receipt; `None` if the last comes before the first. Of `miss`, what lies outside says nothing and is left out.
    pub fn new(first: u32, last: u32, miss: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut miss: Vec<u32> = miss.into_iter().filter(|seq| (first..=last).contains(seq)).collect();
        miss.sort_unstable();
        miss.dedup();
        (first <= last).then_some(Self { first, last, miss })
    }

    /// The first seq received.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// The last one.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Those absent between them, in order.
    pub fn miss(&self) -> &[u32] {
        &self.miss
    }

    /// Whether it says that this one was received.
    pub fn confirms(&self, seq: u32) -> bool {
        (self.first..=self.last).contains(&seq) && self.miss.binary_search(&seq).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_confirms_what_is_inside_and_not_missing() {
        let receipt = Receipt::new(2, 6, [5, 9, 3, 5, 0]).unwrap();
        assert_eq!(receipt.miss(), [3, 5]);
        let confirmed: Vec<u32> = (0..9).filter(|seq| receipt.confirms(*seq)).collect();
        assert_eq!(confirmed, [2, 4, 6]);
        assert_eq!(Receipt::new(2, 1, []), None);
        assert!(Receipt::new(u32::MAX, u32::MAX, []).unwrap().confirms(u32::MAX));
    }
}
