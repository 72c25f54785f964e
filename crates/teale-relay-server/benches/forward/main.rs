//! What forwarding costs: processor time of a relay per message, over that of a program that only copies the same
//! bytes between the same sockets.
//!
//! `cargo bench -p teale-relay-server --bench forward [-- SECONDS ROUNDS [SCENARIO]]` (a scenario by its number)
//!
//! The relay and two copiers (with a buffer of 64 KiB and of 256 KiB: the better one counts) are processes on one
//! processor, the load is another on a second one. In each scenario messages circulate between the two clients of each
//! pair, so many at a time, and the measured processes take turns, in an order that changes.
//!
//! Printed are the least and the median of the turns, and the ratio of both. What else runs on the machine adds to both
//! sides and brings the ratio closer to 1, so the figures of a quiet machine are the strict ones. Two things keep them
//! steady: all sockets use the congestion control `reno` (a system's default may pace loopback with timers, as BBR does,
//! which made the copier of the largest messages twice as slow in some turns), and the load does not sleep while it
//! measures (else the slower side would also pay for waking it).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

mod copier;
mod load;

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
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
        Ok(buffer) => return copier::run(buffer.parse::<usize>().unwrap() << 10),
        Err(_) => {}
    }
    let numbers: Vec<f64> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    let turn = Duration::from_secs_f64(numbers.first().copied().unwrap_or(0.7));
    let rounds = numbers.get(1).map_or(7, |rounds| *rounds as usize);
    let alone = pin(LOAD);
    println!("processor time per message in microseconds, least and median of {rounds} turns of {turn:?}");
    if !alone {
        println!("(one processor only: the load shares it)");
    }
    if congestion_control(TcpListener::bind("127.0.0.1:0").unwrap()).is_err() {
        println!("(the system does not offer `{CONGESTION_CONTROL}`: its default is used)");
    }
    println!(
        "{:<22} {:>8} {:>8} {:>8} {:>8} {:>7} {:>8} {:>6} {:>7} {:>10}",
        "scenario", "relay", "median", "copy", "median", "ratio", "(median)", "aim", "copier", "relay msg/s"
    );
    let only = numbers.get(2).map(|number| *number as usize);
    let wanted = (1..).zip(SCENARIOS).filter(|(number, _)| only.is_none_or(|only| only == *number));
    for (_, scenario) in wanted {
        measure(&scenario, turn, rounds);
    }
}

/// The copiers' buffers, in KiB.
const BUFFERS: [usize; 2] = [64, 256];

/// Runs a scenario on fresh processes.
fn measure(scenario: &Scenario, turn: Duration, rounds: usize) {
    let mut relay = Measured::start("relay");
    let mut copiers = BUFFERS.map(|buffer| Measured::start(&buffer.to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let through_relay = load::Load::start(relay.address, scenario, true).await;
        let mut through_copiers = Vec::new();
        for copier in &copiers {
            through_copiers.push(load::Load::start(copier.address, scenario, false).await);
        }
        let (mut relays, mut copies, mut rate) = (Vec::new(), BUFFERS.map(|_| Vec::new()), 0.0f64);
        for round in 0..rounds {
            for place in 0..=BUFFERS.len() {
                match (round + place) % (BUFFERS.len() + 1) {
                    0 => {
                        let (cost, count) = cost(&mut relay, &through_relay, turn).await;
                        relays.push(cost);
                        rate = rate.max(count / turn.as_secs_f64());
                    }
                    which => {
                        let load = &through_copiers[which - 1];
                        copies[which - 1].push(cost(&mut copiers[which - 1], load, turn).await.0);
                    }
                }
            }
        }
        let [relay_least, relay_median] = least_and_median(&mut relays);
        let [a, b] = copies.map(|mut costs| least_and_median(&mut costs));
        let ([copy_least, copy_median], buffer) = if a[0] <= b[0] { (a, BUFFERS[0]) } else { (b, BUFFERS[1]) };
        println!(
            "{:<22} {relay_least:>8.2} {relay_median:>8.2} {copy_least:>8.2} {copy_median:>8.2} {:>7.3} {:>8.3} {:>6.2} \
             {buffer:>3} KiB {rate:>10.0}",
            scenario.name,
            relay_least / copy_least,
            relay_median / copy_median,
            scenario.aim,
        );
    });
    relay.stop();
    copiers.into_iter().for_each(Measured::stop);
}

fn least_and_median(costs: &mut [f64]) -> [f64; 2] {
    costs.sort_by(f64::total_cmp);
    [costs[0], costs[costs.len() / 2]]
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

/// A listening socket, the same for both.
pub(crate) fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Connections inherit it.
    _ = congestion_control(&listener);
    listener
}

const CONGESTION_CONTROL: &str = "reno";

#[cfg(target_os = "linux")]
fn congestion_control(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_congestion(socket, CONGESTION_CONTROL)?)
}

#[cfg(not(target_os = "linux"))]
fn congestion_control(_: impl AsFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
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
        let server = RelayServer::on(listener(), config).unwrap();
        serve_questions(server.local_addr());
        server.run().await.unwrap();
    });
}
