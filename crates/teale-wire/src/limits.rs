//! Every bound of the wire, in one table. What lies beyond one is refused before memory is set aside for it.

/// A relay frame (one WebSocket message), in bytes: 4 MiB.
pub const RELAY_FRAME: usize = 4 << 20;
/// A cluster message (LAN frame payload, or the plaintext of one sealed packet), in bytes: 16 MiB.
pub const CLUSTER_MESSAGE: usize = 16 << 20;
/// The payload of one `relayData` that still fits a relay frame in base64, in bytes: about 2.9 MiB.
pub const RELAY_PAYLOAD: usize = (RELAY_FRAME - RELAY_DATA_OVERHEAD) / 4 * 3;
/// What `relayData` spends on everything but its base64 text, in bytes (names, two node ids, a session id).
pub const RELAY_DATA_OVERHEAD: usize = 1024;
/// How deep a payload's JSON may nest, the payload included. Beyond it a message is not JSON to us.
pub const JSON_DEPTH: usize = 127;
/// JSON values in one payload (the byte values of `relayData` aside), so that a small text cannot become a large tree.
pub const JSON_VALUES: usize = 1 << 17;
/// A session, request or transfer id, in bytes of UTF-8. A UUID takes 36.
pub const TEXT_ID: usize = 128;
/// A display name, in bytes of UTF-8.
pub const DISPLAY_NAME: usize = 256;
/// A model id, in bytes of UTF-8.
pub const MODEL_ID: usize = 512;
/// Models one node may list.
pub const LOADED_MODELS: usize = 256;
/// PTN ids one node may list.
pub const PTN_IDS: usize = 64;
/// Peers in one `discoverResponse`.
pub const DISCOVER_PEERS: usize = 500;
/// Peers a relay answers with when the filter names no `maxPeers`.
pub const DISCOVER_PEERS_DEFAULT: usize = 50;
/// A word of an open set, an address, a key or a signature in hex, a device id, in bytes of UTF-8.
pub const WORD: usize = 256;
/// An error in words, in bytes of UTF-8.
pub const ERROR_TEXT: usize = 16 << 10;
/// The bytes of one `modelTransferChunk`: 1 MiB. We send less.
pub const CHUNK: usize = 1 << 20;
/// The same as base64 text, in bytes.
pub const CHUNK_TEXT: usize = CHUNK.div_ceil(3) * 4;
/// Files of one model.
pub const MODEL_FILES: usize = 512;
/// Chaining values of one file's blocks, in bytes: 4096 of 32.
pub const BLOCK_STATES: usize = 4096 * 32;
/// Models in the list of what one node offers.
pub const OFFERED_MODELS: usize = 1024;
/// A telex of TeleHash v1 that is read, in bytes: the page says 1400, and switches were seen to send more.
pub const TELEX: usize = 1500;
/// A telex that is sent, in bytes: less than the 1400 of the page, so that no reading of it is broken.
pub const TELEX_SENT: usize = 1399;
/// Rules of one `.tap`; those beyond are left out.
pub const TAP_RULES: usize = 32;
/// Conditions of one rule of a `.tap`; a rule with more is left out.
pub const TAP_KEYS: usize = 64;
/// A packet of TeleHash v2, in bytes, both ways: less than 1400.
pub const PACKET: usize = 1399;
/// A `start` of TeleHash v2, in bytes of UTF-8; we send 32.
pub const PACKET_START: usize = 128;
/// A `tid` of TeleHash v2, in bytes of UTF-8: it must fit into the answer beside all else.
pub const PACKET_TID: usize = 256;
/// A contact record, in bytes.
pub const CONTACT_RECORD: usize = 8 << 10;
/// Addresses in a contact record.
pub const CONTACT_ADDRESSES: usize = 16;
/// Relays in a contact record.
pub const CONTACT_RELAYS: usize = 8;
