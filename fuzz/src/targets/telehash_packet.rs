//! A datagram of TeleHash v2, from anyone: what is read can be written, and is read as the same again.

use teale_wire::telehash::Packet;

/// Checks one datagram.
pub fn run(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    // Only spelling can make it larger: escapes and numbers are written in one way. A bind is copied, spaces and all.
    let Ok(written) = packet.encode() else {
        let spelled =
            packet.req.is_some() || packet.res.is_some() || data.contains(&b'\\') || data.len() > 700;
        assert!(spelled, "read, and cannot be written");
        return;
    };
    assert!(written.len() < 1400);
    assert_eq!(packet.room().ok(), Some(1399 - written.len()));
    let again = match Packet::parse(&written) {
        Ok(again) => again,
        Err(error) => panic!("written, and cannot be read: {error}"),
    };
    assert_eq!(again.encode().as_ref(), Ok(&written));
    assert_eq!(again.body, packet.body);
    assert_eq!(again.sid, packet.sid);
    assert_eq!(again.receipt, packet.receipt);
    assert_eq!(again.is_bookkeeping(), packet.is_bookkeeping());
    if let Some(receipt) = &packet.receipt {
        assert!(receipt.first() <= receipt.last());
        assert!(receipt.miss().iter().all(|seq| !receipt.confirms(*seq)));
        assert!(receipt.miss().is_sorted() && receipt.miss().len() < 700);
    }
}
