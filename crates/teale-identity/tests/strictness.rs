//! What a lenient verifier would take and ours must not.

#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use teale_identity::{Identity, IdentityError, NodeId, X25519Public, signed, verify};

fn hex32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// The eight points of small order on edwards25519, by their canonical encodings (the order-4 and order-8 points come
/// with either sign).
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn keys_of_small_order_sign_nothing() {
    for point in SMALL_ORDER {
        // R = the same point, S = 0: what a lenient verifier takes for a signature of many messages.
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&hex32(point));
        for message in 0..16_u8 {
            let result = verify(NodeId::from_bytes(hex32(point)), &[message], &signature);
            assert_eq!(result, Err(IdentityError::WeakKey), "{point}");
        }
    }
}

#[test]
fn a_point_has_one_name() {
    // y from 2^255 - 19 up to 2^255 - 1, with either sign: second encodings, or no points at all.
    for low in 0xed..=0xff_u8 {
        for sign in [0x7f, 0xff] {
            let mut node = [0xff; 32];
            (node[0], node[31]) = (low, sign);
            let result = verify(NodeId::from_bytes(node), b"", &[0; 64]);
            assert!(
                matches!(result, Err(IdentityError::Malformed("node id") | IdentityError::WeakKey)),
                "{low:02x} {sign:02x}: {result:?}"
            );
        }
    }
    let no_point = NodeId::from_bytes({
        let mut node = [0; 32];
        node[0] = 2;
        node
    });
    assert_eq!(verify(no_point, b"", &[0; 64]), Err(IdentityError::Malformed("node id")));
}

/// S + L verifies under the bare equation too. RFC 8032, section 5.1.7, has S below L.
#[test]
fn a_signature_has_one_form() {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let me = Identity::from_seed([7; 32]);
    let mut signature = me.sign(b"message");
    assert_eq!(verify(me.node_id(), b"message", &signature), Ok(()));
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(verify(me.node_id(), b"message", &signature), Err(IdentityError::BadSignature));
}

#[test]
fn a_signature_is_read_in_either_case_and_nothing_else() {
    let me = Identity::from_seed([7; 32]);
    let signature = signed::register_signature(&me);
    assert_eq!(signature, signature.to_lowercase());
    assert_eq!(signed::verify_register(me.node_id(), &signature.to_uppercase()), Ok(()));
    let malformed = Err(IdentityError::Malformed("signature"));
    for bad in
        ["", &signature[1..], &format!("{signature}00"), &format!("0x{}", &signature[2..]), &"ü".repeat(64)]
    {
        assert_eq!(signed::verify_register(me.node_id(), bad), malformed);
    }
}

#[test]
fn x25519_keys_of_small_order_are_told() {
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for key in small {
        let mut key = hex32(key);
        assert_eq!(X25519Public(key).check(), Err(IdentityError::WeakKey));
        key[31] |= 0x80;
        assert_eq!(X25519Public(key).check(), Err(IdentityError::WeakKey), "the top bit is ignored");
    }
    assert_eq!(Identity::from_seed([7; 32]).x25519_public().check(), Ok(()));
}

#[test]
fn x25519_keys_are_read_in_either_case() {
    let key = Identity::from_seed([7; 32]).x25519_public();
    assert_eq!(X25519Public::parse_hex(&key.to_hex()), Ok(key));
    assert_eq!(X25519Public::parse_hex(&key.to_hex().to_uppercase()), Ok(key));
    assert_eq!(key.to_string(), key.to_hex());
    for bad in ["", &key.to_hex()[2..], &format!("{key}00"), &"g".repeat(64)] {
        assert_eq!(X25519Public::parse_hex(bad), Err(IdentityError::Malformed("X25519 public key")));
    }
}

#[test]
fn debug_shows_the_node_id_and_no_secret() {
    let me = Identity::from_seed(hex32("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"));
    assert_eq!(format!("{me:?}"), "Identity(NodeId(03a107bff3ce10be...))");
}

#[test]
fn fresh_identities_differ() {
    assert_ne!(Identity::generate().unwrap().node_id(), Identity::generate().unwrap().node_id());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn only_the_signer_and_the_signed_bytes_verify(
        seed in any::<[u8; 32]>(),
        other in any::<[u8; 32]>(),
        message in prop::collection::vec(any::<u8>(), 0..100),
        bit in 0_usize..512,
    ) {
        prop_assume!(seed != other);
        let (me, other) = (Identity::from_seed(seed), Identity::from_seed(other));
        let signature = me.sign(&message);
        prop_assert_eq!(verify(me.node_id(), &message, &signature), Ok(()));
        prop_assert_eq!(verify(other.node_id(), &message, &signature), Err(IdentityError::BadSignature));
        let mut longer = message.clone();
        longer.push(0);
        prop_assert_eq!(verify(me.node_id(), &longer, &signature), Err(IdentityError::BadSignature));
        let mut flipped = signature;
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify(me.node_id(), &message, &flipped), Err(IdentityError::BadSignature));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(node in any::<[u8; 32]>(), low in any::<[u8; 32]>(), high in any::<[u8; 32]>()) {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&low);
        signature[32..].copy_from_slice(&high);
        prop_assert!(verify(NodeId::from_bytes(node), b"message", &signature).is_err());
    }
}

#[test]
fn a_contact_record_is_its_makers_word_and_nobody_elses() {
    let me = Identity::from_seed([3; 32]);
    let record = teale_wire::ContactRecord {
        node_id: NodeId::from_bytes([0; 32]),
        wg_public_key: None,
        addresses: vec!["192.0.2.7:11436".parse().unwrap()],
        relays: vec!["wss://relay.example/ws".to_owned()],
        issued_at: 1_713_100_000,
        expires_at: 1_713_103_600,
        signature: String::new(),
    };
    let signed = signed::sign_contact(&me, record);
    assert_eq!(signed.node_id, me.node_id());
    assert_eq!(signed::verify_contact(&signed), Ok(()));

    let mut later = signed.clone();
    later.expires_at += 1;
    let mut elsewhere = signed.clone();
    elsewhere.addresses.push("192.0.2.8:1".parse().unwrap());
    let mut keyless = signed.clone();
    keyless.wg_public_key = None;
    let mut foreign = signed.clone();
    foreign.node_id = Identity::from_seed([4; 32]).node_id();
    // A relay's URL cannot pass for an address, nor one list's end for the other's beginning.
    let mut moved = signed.clone();
    moved.relays.clear();
    for forged in [later, elsewhere, keyless, foreign, moved] {
        assert_eq!(signed::verify_contact(&forged), Err(IdentityError::BadSignature), "{forged:?}");
    }
}
