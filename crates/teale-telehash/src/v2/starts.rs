//! What makes a session: two starts, and the sid they make together.

use rand::{Rng, rngs::StdRng};
use sha1::{Digest, Sha1};
use teale_wire::telehash::Sid;

/// A fresh start: 128 random bits as text. So no two are the same, and nobody guesses one.
pub(super) fn fresh_start(rng: &mut StdRng) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fresh tid: 64 random bits as text.
pub(super) fn fresh_tid(rng: &mut StdRng) -> String {
    format!("{:016x}", rng.next_u64())
}

/// The sid of two starts in one order.
pub(super) fn sid(first: &str, second: &str) -> Sid {
    Sid::from_bytes(Sha1::new().chain_update(first).chain_update(second).finalize().into())
}

/// Both sids of two starts: either names the session. The first is the one to write: the initiator's start comes first.
pub(super) fn sids(initiator: &str, responder: &str) -> [Sid; 2] {
    [sid(initiator, responder), sid(responder, initiator)]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn s11_the_sids_of_the_sheet_in_both_orders() {
        let [one, other] = sids("alpha", "beta");
        assert_eq!(one.to_string(), "0c645492c58ad3fe8338329bbd9ad42a0ae78456");
        assert_eq!(other.to_string(), "25373879b9cbbaa1ec3bea1bd8b3b53d9be1d2e8");
    }

    #[test]
    fn s16_starts_are_random_and_differ() {
        let mut rng = StdRng::from_seed([1; 32]);
        let starts: std::collections::BTreeSet<_> = (0..1000).map(|_| fresh_start(&mut rng)).collect();
        assert_eq!(starts.len(), 1000);
        assert!(starts.iter().all(|start| start.len() == 32));
    }
}
