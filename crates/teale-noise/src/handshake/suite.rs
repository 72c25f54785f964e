//! `Noise_IK_25519_ChaChaPoly_BLAKE2s` for snow: its own cipher and hash, and a Diffie-Hellman that wipes its keys
//! and refuses points of small order.

use snow::{
    Builder, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use teale_identity::{Identity, X25519Public};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::NoiseError;

const SUITE: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// Where ephemeral keys come from.
#[derive(Clone, Copy)]
pub(super) enum Entropy {
    /// The operating system.
    System,
    /// A test vector.
    #[cfg(test)]
    Fixed([u8; 32]),
}

/// The state of the side that knows the other's static key and speaks first.
pub(super) fn initiator(
    me: &Identity,
    peer: &X25519Public,
    entropy: Entropy,
) -> Result<HandshakeState, NoiseError> {
    let secret = me.x25519_secret();
    let builder = builder(entropy)?.local_private_key(secret.as_slice())?;
    Ok(builder.remote_public_key(peer.as_bytes())?.build_initiator()?)
}

/// The state of the side that is spoken to.
pub(super) fn responder(me: &Identity, entropy: Entropy) -> Result<HandshakeState, NoiseError> {
    let secret = me.x25519_secret();
    Ok(builder(entropy)?.local_private_key(secret.as_slice())?.build_responder()?)
}

fn builder<'a>(entropy: Entropy) -> Result<Builder<'a>, NoiseError> {
    Ok(Builder::with_resolver(SUITE.parse()?, Box::new(Resolver(entropy))))
}

struct Resolver(Entropy);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Source(self.0)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(WipedX25519::from([0; 32]))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Source(Entropy);

impl Random for Source {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        match self.0 {
            Entropy::System => getrandom::fill(dest).map_err(|_| snow::Error::Rng),
            #[cfg(test)]
            Entropy::Fixed(bytes) => {
                dest.copy_from_slice(&bytes);
                Ok(())
            }
        }
    }
}

/// X25519 (RFC 7748). `StaticSecret` wipes itself when dropped or replaced.
struct WipedX25519 {
    secret: StaticSecret,
    public: PublicKey,
}

impl From<[u8; 32]> for WipedX25519 {
    fn from(secret: [u8; 32]) -> Self {
        let secret = StaticSecret::from(secret);
        Self { public: PublicKey::from(&secret), secret }
    }
}

impl Dh for WipedX25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        let mut bytes = Zeroizing::new([0; 32]);
        for (byte, given) in bytes.iter_mut().zip(privkey) {
            *byte = *given;
        }
        *self = Self::from(*bytes);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(bytes.as_mut_slice())?;
        *self = Self::from(*bytes);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let theirs = pubkey.first_chunk::<32>().ok_or(snow::Error::Dh)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(*theirs));
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        out.get_mut(..32).ok_or(snow::Error::Dh)?.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}
