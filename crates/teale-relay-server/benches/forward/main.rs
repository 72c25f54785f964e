//! What forwarding costs: processor time of a relay per message, over that of a program that only copies the same
//! bytes between the same sockets.
//!
//! `cargo bench -p teale-relay-server --bench forward [-- SECONDS ROUNDS]`
//!
//! The relay and the copier are two processes on one processor, the load is a third on another one. In each scenario
//! messages circulate between the two clients of each pair, so many at a time; relay and copier take turns, and the best
//! turn of each counts (what disturbs a measurement only adds to it). The median of the turns' ratios is printed too.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

mod copier;
mod load;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use teale_relay_server::{RelayLimits, RelayServer, RelayServerConfig};

const ROLE: &str = "TEALE_FORWARD_ROLE";
/// The processor of the measured programs, and that of the load.
const MEASURED: usize = 0;
const LOAD: usize = 1;

pub(crate) struct Scenario {
    name: &'static str,
    /// The JSON text of a message, in bytes.
    size: usize,
    in_flight: usize,
    pairs: usize,
    aim: f64,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "1 KiB, one in flight", size: 1 << 10, in_flight: 1, pairs: 16, aim: 1.05 },
    Scenario { name: "1 KiB, 16 in flight", size: 1 << 10, in_flight: 16, pairs: 16, aim: 1.20 },
    Scenario { name: "16 KiB, 16 in flight", size: 16 << 10, in_flight: 16, pairs: 16, aim: 1.50 },
    Scenario { name: "256 KiB, 4 in flight", size: 256 << 10, in_flight: 4, pairs: 16, aim: 1.40 },
];

fn main() {
    match env::var(ROLE).as_deref() {
        Ok("relay") => return relay(),
        Ok("copier") => return copier::run(),
        _ => {}
    }
    let numbers: Vec<f64> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    let turn = Duration::from_secs_f64(numbers.first().copied().unwrap_or(0.7));
    let rounds = numbers.get(1).map_or(7, |rounds| *rounds as usize);
    let alone = pin(LOAD);
    println!("processor time per message, relay over copier; {rounds} turns of {turn:?} each, best turn");
    if !alone {
        println!("(one processor only: the load shares it)");
    }
    println!(
        "{:<22} {:>9} {:>9} {:>7} {:>8} {:>6} {:>10}",
        "scenario", "relay µs", "copy µs", "ratio", "(median)", "aim", "relay msg/s"
    );
    for scenario in SCENARIOS {
        measure(&scenario, turn, rounds);
    }
}

/// Runs a scenario on fresh processes.
fn measure(scenario: &Scenario, turn: Duration, rounds: usize) {
    let mut relay = Measured::start("relay");
    let mut copier = Measured::start("copier");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let through_relay = load::Load::start(relay.address, scenario, true).await;
        let through_copier = load::Load::start(copier.address, scenario, false).await;
        let (mut relays, mut copies, mut ratios, mut rate) = (Vec::new(), Vec::new(), Vec::new(), 0.0f64);
        for _ in 0..rounds {
            let (cost, count) = cost(&mut relay, &through_relay, turn).await;
            let (copy, _) = self::cost(&mut copier, &through_copier, turn).await;
            rate = rate.max(count / turn.as_secs_f64());
            relays.push(cost);
            copies.push(copy);
            ratios.push(cost / copy);
        }
        ratios.sort_by(f64::total_cmp);
        let best = |costs: &[f64]| costs.iter().copied().fold(f64::INFINITY, f64::min);
        let (relay, copy) = (best(&relays), best(&copies));
        println!(
            "{:<22} {relay:>9.2} {copy:>9.2} {:>7.3} {:>8.3} {:>6.2} {rate:>10.0}",
            scenario.name,
            relay / copy,
            ratios[ratios.len() / 2],
            scenario.aim,
        );
    });
    relay.stop();
    copier.stop();
}

/// Microseconds of the process per message in one turn, and how many messages that were.
async fn cost(process: &mut Measured, load: &load::Load, turn: Duration) -> (f64, f64) {
    load.resume();
    tokio::time::sleep(turn / 5).await;
    let (time, count) = (process.processor_time(), load.received());
    tokio::time::sleep(turn).await;
    let (time, count) = (process.processor_time() - time, load.received() - count);
    load.pause().await;
    (time.as_secs_f64() * 1e6 / count as f64, count as f64)
}

/// A process that is measured: it says where it listens, then its processor time whenever asked.
struct Measured {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Measured {
    fn start(role: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        Self { child, ask, answers, address: line.trim().parse().unwrap() }
    }

    fn processor_time(&mut self) -> Duration {
        writeln!(self.ask, "time").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        Duration::from_nanos(line.trim().parse().unwrap())
    }

    fn stop(mut self) {
        drop(self.ask);
        self.child.wait().unwrap();
    }
}

/// For a measured process: says where it listens, answers questions, and ends with its standard input.
pub(crate) fn serve_questions(address: SocketAddr) {
    println!("{address}");
    thread::spawn(|| {
        for _ in std::io::stdin().lines() {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            println!("{}", i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec));
        }
        std::process::exit(0);
    });
}

/// Keeps this process on one processor; false where there is no such processor.
pub(crate) fn pin(processor: usize) -> bool {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    rustix::thread::sched_setaffinity(None, &set).is_ok()
}

fn relay() {
    pin(MEASURED);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
        config.limits = RelayLimits::default();
        config.limits.messages_per_second = u32::MAX;
        config.limits.messages_burst = u32::MAX;
        config.limits.bytes_per_second = u64::MAX;
        config.limits.bytes_burst = u64::MAX;
        let server = RelayServer::bind(config).await.unwrap();
        serve_questions(server.local_addr());
        server.run().await.unwrap();
    });
}
