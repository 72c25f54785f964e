//! Contact records: made of what this node knows of itself, and checked before anything of them is used.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use teale_identity::{Identity, NodeId, signed};
use teale_telehash::{Ipp, plausible};
use teale_wire::{ContactRecord, limits};
use thiserror::Error;

/// How long a record of ours holds.
const LIFE: Duration = Duration::from_secs(600);
/// What clocks may differ by.
const SKEW: u64 = 300;
/// The longest that anybody's record is believed.
const LONGEST: Duration = Duration::from_secs(900);

/// What this node knows of where it can be reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// Its public address in the DHT.
    pub(crate) own: Option<Ipp>,
    /// Where the cluster's TCP listens.
    pub(crate) listening: Vec<SocketAddr>,
    /// Addresses of its interfaces.
    pub(crate) interfaces: Vec<IpAddr>,
    /// Relays it has joined.
    pub(crate) relays: Vec<String>,
}

impl Places {
    /// The addresses to name, the public one first. Loopback only where the DHT itself is on loopback.
    fn addresses(&self) -> Vec<Ipp> {
        let on_loopback = self.own.is_some_and(|own| own.ip().is_loopback());
        let mut addresses = Vec::new();
        for listening in &self.listening {
            if !listening.ip().is_unspecified() {
                addresses.push(*listening);
                continue;
            }
            let all = self.own.map(Ipp::ip).into_iter().chain(self.interfaces.iter().copied());
            // A socket of IPv6's wildcard takes IPv4 only where the listener of IPv4 is its own: same port, both named.
            addresses.extend(all.map(|ip| SocketAddr::new(ip, listening.port())));
        }
        let mut ipps: Vec<Ipp> = Vec::new();
        for ipp in addresses.into_iter().filter_map(Ipp::new) {
            if ipp.ip().is_loopback() == on_loopback && !ipps.contains(&ipp) {
                ipps.push(ipp);
            }
        }
        ipps.truncate(limits::CONTACT_ADDRESSES);
        ipps
    }

    /// This node's record, good from now on.
    pub(crate) fn record(&self, identity: &Identity, unix: Duration) -> ContactRecord {
        let relays = self.relays.iter().filter(|url| is_public(url)).take(limits::CONTACT_RELAYS);
        let record = ContactRecord {
            node_id: identity.node_id(),
            wg_public_key: None,
            addresses: self.addresses(),
            relays: relays.cloned().collect(),
            issued_at: unix.as_secs(),
            expires_at: (unix + LIFE).as_secs(),
            signature: String::new(),
        };
        signed::sign_contact(identity, record)
    }
}

/// Whether a relay's URL may be told to strangers: nothing in it that is a secret, or may be one.
fn is_public(url: &str) -> bool {
    url.len() <= limits::WORD && !url.contains(['@', '?', '#'])
}

/// Why a record counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ContactError {
    /// Not a record.
    #[error("it is no contact record: {0}")]
    Wire(#[from] teale_wire::WireError),
    /// Not the node's own word.
    #[error("its signature is not the node's")]
    Signature,
    /// From another time.
    #[error("it is from another time: it has run out, or its clock is ahead of ours")]
    Time,
    /// A node without a key could be spoken to in plaintext only, by whoever listens at the address.
    #[error("it names no key")]
    NoKey,
    /// Our own record, sent back.
    #[error("it is this node's own")]
    Own,
}

/// Reads a record, and says for how long it holds.
pub(crate) fn check(
    bytes: &[u8],
    me: NodeId,
    unix: Duration,
) -> Result<(ContactRecord, Duration), ContactError> {
    let record = ContactRecord::parse(bytes)?;
    if record.node_id == me {
        return Err(ContactError::Own);
    }
    let now = unix.as_secs();
    if record.issued_at > now + SKEW || record.expires_at <= now || record.expires_at <= record.issued_at {
        return Err(ContactError::Time);
    }
    if record.wg_public_key.is_none() {
        return Err(ContactError::NoKey);
    }
    signed::verify_contact(&record).map_err(|_| ContactError::Signature)?;
    let last = Duration::from_secs(record.expires_at - now).min(LONGEST);
    Ok((record, last))
}

/// The addresses of a record that this node would dial: of the DHT's family, and a site's own addresses only from
/// within a site, where this node is in one itself or both are behind one public address. The session the record came in
/// shows that: `from` receives what is sent to it. What the record says shows nothing.
pub(super) fn dialable(record: &ContactRecord, from: Ipp, own: Option<Ipp>) -> Vec<SocketAddr> {
    let Some(own) = own else { return Vec::new() };
    let neighbours = from.ip() == own.ip();
    let fits = |ipp: &&Ipp| {
        plausible(**ipp, Some(own)) || (neighbours && ipp.is_v4() == own.is_v4() && !ipp.ip().is_loopback())
    };
    record.addresses.iter().filter(fits).map(|ipp| ipp.socket_addr()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn places(own: &str) -> Places {
        Places {
            own: Some(own.parse().unwrap()),
            listening: vec!["[::]:11436".parse().unwrap(), "0.0.0.0:11436".parse().unwrap()],
            interfaces: vec!["127.0.0.1".parse().unwrap(), "192.168.1.7".parse().unwrap()],
            relays: vec!["wss://relay.example/ws".into()],
        }
    }

    #[test]
    fn the_public_address_comes_first_and_loopback_stays_at_home() {
        let texts = |own: &str| {
            let addresses = places(own).addresses();
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts("203.0.113.5:42424"), ["203.0.113.5:11436", "192.168.1.7:11436"]);
        assert_eq!(texts("127.0.0.1:42424"), ["127.0.0.1:11436"]);
    }

    #[test]
    fn a_record_of_ours_passes_elsewhere_for_its_time() {
        let me = Identity::from_seed([1; 32]);
        let other = Identity::from_seed([2; 32]).node_id();
        let bytes = places("203.0.113.5:42424").record(&me, NOW).encode().unwrap();
        let (record, last) = check(&bytes, other, NOW).unwrap();
        assert_eq!((record.node_id, last), (me.node_id(), LIFE));
        assert_eq!(record.wg_public_key, Some(me.x25519_public().to_hex()));
        let dialled = |from: &str, own: &str| {
            let addresses = dialable(&record, from.parse().unwrap(), own.parse().ok());
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (all, public) = (["203.0.113.5:11436", "192.168.1.7:11436"], ["203.0.113.5:11436"]);
        assert_eq!(dialled("203.0.113.5:2", "203.0.113.6:1"), public, "no stranger points into our site");
        assert_eq!(dialled("203.0.113.9:2", "203.0.113.5:1"), public, "nor by naming our own address");
        assert_eq!(dialled("203.0.113.5:2", "203.0.113.5:1"), all, "behind one address");
        assert_eq!(dialled("192.168.1.7:2", "192.168.1.9:1"), all);
        assert!(dialled("203.0.113.5:2", "").is_empty());

        assert_eq!(check(&bytes, me.node_id(), NOW), Err(ContactError::Own));
        assert_eq!(check(&bytes, other, NOW + LIFE), Err(ContactError::Time));
        assert_eq!(check(&bytes, other, NOW - Duration::from_secs(SKEW + 1)), Err(ContactError::Time));
        let text = String::from_utf8(bytes).unwrap().replace("203.0.113.5", "203.0.113.66");
        assert_eq!(check(text.as_bytes(), other, NOW), Err(ContactError::Signature));
        assert!(matches!(check(b"{}", other, NOW), Err(ContactError::Wire(_))));
    }

    #[test]
    fn a_record_without_a_key_counts_for_nothing() {
        let me = Identity::from_seed([1; 32]);
        let other = Identity::from_seed([2; 32]).node_id();
        let mut record = places("203.0.113.5:42424").record(&me, NOW);
        record.wg_public_key = None;
        assert_eq!(check(&record.encode().unwrap(), other, NOW), Err(ContactError::NoKey));
    }

    #[test]
    fn secrets_of_relays_stay_here() {
        let me = Identity::from_seed([1; 32]);
        let secret = ["wss://user:word@relay.example/ws", "wss://relay.example/ws?token=abc"];
        let relays = secret.iter().chain(&["wss://relay.example/ws"]).map(|url| (*url).to_owned()).collect();
        let record = Places { relays, ..places("203.0.113.5:42424") }.record(&me, NOW);
        assert_eq!(record.relays, ["wss://relay.example/ws"]);
    }

    #[test]
    fn nobody_is_believed_for_ever() {
        let me = Identity::from_seed([1; 32]);
        let mut record = places("203.0.113.5:42424").record(&me, NOW);
        record.expires_at = u64::MAX;
        let bytes = signed::sign_contact(&me, record).encode().unwrap();
        let other = Identity::from_seed([2; 32]).node_id();
        assert_eq!(check(&bytes, other, NOW).unwrap().1, LONGEST);
    }
}
