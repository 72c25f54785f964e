"""One end of a Teale session, made of PyPI's noiseprotocol and cryptography: the judge of ours.

    noise_peer.py initiator|responder SEED PEER_NODE_ID PEER_X25519 proof|bare

Lines of text on stdin and stdout, bytes in hex. First the handshake: an initiator prints `packet HEX` and reads a
packet; a responder reads a packet and prints one. Both then print `done HANDSHAKE_HASH PEER_TIMESTAMP`, or `refused
WHY` and end. After that, until stdin closes: `seal COUNTER PLAINTEXT` gives `packet HEX`; `open PACKET` gives
`plaintext HEX` or `refused WHY`.
"""

import struct
import sys
import time

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import NoiseInvalidMessage

NAME = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
STATIC_PREFIX = b"teale-noise-static-v1:"


def say(*words):
    print(*words, flush=True)


def hear():
    line = sys.stdin.readline()
    return line.split()


def make_payload(seed, with_proof):
    now = time.time_ns()
    payload = struct.pack(">QI", now // 10**9, now % 10**9)
    if with_proof:
        signer = Ed25519PrivateKey.from_private_bytes(seed)
        static = X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        payload += b"\x01" + signer.public_key().public_bytes_raw() + signer.sign(STATIC_PREFIX + static)
    return payload


def check_payload(payload, peer_node, peer_static, with_proof):
    seconds, nanos = struct.unpack(">QI", payload[:12])
    if with_proof:
        assert payload[12] == 1, "no proof"
        assert payload[13:45] == peer_node, "another node id"
        assert len(payload) == 109, "length of the proof"
        Ed25519PublicKey.from_public_bytes(peer_node).verify(payload[45:109], STATIC_PREFIX + peer_static)
    return f"{seconds}.{nanos:09}"


def remote_static(connection):
    return connection.noise_protocol.handshake_state.rs.public_bytes


def handshake(role, seed, peer_node, peer_static, with_proof):
    connection = NoiseConnection.from_name(NAME)
    connection.set_keypair_from_private_bytes(Keypair.STATIC, seed)
    if role == "initiator":
        connection.set_as_initiator()
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, peer_static)
        connection.start_handshake()
        say("packet", (b"\x01" + connection.write_message(make_payload(seed, with_proof))).hex())
        packet = bytes.fromhex(hear()[0])
        assert packet[0] == 2, "type byte"
        payload = connection.read_message(packet[1:])
        stamp = check_payload(payload, peer_node, peer_static, with_proof)
    else:
        connection.set_as_responder()
        connection.start_handshake()
        packet = bytes.fromhex(hear()[0])
        assert packet[0] == 1, "type byte"
        payload = connection.read_message(packet[1:])
        stamp = check_payload(payload, peer_node, remote_static(connection), with_proof)
        say("packet", (b"\x02" + connection.write_message(make_payload(seed, with_proof))).hex())
    assert connection.handshake_finished
    say("done", connection.get_handshake_hash().hex(), stamp)
    return connection.noise_protocol


def seal(state, counter, plaintext):
    head = struct.pack("<Q", counter)
    if len(plaintext) + 16 <= 65535:
        state.n = counter
        return head + state.encrypt_with_ad(b"", plaintext)
    return head + ChaCha20Poly1305(state.k).encrypt(bytes(4) + head, plaintext, b"")


def open_(state, packet):
    head, sealed = packet[:8], packet[8:]
    if len(sealed) <= 65535:
        state.n = struct.unpack("<Q", head)[0]
        return state.decrypt_with_ad(b"", sealed)
    return ChaCha20Poly1305(state.k).decrypt(bytes(4) + head, sealed, b"")


def main():
    role, seed, peer_node, peer_static, proof = sys.argv[1:]
    seed, peer_node, peer_static = (bytes.fromhex(text) for text in (seed, peer_node, peer_static))
    try:
        protocol = handshake(role, seed, peer_node, peer_static, proof == "proof")
    except (AssertionError, InvalidSignature, InvalidTag, NoiseInvalidMessage) as error:
        say("refused", type(error).__name__, str(error).replace(" ", "_"))
        return
    while words := hear():
        if words[0] == "seal":
            plaintext = bytes.fromhex(words[2]) if len(words) > 2 else b""
            say("packet", seal(protocol.cipher_state_encrypt, int(words[1]), plaintext).hex())
        else:
            try:
                say("plaintext", open_(protocol.cipher_state_decrypt, bytes.fromhex(words[1])).hex())
            except (InvalidTag, NoiseInvalidMessage) as error:
                say("refused", type(error).__name__)


main()
