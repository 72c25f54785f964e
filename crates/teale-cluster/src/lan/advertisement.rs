//! What a node says of itself on the network: the TXT record of its `_teale._tcp` service (spec §8, RFC 6763 §6).

use std::net::SocketAddr;

use sha2::{Digest, Sha256};
use teale_identity::{NodeId, X25519Public};
use teale_wire::limits;
use thiserror::Error;

/// The service's type and domain.
pub const SERVICE: &str = "_teale._tcp.local.";
/// The TXT record's `version`.
const VERSION: &str = "1";
/// A DNS label, in bytes (RFC 1035 §2.3.4).
const LABEL: usize = 63;
/// Hex digits of the node id in the instance's name.
const ID_DIGITS: usize = 16;

/// What a TXT record says. All of it is anybody's word: a handshake has to prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// The device, a UUID; at most [`limits::WORD`] bytes.
    pub device_id: String,
    /// The chip's name, for people.
    pub chip: String,
    /// Memory in whole gigabytes, where it says so.
    pub ram_gb: Option<u32>,
    /// The node id; deployed peers have none.
    pub node: Option<NodeId>,
    /// The X25519 key; only with a node id.
    pub wg: Option<X25519Public>,
}

/// Why a TXT record is not one of a node we can talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TxtError {
    /// Neither `deviceID` nor `nodeID`.
    #[error("the record names neither a device nor a node")]
    Nameless,
    /// Another version.
    #[error("the record is of another version")]
    Version,
    /// A value that is no text, too long, or holds control characters.
    #[error("`{0}` cannot be read")]
    Value(&'static str),
    /// A key without the node it belongs to.
    #[error("a `wg` key without a `nodeID`")]
    KeyWithoutNode,
}

impl Advertisement {
    /// The record's keys and values, in the order of the page.
    pub fn properties(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("deviceID", self.device_id.clone()), ("chip", clean(&self.chip, 200))];
        if let Some(ram) = self.ram_gb {
            all.push(("ram", ram.to_string()));
        }
        all.push(("version", VERSION.to_owned()));
        if let Some(node) = self.node {
            all.push(("nodeID", node.to_string()));
            if let Some(wg) = self.wg {
                all.push(("wg", wg.to_hex()));
            }
        }
        all
    }

    /// Reads keys and values. Keys are read in any case, the first of two counts (RFC 6763 §6.4), unknown ones are
    /// left out; a record without `version` is taken for version 1.
    ///
    /// # Errors
    /// [`TxtError`], which names the key and never the value.
    pub fn parse<'a>(
        properties: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Self, TxtError> {
        let [mut device, mut chip, mut ram, mut version, mut node, mut wg] = [None; 6];
        for (key, value) in properties {
            let slot = match key.to_ascii_lowercase().as_str() {
                "deviceid" => &mut device,
                "chip" => &mut chip,
                "ram" => &mut ram,
                "version" => &mut version,
                "nodeid" => &mut node,
                "wg" => &mut wg,
                _ => continue,
            };
            if slot.is_none() {
                *slot = Some(value.unwrap_or_default());
            }
        }
        if text("version", version)?.is_some_and(|version| version != VERSION) {
            return Err(TxtError::Version);
        }
        let node = match text("nodeID", node)? {
            Some(text) => Some(NodeId::parse(text.as_bytes()).map_err(|_| TxtError::Value("nodeID"))?),
            None => None,
        };
        let wg = match text("wg", wg)? {
            Some(_) if node.is_none() => return Err(TxtError::KeyWithoutNode),
            Some(text) => Some(X25519Public::parse_hex(text).map_err(|_| TxtError::Value("wg"))?),
            None => None,
        };
        let device_id = text("deviceID", device)?.unwrap_or_default();
        if device_id.is_empty() && node.is_none() {
            return Err(TxtError::Nameless);
        }
        let ram_gb = text("ram", ram)?.and_then(|text| text.parse().ok());
        let chip = clean(text("chip", chip)?.unwrap_or_default(), limits::WORD);
        Ok(Self { device_id: device_id.to_owned(), chip, ram_gb, node, wg })
    }

    /// The node's id, or one made of the device's for peers that have none.
    pub fn id(&self) -> NodeId {
        self.node.unwrap_or_else(|| device_node_id(&self.device_id))
    }
}

/// A value as text; an empty one is none.
fn text<'a>(key: &'static str, value: Option<&'a [u8]>) -> Result<Option<&'a str>, TxtError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = std::str::from_utf8(value).map_err(|_| TxtError::Value(key))?;
    if text.len() > limits::WORD || text.chars().any(char::is_control) {
        return Err(TxtError::Value(key));
    }
    Ok(Some(text))
}

/// Without control characters, and at most `limit` bytes.
fn clean(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > limit {
            break;
        }
        out.push(c);
    }
    out
}

/// The id of a peer that has none: made of its device id, which is a UUID and so read in either case.
pub fn device_node_id(device_id: &str) -> NodeId {
    hashed(&format!("teale-lan-device:{}", device_id.to_ascii_lowercase()))
}

/// The id of a peer of which nothing but its address is known.
pub fn address_node_id(address: SocketAddr) -> NodeId {
    hashed(&format!("teale-lan-address:{address}"))
}

fn hashed(text: &str) -> NodeId {
    NodeId::from_bytes(Sha256::digest(text.as_bytes()).into())
}

/// The service instance's name: the node's own, and enough of its id that no two nodes have the same one.
pub fn instance_name(name: &str, node: NodeId) -> String {
    let id = hex::encode(node.as_bytes());
    let id = id.get(..ID_DIGITS).unwrap_or_default();
    let name = clean(&name.replace('.', "-"), LABEL - 1 - ID_DIGITS);
    if name.is_empty() { id.to_owned() } else { format!("{name}-{id}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Advertisement, TxtError> {
        Advertisement::parse(pairs.iter().map(|(key, value)| (*key, Some(value.as_bytes()))))
    }

    const NODE: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
    const DEVICE: &str = "5AF3A9C6-0E2B-4A64-9B2C-0D3A3A4F3B11";

    #[test]
    fn a_deployed_peers_record_is_read_and_gets_an_id_of_its_device() {
        let record =
            parse(&[("deviceID", DEVICE), ("chip", "Apple M4 Pro"), ("ram", "48"), ("version", "1")])
                .unwrap();
        assert_eq!((record.ram_gb, record.node, record.wg), (Some(48), None, None));
        assert_eq!(record.id(), device_node_id(&DEVICE.to_lowercase()));
        assert_ne!(record.id(), device_node_id("another"));
    }

    #[test]
    fn what_is_wrong_with_a_record_is_named() {
        assert_eq!(parse(&[("chip", "x")]), Err(TxtError::Nameless));
        assert_eq!(parse(&[("deviceID", DEVICE), ("version", "2")]), Err(TxtError::Version));
        assert_eq!(parse(&[("deviceID", DEVICE), ("nodeID", "me")]), Err(TxtError::Value("nodeID")));
        assert_eq!(parse(&[("nodeID", NODE), ("wg", "00")]), Err(TxtError::Value("wg")));
        assert_eq!(parse(&[("deviceID", DEVICE), ("wg", NODE)]), Err(TxtError::KeyWithoutNode));
        assert_eq!(parse(&[("deviceID", "a\nb")]), Err(TxtError::Value("deviceID")));
        assert_eq!(parse(&[("deviceID", &"x".repeat(300))]), Err(TxtError::Value("deviceID")));
    }

    #[test]
    fn keys_have_no_case_and_the_first_counts() {
        let record = parse(&[("DEVICEid", "a"), ("deviceID", "b"), ("later", "c")]).unwrap();
        assert_eq!(record.device_id, "a");
    }

    #[test]
    fn an_instance_name_fits_a_label_and_holds_the_id() {
        let node = NodeId::parse(NODE.as_bytes()).unwrap();
        assert_eq!(instance_name("alice.home", node), "alice-home-03a107bff3ce10be");
        assert_eq!(instance_name("", node), "03a107bff3ce10be");
        assert!(instance_name(&"ä".repeat(99), node).len() <= 63);
    }

    proptest! {
        #[test]
        fn what_is_advertised_is_what_is_read(
            device in "[0-9a-f-]{1,36}", chip in "[^\\p{C}]{0,40}", ram in any::<Option<u32>>(),
            node in any::<Option<[u8; 32]>>(), wg in any::<Option<[u8; 32]>>(),
        ) {
            let node = node.map(NodeId::from_bytes);
            let wg = node.and(wg).map(X25519Public);
            let record = Advertisement { device_id: device, chip, ram_gb: ram, node, wg };
            let properties = record.properties();
            let pairs = properties.iter().map(|(key, value)| (*key, Some(value.as_bytes())));
            prop_assert_eq!(Advertisement::parse(pairs), Ok(record));
            prop_assert!(properties.iter().all(|(key, value)| key.len() + 1 + value.len() <= 255));
        }

        #[test]
        fn any_record_is_read_or_refused(
            pairs in prop::collection::vec(("(?i)deviceid|chip|ram|version|nodeid|wg|x", any::<Option<Vec<u8>>>()), 0..8),
        ) {
            let record = Advertisement::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_deref())));
            if let Ok(record) = record {
                prop_assert!(record.device_id.len() <= limits::WORD && record.chip.len() <= limits::WORD);
            }
        }
    }
}
