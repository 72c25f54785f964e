//! A big model pulled by real processes over LAN links from two sources: one is killed half-way, then the receiver, which
//! starts again; and one whose disk corrupts what it gives. A forwarder before each source counts what goes over the wire.
//!
//! `SHARE_MEGABYTES=1000 cargo test -p teale-node --test share_kills -- --nocapture` does it with a gigabyte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]
#![cfg(unix)]

mod common;

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use common::{LIMIT, Running, finish, program};
use serde_json::Value;

const MODEL: &str = "org/noise-1";
const FILE: &str = "noise.gguf";

/// Stands before a source and counts the bytes that it sends.
struct Counter {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Counter {
    fn before(source: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counter = Self { address: listener.local_addr().unwrap(), bytes: Arc::default() };
        let bytes = Arc::clone(&counter.bytes);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(source) else { continue };
                forward(near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::default());
                forward(far, near, Arc::clone(&bytes));
            }
        });
        counter
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, count: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            count.fetch_add(length as u64, Relaxed);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

/// Bytes that nothing makes smaller, the same each time.
fn noise(path: &Path, length: u64) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..length / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn is_same(one: &Path, other: &Path) -> bool {
    let open = |path: &Path| BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let (mut one, mut other) = (open(one), open(other));
    let (mut a, mut b) = (vec![0; 1 << 20], Vec::new());
    loop {
        let length = one.read(&mut a).unwrap();
        b.resize(length.max(1), 0);
        match length {
            0 => return other.read(&mut b).unwrap() == 0,
            _ if other.read_exact(&mut b).is_err() || a[..length] != b[..] => return false,
            _ => {}
        }
    }
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("models/org%2Fnoise-1")
}

/// A node that offers what lies in its folder, so many bytes per second.
fn giver(dir: &Path, rate: u64) -> (Running, Counter, Value) {
    let config = dir.join("config.toml");
    std::fs::write(&config, format!("[share]\nenabled = true\ncaches = false\nupload_rate = {rate}\n"))
        .unwrap();
    // It takes part in the local network for a peer's sake, who is not there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let args = ["serve", "--json", "--no-relay", "--api", "127.0.0.1:0", "--lan-listen", "127.0.0.1:0"];
    let node = Running::start(program(dir).args(args).args([
        "--peer",
        &nobody,
        "--config",
        config.to_str().unwrap(),
    ]));
    let ready = node.json();
    let status = finish(program(dir).args(["status", "--json"]));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let address = status["lan"]["listening"][0].as_str().unwrap().parse().unwrap();
    (node, Counter::before(address), ready["node"].clone())
}

fn pull(dir: &Path, sources: &[&Counter]) -> Running {
    let mut command = program(dir);
    command.args(["models", "pull", MODEL, "--json", "--no-relay"]);
    for source in sources {
        command.args(["--peer", &source.address.to_string()]);
    }
    Running::start(&mut command)
}

/// Lines of progress until one says what is wanted, which may be the last one.
fn until(pull: &Running, is: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    let mut done = 0;
    loop {
        let line = pull.json();
        assert_ne!(line["event"], "error", "{line}\n{}", pull.log());
        let now = line["done"].as_u64().unwrap_or(done);
        assert!(now >= done, "progress goes back");
        done = now;
        if is(&line) {
            return line;
        }
        assert_ne!(line["event"], "done", "too early: {line}");
        assert!(started.elapsed() < 2 * LIMIT, "{line}");
    }
}

fn megabytes() -> u64 {
    std::env::var("SHARE_MEGABYTES").map_or(256, |text| text.parse().unwrap())
}

#[test]
fn a_killed_source_and_a_killed_receiver_cost_two_in_a_hundred_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let size = megabytes() * 1_000_000;
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for given in [&one, &two] {
        std::fs::create_dir_all(folder(given)).unwrap();
    }
    let file = folder(&one).join(FILE);
    noise(&file, size);
    std::fs::hard_link(&file, folder(&two).join(FILE)).unwrap();
    let rate = (size / 12).max(20_000_000);
    let (mut one, first, _) = giver(&one, rate);
    let (_two, second, _) = giver(&two, rate);

    let taker = dir.path().join("taker");
    let mut run = pull(&taker, &[&first, &second]);
    let line = until(&run, |line| line["done"].as_u64().unwrap_or(0) >= size * 4 / 10);
    let bytes: Vec<u64> =
        line["sources"].as_array().unwrap().iter().map(|s| s["bytes"].as_u64().unwrap()).collect();
    assert!(bytes.len() == 2 && bytes.iter().all(|bytes| *bytes > 0), "both give: {line}");
    one.kill();
    println!("one source killed at {}", line["done"]);
    let line = until(&run, |line| line["done"].as_u64().unwrap_or(0) >= size * 6 / 10);
    run.kill();
    println!("the receiver killed at {}", line["done"]);
    drop(run);

    let run = pull(&taker, &[&first, &second]);
    let last = until(&run, |line| line["event"] == "done");
    let came = first.bytes() + second.bytes();
    // A chunk is base64; what is sent besides (lists of blocks, JSON, seals) is counted as if it were file.
    let fetched = came * 3 / 4;
    println!(
        "the second run fetched {}; {came} bytes over the wire are {fetched} of the file, {:.4} of its {size}",
        last["fetched"],
        fetched as f64 / size as f64
    );
    assert!(is_same(&file, &folder(&taker).join(FILE)), "not what was offered");
    assert!(fetched <= size * 102 / 100, "{fetched} bytes were fetched for {size}");
    assert!(fetched >= size, "the forwarders have not seen everything");
}

#[test]
fn a_source_that_corrupts_is_named_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let size = megabytes() * 1_000_000 / 4;
    let [good, bad] = ["good", "bad"].map(|name| dir.path().join(name));
    for given in [&good, &bad] {
        std::fs::create_dir_all(folder(given)).unwrap();
        noise(&folder(given).join(FILE), size);
    }
    let file = folder(&good).join(FILE);
    let (_good, honest, _) = giver(&good, 40_000_000);
    let bent = folder(&bad).join(FILE);
    let (_bad, liar, culprit) = giver(&bad, 40_000_000);
    // It has hashed its file when somebody has it from there; then its disk changes bytes behind its back.
    let before = dir.path().join("before");
    until(&pull(&before, &[&liar]), |line| line["event"] == "done");
    assert!(is_same(&file, &folder(&before).join(FILE)));
    let modified = std::fs::metadata(&bent).unwrap().modified().unwrap();
    let disk = File::options().write(true).open(&bent).unwrap();
    for megabyte in 0..size >> 20 {
        std::os::unix::fs::FileExt::write_all_at(&disk, b"x", (megabyte << 20) + 4321).unwrap();
    }
    disk.set_modified(modified).unwrap();
    assert!(!is_same(&file, &bent));

    let taker = dir.path().join("taker");
    let run = pull(&taker, &[&honest, &liar]);
    let is_culprit = |source: &&Value| source["node"] == culprit;
    until(&run, |line| {
        let source = line["sources"].as_array().and_then(|sources| sources.iter().find(is_culprit));
        source.is_some_and(|source| source["state"].as_str().unwrap().contains("corrupt"))
    });
    until(&run, |line| line["event"] == "done");
    assert!(is_same(&file, &folder(&taker).join(FILE)), "not what was offered");
    assert!(run.log().contains("a source is dropped"), "{}", run.log());
}
