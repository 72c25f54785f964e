//! The DHT across real NATs, in network namespaces: the seeker is at home behind a router, the provider out in the world or
//! in a cellar behind another one, and no relay is there. Needs root, `ip` and `nft`; without them it skips aloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(all(feature = "llama", target_os = "linux"))]

mod common;
mod netns;

use std::{io::Write, process::Command, process::Stdio, time::Instant};

use common::{LIMIT, Running, finish, tiny_as_model};
use netns::{World, skipped, until};
use serde_json::Value;

/// What a router does: one public address for the home, and nothing comes in that was not asked for. What it drops it does not
/// track: otherwise the first packet from outside would take the port that the home's own packet needs.
const ROUTER: &str = "
table ip home {
    chain inward { type filter hook input priority filter; policy drop;
        iifname \"home\" accept; ct state established,related accept; }
    chain out { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }
    chain through { type filter hook forward priority filter; policy drop;
        iifname \"home\" accept; ct state established,related accept; }
}
";

/// A world (198.51.100.0/24, RFC 5737) with a seed, a provider and two routers, and a home and a cellar behind them.
struct Street(String);

/// Routers, their last byte in the world, and what is behind them in which network.
const ROUTERS: [(&str, u8, &str, u8); 2] = [("router", 3, "home", 7), ("gate", 4, "cellar", 8)];

impl Street {
    fn new(test: &str) -> Option<Self> {
        let street = Self(format!("ts{}{test}", std::process::id()));
        if let Err(why) = street.build() {
            skipped(&format!("a NAT cannot be made (root, iproute2 and nftables are needed): {why}"));
            return None;
        }
        Some(street)
    }

    fn space(&self, name: &str) -> String {
        format!("{}-{name}", self.0)
    }

    fn build(&self) -> Result<(), String> {
        let run = |text: &str| -> Result<(), String> {
            let words = text.split_whitespace().map(|word| match word.strip_prefix('@') {
                Some(name) => self.space(name),
                None => word.to_owned(),
            });
            let output = Command::new("ip").args(words).output().map_err(|error| error.to_string())?;
            let failed = || format!("ip {text}: {}", String::from_utf8_lossy(&output.stderr).trim());
            output.status.success().then_some(()).ok_or_else(failed)
        };
        for name in ["world", "seed", "provider", "router", "home", "gate", "cellar"] {
            run(&format!("netns add @{name}"))?;
            run(&format!("-n @{name} link set lo up"))?;
        }
        run("netns exec @world true")?;
        run("-n @world link add street type bridge")?;
        run("-n @world link set street up")?;
        for (number, name) in [(1, "seed"), (2, "provider"), (3, "router"), (4, "gate")] {
            run(&format!("-n @world link add port{number} type veth peer name wan netns @{name}"))?;
            run(&format!("-n @world link set port{number} master street up"))?;
            run(&format!("-n @{name} addr add 198.51.100.{number}/24 dev wan"))?;
            run(&format!("-n @{name} link set wan up"))?;
        }
        for (router, _, behind, net) in ROUTERS {
            run(&format!("-n @{router} link add home type veth peer name eth0 netns @{behind}"))?;
            run(&format!("-n @{router} addr add 192.168.{net}.1/24 dev home"))?;
            run(&format!("-n @{router} link set home up"))?;
            run(&format!("-n @{behind} addr add 192.168.{net}.2/24 dev eth0"))?;
            run(&format!("-n @{behind} link set eth0 up"))?;
            run(&format!("-n @{behind} route add default via 192.168.{net}.1"))?;
            self.route(router)?;
        }
        Ok(())
    }

    fn route(&self, router: &str) -> Result<(), String> {
        let router = self.space(router);
        let forward = World::command(&router, "sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]).output();
        forward.map_err(|error| error.to_string())?;
        let mut nft = World::command(&router, "nft");
        let mut nft =
            nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let written = nft.stdin.take().map(|mut stdin| stdin.write_all(ROUTER.as_bytes()));
        written.transpose().map_err(|error| error.to_string())?;
        let ended = nft.wait().map_err(|error| error.to_string())?;
        ended.success().then_some(()).ok_or_else(|| "nft refused the rules".to_owned())
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        for name in ["home", "router", "cellar", "gate", "provider", "seed", "world"] {
            let _ = Command::new("ip").args(["netns", "del", &self.space(name)]).output();
        }
    }
}

/// A seed in the world and a provider somewhere, which can be found.
fn begin(street: &Street, folder: &std::path::Path, place: &str) -> (Running, Running, Value) {
    let teale = |name: &str| World::teale(&street.space(name), &folder.join(name));
    let seed = ["-v", "dht", "serve", "--json", "--listen", "198.51.100.1:42424"];
    let seed = Running::start(teale("seed").args(seed));
    seed.json();
    let mut provider = teale(place);
    provider.args(["-v", "serve", "--api", "127.0.0.1:0", "--model", &tiny_as_model()]).args(DHT);
    let provider = Running::start(&mut provider);
    let ready = provider.json();
    let began = Instant::now();
    until("the provider can be found", || {
        let output = finish(teale(place).args(["dht", "status", "--json"]));
        let late = began.elapsed() > LIMIT / 2;
        assert!(!late, "{output:?}\nprovider:\n{}\nseed:\n{}", provider.log(), seed.log());
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status["taps"].as_array()?.iter().any(|tap| tap["switches"].as_u64() > Some(0)).then_some(())
    });
    (seed, provider, ready)
}

const DHT: [&str; 5] = ["--no-lan", "--dht", "--dht-seed", "198.51.100.1:42424", "--json"];

#[test]
fn a_question_from_one_home_to_another_needs_neither_relay_nor_tcp() {
    let Some(street) = Street::new("q") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_seed, provider, ready) = begin(&street, folder.path(), "cellar");
    let began = Instant::now();
    let mut ask = World::teale(&street.space("home"), &folder.path().join("home"));
    ask.args(["-v", "dht", "ask", "--json", "--seed", "198.51.100.1:42424", "--model", "tiny"]);
    let output = finish(ask.args(["--max-tokens", "16", "--temperature", "0", "hello"]));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\nprovider:\n{}", provider.log());
    println!("a question through two NATs, over the DHT, took {:?}", began.elapsed());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["node"], &answer["usage"]["completion_tokens"]), (&ready["node"], &16.into()));
}

#[test]
fn a_seeker_behind_a_nat_finds_a_provider_and_the_hole_is_opened_for_it() {
    let Some(street) = Street::new("c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dir = |name: &str| folder.path().join(name);
    let teale = |name: &str| World::teale(&street.space(name), &dir(name));
    let (_seed, provider, ready) = begin(&street, folder.path(), "provider");

    let began = Instant::now();
    let mut chat = teale("home");
    chat.args(["-v", "chat", "--model", "tiny", "--max-tokens", "16"]).args(DHT).arg("hello");
    let output = finish(&mut chat);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\nprovider:\n{}", provider.log());
    println!("a chat through a NAT, over the DHT, took {:?}", began.elapsed());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["node"], ready["node"]);
    assert_eq!((&answer["encrypted"], &answer["verified"]), (&true.into(), &true.into()));

    let status = finish(teale("provider").args(["dht", "status", "--json"]));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status["met"].as_u64() > Some(0), "the seeker was met over the hole: {status}");
}
