//! The targets, one module each, each with `run`.

pub mod chat_request;
pub mod cluster_core;
pub mod cluster_message;
pub mod contact_record;
pub mod gguf_header;
pub mod lan_codec;
pub mod lan_greeting;
pub mod noise_handshake;
pub mod noise_packets;
pub mod peek;
pub mod relay_client;
pub mod relay_message;
pub mod share_receiver;
pub mod sse;
pub mod switchboard;
pub mod telehash_packet;
pub mod telehash_v1;
pub mod telehash_v2;
pub mod telex;
pub mod websocket_server;
