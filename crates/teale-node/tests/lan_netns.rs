//! The local network with real processes in network namespaces: discovery, a foreign judge (avahi), a firewall, a
//! frozen peer, a pulled cable.
//!
//! These tests need root, `ip`, `nft` and avahi; without them they skip aloud. They wait for real heartbeats and real
//! time-outs, so each may take half a minute.
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

use std::{path::Path, process::Command};

use common::{Running, finish, slow_model, tiny_as_model};
use netns::{Helper, World, skipped, until};
use serde_json::Value;

fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

fn linked(peers: &[Value]) -> usize {
    peers.iter().filter(|peer| peer["path"] == "lan" && peer["verified"] == true).count()
}

#[test]
fn five_nodes_find_each_other_and_avahi_sees_them() {
    let Some(world) = World::new(6) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let model = tiny_as_model();
    let mut nodes: Vec<(Running, Value)> = (1..=5)
        .map(|machine| {
            let more: &[&str] = if machine == 1 { &["--model", &model] } else { &[] };
            world.serve(machine, dir, more)
        })
        .collect();

    let ((), took) = until("all five are linked", || {
        (1..=5).all(|machine| linked(&world.peers(machine, dir)) == 4).then_some(())
    });
    println!("five nodes found each other {took:?} after the last of them was ready");
    let provider = nodes[0].1["node"].as_str().unwrap().to_owned();
    let (peer, _) = until("the provider's models and latency", || {
        let peers = world.peers(5, dir);
        peers.into_iter().find(|peer| peer["node"] == *provider && peer["latency_ms"].is_number())
    });
    assert_eq!(
        (&peer["path"], &peer["models"][0], &peer["encrypted"]),
        (&"lan".into(), &"tiny".into(), &true.into())
    );
    assert_eq!(peer["name"], "node1");

    avahi(&world, dir, &nodes);

    // A polite exit is seen at once: the record's time to live is over an hour.
    let (mut last, _) = nodes.pop().unwrap();
    last.signal("TERM");
    assert_eq!(last.wait(), Some(0), "{}", last.log());
    until("the goodbye is heard", || {
        let status = world.ask(1, dir, &["status"]);
        (status["lan"]["mdns"]["peers"] == 3 || status["lan"]["mdns"]["peers"] == 4).then_some(())
    });
}

/// avahi on the sixth machine sees the five, and what it publishes is seen by them.
fn avahi(world: &World, dir: &Path, nodes: &[(Running, Value)]) {
    if !["avahi-daemon", "avahi-browse", "avahi-publish-service", "dbus-daemon"]
        .iter()
        .all(|program| has(program))
    {
        return;
    }
    let space = world.space(6);
    let bus = dir.join("bus");
    let config = dir.join("bus.conf");
    let rules =
        r#"<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>"#;
    let text = format!(
        "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\">{rules}</policy></busconfig>",
        bus.display()
    );
    std::fs::write(&config, text).unwrap();
    let address = format!("unix:path={}", bus.display());
    let command = |program: &str| {
        let mut command = World::command(&space, program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &address);
        command
    };
    let config_flag = format!("--config-file={}", config.display());
    let _bus = Helper::start(command("dbus-daemon").args(["--nofork", "--nopidfile", &config_flag]));
    until("the message bus is there", || bus.exists().then_some(()));
    let avahi_config = dir.join("avahi.conf");
    std::fs::write(
        &avahi_config,
        "[server]\nhost-name=judge\nuse-ipv4=yes\nuse-ipv6=yes\nallow-interfaces=eth0\n",
    )
    .unwrap();
    // Its pid file has a fixed place: it gets a /run of its own, inside its own mounts.
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/avahi-daemon && \
         exec avahi-daemon --no-rlimits --no-drop-root --no-chroot --no-proc-title -f {}",
        avahi_config.display()
    );
    let _avahi = Helper::start(command("sh").args(["-c", &script]));

    let wanted: Vec<&str> = nodes.iter().map(|(_, ready)| ready["node"].as_str().unwrap()).collect();
    until("avahi lists all five with their TXT records", || {
        let output = finish(command("timeout").args(["20", "avahi-browse", "-rtpk", "_teale._tcp"]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        wanted.iter().all(|node| seen_by_avahi(&text, node)).then_some(())
    });

    // The page's example of a deployed peer: no node id, no key.
    let device = "5AF3A9C6-0E2B-4A64-9B2C-0D3A3A4F3B11";
    let _stranger = Helper::start(command("avahi-publish-service").args([
        "stranger",
        "_teale._tcp",
        "4242",
        &format!("deviceID={device}"),
        "chip=Apple M4 Pro",
        "ram=48",
        "version=1",
    ]));
    let id = teale_node::cluster::lan::device_node_id(device).to_string();
    until("avahi's service is found", || {
        world.peers(2, dir).into_iter().find(|peer| peer["node"] == *id && peer["verified"] == false)
    });
}

/// `avahi-browse -p` writes one resolved service a line: `=;eth0;IPv4;NAME;_teale._tcp;local;HOST;ADDRESS;PORT;TXT`.
fn seen_by_avahi(text: &str, node: &str) -> bool {
    text.lines().filter(|line| line.starts_with("=;eth0;")).any(|line| {
        let fields: Vec<&str> = line.splitn(10, ';').collect();
        let [.., address, port, txt] = fields.as_slice() else { return false };
        let has = |key: &str| txt.contains(&format!("\"{key}="));
        txt.contains(&format!("\"nodeID={node}\""))
            && ["deviceID", "chip", "ram", "wg"].iter().all(|key| has(key))
            && txt.contains("\"version=1\"")
            && *port == "11436"
            && (address.starts_with("10.77.0.") || address.contains(':'))
    })
}

#[test]
fn blocked_multicast_is_named_and_an_address_still_works() {
    if !has("nft") {
        return;
    }
    let Some(world) = World::new(2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for machine in [1, 2] {
        let space = world.space(machine);
        if !finish(World::command(&space, "nft").args(["list", "ruleset"])).status.success() {
            return skipped("the kernel has no nftables");
        }
        for rule in [
            "add table inet wall",
            "add chain inet wall in { type filter hook input priority 0; }",
            "add rule inet wall in udp dport 5353 drop",
        ] {
            let done = finish(World::command(&space, "nft").arg(rule));
            assert!(done.status.success(), "{rule}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
    let model = tiny_as_model();
    let (_provider, ready) = world.serve(1, dir, &["--model", &model]);
    let (alone, _) = world.serve(2, dir, &[]);
    let (log, took) = until("the log says what was looked at", || {
        Some(alone.log()).filter(|log| log.contains("nobody found on eth0"))
    });
    println!("said {took:?} after the node was ready");
    assert!(log.contains("0 of others seen") && log.contains("5353") && log.contains("--peer"), "{log}");
    let status = world.ask(2, dir, &["status"]);
    let diagnosis = status["lan"]["diagnosis"].as_str().unwrap();
    assert!(diagnosis.starts_with("nobody found on eth0: "), "{diagnosis}");
    let nics = status["lan"]["interfaces"].as_array().unwrap();
    let nic = |name: &str| nics.iter().find(|nic| nic["name"] == name).unwrap();
    assert_eq!((&nic("eth0")["used"], &nic("lo")["reason"]), (&true.into(), &"the loopback".into()));
    assert_eq!(nic("up0")["reason"], "excluded by name");
    assert!(world.peers(2, dir).is_empty());
    drop(alone);

    let (_asker, _) = world.serve(2, dir, &["--peer", "10.77.0.1"]);
    until("the peer given by address", || (linked(&world.peers(2, dir)) == 1).then_some(()));
    let status = world.ask(2, dir, &["status"]);
    assert_eq!(status["lan"]["peers"][0]["node"], ready["node"]);
    let answer = world.ask(2, dir, &["chat", "--model", "tiny", "--max-tokens", "4", "hello"]);
    assert_eq!((&answer["path"], &answer["node"]), (&"lan".into(), &ready["node"]));
}

#[test]
fn a_copied_identity_is_named_on_both_machines() {
    let Some(world) = World::new(2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (_original, first) = world.serve(1, dir, &[]);
    let copy = dir.join("node2");
    std::fs::create_dir_all(&copy).unwrap();
    std::fs::copy(dir.join("node1/wan-identity.key"), copy.join("wan-identity.key")).unwrap();
    let (_copy, second) = world.serve(2, dir, &[]);
    assert_eq!(first["node"], second["node"]);
    for machine in [1, 2] {
        let (warning, took) = until("the copy is named", || {
            world.ask(machine, dir, &["status"])["lan"]["warnings"][0].as_str().map(str::to_owned)
        });
        println!("named after {took:?}: {warning}");
        assert!(warning.contains("identity file was copied"), "{warning}");
    }
}

/// Takes about 40 s: three heartbeats of 5 s have to be missed, on both sides of the test.
#[test]
fn a_frozen_peer_leaves_routing_and_returns_by_itself() {
    let Some(world) = World::new(2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (frozen, ready) = world.serve(1, dir, &[]);
    let (_watcher, _) = world.serve(2, dir, &[]);
    let peer = || world.peers(2, dir).into_iter().find(|peer| peer["node"] == ready["node"]);
    until("they are linked", || {
        peer().filter(|peer| peer["latency_ms"].is_number() && peer["healthy"] == true)
    });
    frozen.signal("STOP");
    let (reason, took) = until("routing leaves it out", || peer().filter(|peer| peer["healthy"] == false));
    println!("left out after {took:?}: {}", reason["reason"]);
    frozen.signal("CONT");
    let (_, took) = until("it returns", || {
        peer()
            .filter(|peer| peer["healthy"] == true && peer["path"] == "lan" && peer["latency_ms"].is_number())
    });
    println!("back after {took:?}");
}

/// Takes about a minute: a model that is slow enough to pull a cable in the middle of its answer is made and run
/// twice.
#[test]
fn an_answer_survives_a_pulled_cable() {
    let Some(world) = World::new(2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let relay = Running::start(World::teale(&world.switch(), &dir.join("relay")).args([
        "relay",
        "--json",
        "--listen",
        "10.78.0.254:0",
    ]));
    let url = relay.json()["url"].as_str().unwrap().to_owned();
    let model = format!("slow={}", slow_model(dir).display());
    let (_provider, ready) = world.serve(1, dir, &["--relay", &url, "--model", &model, "--slots", "2"]);
    let (_asker, _) = world.serve(2, dir, &["--relay", &url]);
    until("they are linked", || (linked(&world.peers(2, dir)) == 1).then_some(()));

    let chat = || {
        let mut chat = World::teale(&world.space(2), &dir.join("node2"));
        chat.args([
            "chat",
            "--json",
            "--model",
            "slow",
            "--temperature",
            "0",
            "--max-tokens",
            "800",
            "Once upon a time",
        ]);
        chat
    };
    let began = std::time::Instant::now();
    let undisturbed: Value = serde_json::from_slice(&finish(&mut chat()).stdout).unwrap();
    let whole = began.elapsed();
    assert_eq!((&undisturbed["path"], &undisturbed["node"]), (&"lan".into(), &ready["node"]));

    let disturbed = Running::start(&mut chat());
    until("the answer is under way", || {
        let status = world.ask(1, dir, &["status"]);
        (status["slots_busy"].as_u64() > Some(0)).then_some(())
    });
    // As far into it on a fast machine as on a slow one.
    std::thread::sleep(whole / 4);
    world.cable(2, false);
    let status = world.ask(1, dir, &["status"]);
    assert!(status["slots_busy"].as_u64() > Some(0), "the answer was over before the cable was pulled");
    let answer = disturbed.json();
    assert_eq!(answer["text"], undisturbed["text"], "a chunk was lost or doubled");
    assert_eq!(answer["finish_reason"], undisturbed["finish_reason"]);
    let (_, took) = until("the relay carries on", || {
        world.peers(2, dir).into_iter().find(|peer| peer["node"] == ready["node"] && peer["path"] == "relay")
    });
    println!("on the relay {took:?} after the answer");
    world.cable(2, true);
    let (_, took) = until("back on the local network", || (linked(&world.peers(2, dir)) == 1).then_some(()));
    println!("back on the local network {took:?} after the cable was");
}
