//! A contact record that is read is written and read again as the same, its signed text has six lines whatever a stranger
//! put into the fields, and no stranger's signature passes.
//!
//! Input: the record as JSON.

use teale_identity::signed;
use teale_wire::{ContactRecord, limits};

/// Reads it, writes it, reads it again.
pub fn run(data: &[u8]) {
    let Ok(record) = ContactRecord::parse(data) else { return };
    assert!(record.addresses.len() <= limits::CONTACT_ADDRESSES);
    assert!(record.relays.len() <= limits::CONTACT_RELAYS);
    // One field a line: a relay with a line break would be two.
    assert_eq!(record.signed_text().split('\n').count(), 6);
    // Escapes and numbers can make the text of a record longer than the one that was read, and so too long.
    if let Ok(written) = record.encode() {
        assert_eq!(ContactRecord::parse(&written).as_ref(), Ok(&record));
    }
    let mut forged = record.clone();
    forged.expires_at = record.expires_at.wrapping_add(1);
    let both = signed::verify_contact(&record).is_ok() && signed::verify_contact(&forged).is_ok();
    assert!(!both, "one signature for two texts");
}
