//! Where things are in the DHT.

use sha1::{Digest, Sha1};
use teale_wire::telehash::{End, Ipp};

/// The end of a text, a name or any bytes: their SHA-1.
pub fn end_of(text: impl AsRef<[u8]>) -> End {
    End::from_bytes(Sha1::digest(text.as_ref()).into())
}

/// The place of a switch: the SHA-1 of its IP:PORT as text.
pub fn end_of_switch(ipp: Ipp) -> End {
    end_of(ipp.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and ends from the sheet's §1.1: those of switches were seen on the network of 2011.
    const VECTORS: &[(&str, &str)] = &[
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("1.2.3.4:5678", "d1e6ab0abf65d832ddb02af1b787eab2dc023d82"),
        ("208.68.163.247:42424", "38666817e1b38470644e004b9356c1622368fa57"),
        ("208.68.160.25:32771", "f5afee2b0416a654f913c0cbb279aca78f97f192"),
        ("208.68.164.253:42424", "6b2cab05f0c2c15408c24338daa8f9660e61ae90"),
        ("196.215.48.190:44760", "73169b562386961811c865923bfb2442540b5070"),
        ("127.0.0.1:42424", "9ad31810adba2348e6a8c9b5404cfae3371e01b1"),
    ];

    #[test]
    fn ends_are_sha1_of_the_text() {
        for (text, end) in VECTORS {
            assert_eq!(end_of(text).to_string(), *end, "{text}");
            if let Ok(ipp) = text.parse() {
                assert_eq!(end_of_switch(ipp).to_string(), *end, "{text}");
            }
        }
    }

    #[test]
    fn buckets_are_those_of_the_ends() {
        // The last two by Python's integers; the sheet has them as 158 and 159, which its own ends contradict.
        let buckets = [
            ("1.2.3.4:5678", "abc", Some(158)),
            ("208.68.163.247:42424", "208.68.164.253:42424", Some(158)),
            ("abc", "abc", None),
            ("196.215.48.190:44760", "208.68.160.25:32771", Some(159)),
            ("196.215.48.190:44760", "208.68.164.253:42424", Some(156)),
        ];
        for (one, other, bucket) in buckets {
            assert_eq!(end_of(one).bucket(end_of(other)), bucket, "{one} and {other}");
        }
    }
}
