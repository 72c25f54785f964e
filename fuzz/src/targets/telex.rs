//! Telexes: any bytes are read or refused, and what is written is read as the same.

use teale_wire::{
    Fault, limits,
    telehash::{LINE_MAX, RING_MAX, Telex},
};

/// Reads, writes and reads again.
pub fn run(data: &[u8]) {
    let telex = match Telex::parse(data) {
        Ok(telex) => telex,
        Err(error) => {
            assert_eq!(error.fault(), Fault::Peer);
            return;
        }
    };
    assert!(data.len() <= limits::TELEX);
    assert!(telex.ring.is_none_or(|ring| (1..=RING_MAX).contains(&ring)));
    assert!(telex.line.is_none_or(|line| (1..=LINE_MAX).contains(&line)));
    let rules = telex.tap.as_deref().unwrap_or_default();
    assert!(rules.len() <= limits::TAP_RULES);
    for rule in rules {
        assert!((1..=limits::TAP_KEYS).contains(&(rule.is().count() + rule.has().count())));
        assert!(!rule.matches(&Default::default()), "a rule that asks for nothing");
    }
    _ = (telex.end(), telex.pop(), telex.is_dial());
    match telex.encode() {
        Ok(bytes) => {
            assert!(bytes.len() <= limits::TELEX_SENT);
            let Ok(again) = Telex::parse(&bytes) else { panic!("what was written cannot be read") };
            let seen = |telex: &Telex| telex.see.clone().unwrap_or_default();
            assert!(seen(&telex).starts_with(&seen(&again)), "`.see` is cut, not changed");
            assert_eq!(Telex { see: None, ..again }, Telex { see: None, ..telex });
        }
        // What is read may be a little longer than what is sent.
        Err(error) => assert_eq!(error.fault(), Fault::Caller),
    }
}
