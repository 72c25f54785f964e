//! Keys and signatures judged by the RFCs and by vectors made elsewhere.

#![allow(missing_docs, clippy::unwrap_used)]

use serde_json::Value;
use teale_identity::{Identity, IdentityError, NodeId, X25519Public, signed, verify};
use teale_wire::SessionId;

fn hex32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn hex64(text: &str) -> [u8; 64] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// RFC 8032, section 7.1: secret key, public key, message, signature (tests 1, 2, 3 and SHA(abc)).
const RFC_8032: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn ed25519_is_that_of_rfc_8032() {
    for [secret, public, message, signature] in RFC_8032 {
        let me = Identity::from_seed(hex32(secret));
        let message = hex::decode(message).unwrap();
        assert_eq!(me.node_id().to_string(), public);
        assert_eq!(hex::encode(me.sign(&message)), signature);
        assert_eq!(verify(me.node_id(), &message, &hex64(signature)), Ok(()));
    }
}

/// RFC 7748, section 6.1. Alice's private key is not clamped as it stands, so this shows that the seed is.
#[test]
fn x25519_is_that_of_rfc_7748_on_the_seed_itself() {
    let alice =
        Identity::from_seed(hex32("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = Identity::from_seed(hex32("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let public = [alice.x25519_public().to_hex(), bob.x25519_public().to_hex()];
    assert_eq!(public[0], "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    assert_eq!(public[1], "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");

    let agree = |me: &Identity, peer: &Identity| {
        let secret = x25519_dalek::StaticSecret::from(*me.x25519_secret());
        hex::encode(secret.diffie_hellman(&peer.x25519_public().0.into()).as_bytes())
    };
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    assert_eq!(agree(&alice, &bob), shared);
    assert_eq!(agree(&bob, &alice), shared);
}

#[test]
fn the_vectors_pass() {
    let file: Value = serde_json::from_str(include_str!("vectors/tealenet.json")).unwrap();
    for vector in file["identity"].as_array().unwrap() {
        let text = |field: &str| vector[field].as_str().unwrap();
        let me = Identity::from_seed(hex32(text("seed")));
        let node = me.node_id();
        let (key, nonce) = (me.x25519_public().to_hex(), text("relayNonce"));
        assert_eq!(node.to_string(), text("nodeID"));
        assert_eq!(key, text("wgPublicKey"));
        assert_eq!(hex::encode(me.x25519_secret().as_slice()), text("seed"));

        assert_eq!(signed::register_signature(&me), text("registerSignature"));
        assert_eq!(signed::verify_register(node, text("registerSignature")), Ok(()));

        assert_eq!(signed::register_proof(&me, nonce, Some(&key)), text("relayProof"));
        assert_eq!(signed::verify_register_proof(node, nonce, Some(&key), text("relayProof")), Ok(()));
        assert_eq!(signed::register_proof(&me, nonce, None), text("relayProofWithoutKey"));
        assert_eq!(signed::verify_register_proof(node, nonce, None, text("relayProofWithoutKey")), Ok(()));
        let stripped = signed::verify_register_proof(node, nonce, None, text("relayProof"));
        assert_eq!(stripped, Err(IdentityError::BadSignature), "a relay that strips the key");

        let to: NodeId = text("offerTo").parse().unwrap();
        let session = SessionId::parse(text("offerSession")).unwrap();
        assert_eq!(signed::offer_signature(&me, to, &session), text("offerSignature"));
        assert_eq!(signed::verify_offer(node, to, &session, text("offerSignature")), Ok(()));
        let turned = signed::verify_offer(to, node, &session, text("offerSignature"));
        assert_eq!(turned, Err(IdentityError::BadSignature));

        let proof = signed::noise_static_signature(&me);
        assert_eq!(hex::encode(proof), text("noiseStaticSignature"));
        assert_eq!(signed::verify_noise_static(node, &me.x25519_public(), &proof), Ok(()));
        let other = signed::verify_noise_static(node, &X25519Public([9; 32]), &proof);
        assert_eq!(other, Err(IdentityError::BadSignature));
    }
}
