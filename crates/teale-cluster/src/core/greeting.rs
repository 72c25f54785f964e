//! Introductions: what hello says, and whether a peer's hello is acceptable.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use teale_wire::{AppleDate, DeviceInfo, Extra, HardwareCapability, Hello};

use super::CloseReason;

/// The version this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The form a passcode has on the wire: SHA-256 of its UTF-8 bytes, 64 lower-case hex digits.
pub fn passcode_hash(passcode: &str) -> String {
    hex::encode(Sha256::digest(passcode.as_bytes()))
}

/// Who we are, for every hello.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) device_id: String,
    pub(super) name: String,
    pub(super) hardware: HardwareCapability,
    pub(super) passcode_hash: Option<String>,
    pub(super) since: AppleDate,
}

impl Introduction {
    pub(super) fn hello(&self, models: Vec<String>, now: AppleDate) -> Box<Hello> {
        Box::new(Hello {
            device_info: DeviceInfo {
                id: self.device_id.clone(),
                name: self.name.clone(),
                hardware: self.hardware.clone(),
                registered_at: self.since,
                last_seen_at: now,
                is_current_device: true,
                loaded_models: models.clone(),
                extra: Extra::new(),
            },
            protocol_version: PROTOCOL_VERSION,
            cluster_passcode_hash: self.passcode_hash.clone(),
            loaded_models: models,
            owner_user_id: None,
            resumable: true,
            extra: Extra::new(),
        })
    }

    /// Version and passcode must be ours; the passcode is compared in constant time.
    pub(super) fn check(&self, hello: &Hello) -> Result<(), CloseReason> {
        if hello.protocol_version != PROTOCOL_VERSION {
            return Err(CloseReason::Version);
        }
        let same = match (&self.passcode_hash, &hello.cluster_passcode_hash) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => {
                ours.as_bytes().ct_eq(theirs.to_ascii_lowercase().as_bytes()).into()
            }
            _ => false,
        };
        if same { Ok(()) } else { Err(CloseReason::Passcode) }
    }
}
