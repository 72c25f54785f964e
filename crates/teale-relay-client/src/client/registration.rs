//! What the client tells the relay about its node, and when it tells it again.

use std::{sync::Arc, time::Duration};

use teale_identity::{Identity, signed};
use teale_wire::{NodeCapabilities, Register, RelayMessage, limits};

use crate::bounds;

/// The node's entry with the relay.
pub(crate) struct Registration {
    identity: Arc<Identity>,
    display_name: String,
    capabilities: NodeCapabilities,
    /// Whether the capabilities changed since they were last sent.
    dirty: bool,
    nonce: Option<String>,
    sent_at: Option<Duration>,
    /// When a change was last sent on this connection.
    changed_at: Option<Duration>,
    refresh: Duration,
}

impl Registration {
    /// A display name beyond [`limits::DISPLAY_NAME`], which relays refuse, is cut.
    pub(crate) fn new(
        identity: Arc<Identity>,
        mut display_name: String,
        capabilities: NodeCapabilities,
    ) -> Self {
        display_name.truncate(display_name.floor_char_boundary(limits::DISPLAY_NAME));
        Self {
            identity,
            display_name,
            capabilities,
            dirty: false,
            nonce: None,
            sent_at: None,
            changed_at: None,
            refresh: bounds::REFRESH_EVERY,
        }
    }

    pub(crate) fn set_capabilities(&mut self, capabilities: NodeCapabilities) {
        if self.capabilities != capabilities {
            self.capabilities = capabilities;
            self.dirty = true;
        }
    }

    /// A new connection: nothing is registered on it.
    pub(crate) fn connected(&mut self) {
        self.nonce = None;
        self.sent_at = None;
        self.changed_at = None;
        self.refresh = bounds::REFRESH_EVERY;
    }

    /// Takes the relay's nonce, if it is one (32 lower-case hex digits) and the connection's first. Nothing else is
    /// signed.
    pub(crate) fn challenge(&mut self, nonce: String) -> bool {
        let valid = self.nonce.is_none()
            && nonce.len() == 32
            && nonce.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid {
            self.nonce = Some(nonce);
        }
        valid
    }

    /// The relay took the registration for so many seconds.
    pub(crate) fn acknowledged(&mut self, ttl_seconds: u32) {
        let most = Duration::from_secs(u64::from(ttl_seconds)) * 4 / 5;
        self.refresh = most.clamp(bounds::REFRESH_AT_LEAST, bounds::REFRESH_EVERY);
    }

    /// The registration, with a proof if the relay gave a nonce.
    pub(crate) fn message(&mut self, now: Duration) -> RelayMessage {
        if std::mem::take(&mut self.dirty) && self.sent_at.is_some() {
            self.changed_at = Some(now);
        }
        self.sent_at = Some(now);
        let node = self.identity.node_id();
        let key = self.identity.x25519_public().to_hex();
        let proof =
            self.nonce.as_deref().map(|nonce| signed::register_proof(&self.identity, nonce, Some(&key)));
        RelayMessage::Register(Box::new(Register {
            node_id: node,
            public_key: node,
            wg_public_key: Some(key),
            display_name: self.display_name.clone(),
            capabilities: self.capabilities.clone(),
            signature: signed::register_signature(&self.identity),
            proof,
            extra: Default::default(),
        }))
    }

    /// When a registered node registers again.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let sent_at = self.sent_at?;
        let refresh = sent_at + self.refresh;
        Some(match self.changed_at {
            Some(changed_at) if self.dirty => refresh.min(changed_at + bounds::CAPABILITIES_EVERY),
            None if self.dirty => sent_at,
            _ => refresh,
        })
    }
}
