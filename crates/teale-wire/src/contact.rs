//! Contact records: where a node can be reached, in its own words and under its own signature.
//!
//! Ours, for the DHT: two nodes that met there exchange them before they connect. The signature is made and checked
//! by `teale-identity`, over the bytes of [`ContactRecord::signed_text`].

use serde::{Deserialize, Serialize};

use crate::{Fault, NodeId, WireError, limits, telehash::Ipp};

/// Who a node is and where it listens. Whoever shows it need not be the node: it says where the node was until it
/// expires, and only the handshake there proves who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContactRecord {
    /// Who.
    #[serde(rename = "nodeID")]
    pub node_id: NodeId,
    /// Its X25519 key in hex; a node that has none says none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::bounded::opt_word")]
    pub wg_public_key: Option<String>,
    /// Where it takes TCP connections of the cluster's framing; at most [`limits::CONTACT_ADDRESSES`].
    pub addresses: Vec<Ipp>,
    /// Relays it is registered with; at most [`limits::CONTACT_RELAYS`] URLs.
    #[serde(default)]
    pub relays: Vec<String>,
    /// When it was made, in unix seconds.
    pub issued_at: u64,
    /// From when on it counts for nothing, in unix seconds.
    pub expires_at: u64,
    /// Ed25519 by the node, 128 hex digits.
    #[serde(deserialize_with = "crate::bounded::word")]
    pub signature: String,
}

impl ContactRecord {
    /// Reads one; the signature is not checked here.
    ///
    /// # Errors
    /// [`WireError::TooBig`] beyond [`limits::CONTACT_RECORD`] bytes or its lists' bounds, otherwise
    /// [`WireError::NotJson`] or [`WireError::WrongShape`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let too_big =
            |what, limit, got| Err(WireError::TooBig { what, limit, got: Some(got), fault: Fault::Peer });
        if bytes.len() > limits::CONTACT_RECORD {
            return too_big("a contact record", limits::CONTACT_RECORD, bytes.len());
        }
        let record: Self = serde_json::from_slice(bytes).map_err(|error| {
            if error.is_data() {
                return wrong("the record", "a field is missing or has the wrong shape");
            }
            WireError::NotJson { line: error.line(), column: error.column() }
        })?;
        if record.addresses.len() > limits::CONTACT_ADDRESSES {
            return too_big("the list of addresses", limits::CONTACT_ADDRESSES, record.addresses.len());
        }
        if record.relays.len() > limits::CONTACT_RELAYS {
            return too_big("the list of relays", limits::CONTACT_RELAYS, record.relays.len());
        }
        // A line of the signed text is one field: nothing in a field may end it.
        let printable = |url: &String| {
            (1..=limits::WORD).contains(&url.len()) && url.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !record.relays.iter().all(printable) {
            return Err(wrong("relays", "a URL of printable ASCII is expected"));
        }
        let is_key = |key: &String| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !record.wg_public_key.iter().all(is_key) {
            return Err(wrong("wgPublicKey", "64 hex digits are expected"));
        }
        Ok(record)
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`WireError::TooBig`] or [`WireError::NotWritable`] for a record that [`ContactRecord::parse`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let reason = |error: String| WireError::NotWritable { kind: "contact record", reason: error };
        let bytes = serde_json::to_vec(self).map_err(|error| reason(error.to_string()))?;
        Self::parse(&bytes).map_err(|error| reason(error.to_string()))?;
        Ok(bytes)
    }

    /// The text that is signed: the fields, one a line, lists joined by spaces. The purpose is put before it by
    /// `teale-identity`.
    pub fn signed_text(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        format!(
            "{}\n{}\n{}\n{}\n{}\n{}",
            self.node_id,
            self.wg_public_key.as_deref().unwrap_or_default(),
            self.issued_at,
            self.expires_at,
            addresses.join(" "),
            self.relays.join(" ")
        )
    }
}

fn wrong(field: &str, reason: &str) -> WireError {
    WireError::WrongShape { kind: "contact record", field: field.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ContactRecord {
        ContactRecord {
            node_id: NodeId::from_bytes([0xab; 32]),
            wg_public_key: Some("0f".repeat(32)),
            addresses: vec!["192.0.2.7:11436".parse().unwrap(), "[2001:db8::7]:11436".parse().unwrap()],
            relays: vec!["wss://relay.example/ws".into()],
            issued_at: 1_713_100_000,
            expires_at: 1_713_103_600,
            signature: "00".repeat(64),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let record = record();
        assert_eq!(ContactRecord::parse(&record.encode().unwrap()).unwrap(), record);
    }

    #[test]
    fn the_signed_text_is_one_field_a_line() {
        let text = record().signed_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[4], "192.0.2.7:11436 [2001:db8::7]:11436");
        assert_eq!(lines[5], "wss://relay.example/ws");
    }

    #[test]
    fn nothing_can_pass_for_two_fields() {
        for relay in ["wss://a b", "wss://a\nb", "", &"x".repeat(300)] {
            let record = ContactRecord { relays: vec![relay.to_owned()], ..record() };
            assert!(record.encode().is_err(), "{relay:?}");
        }
        // Nor a key that is none for no key.
        for key in ["ab\ncd", "", "0f"] {
            assert!(
                ContactRecord { wg_public_key: Some(key.into()), ..record() }.encode().is_err(),
                "{key:?}"
            );
        }
    }

    #[test]
    fn bounds_hold() {
        let many = vec!["192.0.2.7:1".parse().unwrap(); limits::CONTACT_ADDRESSES + 1];
        let text = serde_json::to_vec(&ContactRecord { addresses: many, ..record() }).unwrap();
        assert!(matches!(ContactRecord::parse(&text), Err(WireError::TooBig { .. })));
        let padded = [serde_json::to_vec(&record()).unwrap(), vec![b' '; limits::CONTACT_RECORD]].concat();
        assert!(matches!(ContactRecord::parse(&padded), Err(WireError::TooBig { .. })));
    }

    #[test]
    fn what_is_no_record_is_refused_by_name() {
        assert!(matches!(ContactRecord::parse(b"{"), Err(WireError::NotJson { .. })));
        assert!(matches!(ContactRecord::parse(b"{}"), Err(WireError::WrongShape { .. })));
        let port = String::from_utf8(record().encode().unwrap()).unwrap().replace(":11436", ":0");
        assert!(matches!(ContactRecord::parse(port.as_bytes()), Err(WireError::WrongShape { .. })));
    }
}
