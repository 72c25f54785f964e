//! `bench NAME`: the benches that print ratios. None of them is a test: a busy machine makes them worse, not red.

use crate::{
    Failure,
    process::{self, cargo},
};

/// A bench: its name here, its package, its cargo name, and what it prints.
const BENCHES: &[(&str, &str, &str, &str)] = &[
    ("relay", "teale-relay-server", "forward", "CPU per forwarded message over that of a plain copier"),
    ("seal", "teale-noise", "seal", "sealing and opening over the raw AEAD"),
    ("engine", "teale-infer", "engine", "tokens/s of one slot and of four"),
    ("share", "teale-cluster", "share", "MB/s of a pulled model over those of a plain TCP copy with SHA-256"),
    (
        "chat",
        "teale-cluster",
        "chat",
        "time between tokens during a pull over the same link, and without one",
    ),
    ("telehash", "teale-telehash", "lookups", "lookups in worlds of 100 to 50,000 TeleHash switches"),
    ("telexes", "teale-telehash", "telexes", "telexes one core parses and answers in a second"),
    ("overhead", "teale-node", "overhead", "tokens/s through API, relay and Noise over the engine alone"),
];

/// Runs one bench, or lists them.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let Some(wanted) = args.first() else {
        for (name, _, _, prints) in BENCHES {
            println!("{name:10} {prints}");
        }
        return Ok(());
    };
    let Some((_, package, bench, _)) = BENCHES.iter().find(|(name, ..)| name == wanted) else {
        return Err(format!("there is no bench `{wanted}`; `cargo xtask bench` lists them"));
    };
    process::run(cargo(["bench", "--package", package, "--bench", bench, "--"]).args(&args[1..]))
}
