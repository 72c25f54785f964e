//! A network in a box: namespaces joined by bridges, each machine with cables that can be pulled. Needs root and `ip`.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::common::{LIMIT, Running, finish, program};

static WORLDS: AtomicUsize = AtomicUsize::new(0);

/// Machines 1 … n on a bridge (`eth0`, 10.77.0.N) and on a second one (`up0`, 10.78.0.N), both in a namespace of
/// their own, the switch, which is 10.78.0.254. All of it goes when this is dropped.
pub struct World {
    prefix: String,
    machines: usize,
}

/// Runs a command; its output when it failed.
fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Says loudly that a test did not run.
pub fn skipped(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

impl World {
    /// `None`, said loudly, where namespaces cannot be made.
    pub fn new(machines: usize) -> Option<Self> {
        let prefix = format!("tl{}x{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let world = Self { prefix, machines };
        if let Err(why) = ip(&["netns", "add", &world.switch()]) {
            skipped(&format!("network namespaces cannot be made (root and iproute2 are needed): {why}"));
            return None;
        }
        // In a plain chroot, whose root is no mount point, namespaces can be made but not entered.
        if let Err(why) = ip(&["netns", "exec", &world.switch(), "true"]) {
            skipped(&format!("network namespaces cannot be entered: {why}"));
            return None;
        }
        world.build().unwrap();
        Some(world)
    }

    fn build(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(&["-n", &switch, "link", "set", "lo", "up"])?;
        for bridge in ["br-lan", "br-wan"] {
            ip(&["-n", &switch, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0"])?;
            ip(&["-n", &switch, "link", "set", bridge, "up"])?;
        }
        ip(&["-n", &switch, "addr", "add", "10.78.0.254/24", "dev", "br-wan"])?;
        for number in 1..=self.machines {
            let space = self.space(number);
            ip(&["netns", "add", &space])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            for (side, nic, net) in [("lan", "eth0", 77), ("wan", "up0", 78)] {
                let (port, bridge) = (format!("{side}{number}"), format!("br-{side}"));
                ip(&[
                    "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", nic, "netns", &space,
                ])?;
                ip(&["-n", &switch, "link", "set", &port, "master", &bridge, "up"])?;
                ip(&["-n", &space, "addr", "add", &format!("10.{net}.0.{number}/24"), "dev", nic])?;
                ip(&["-n", &space, "link", "set", nic, "up"])?;
            }
        }
        Ok(())
    }

    pub fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    pub fn space(&self, machine: usize) -> String {
        format!("{}-{machine}", self.prefix)
    }

    /// Pulls a machine's cable to the local network out of the switch, or puts it back.
    pub fn cable(&self, machine: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        ip(&["-n", &self.switch(), "link", "set", &format!("lan{machine}"), state]).unwrap();
    }

    /// A program inside a namespace.
    pub fn command(space: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", space, program]).stdin(Stdio::null());
        command
    }

    /// `teale-node` inside a namespace, on the local network as it is by default.
    pub fn teale(space: &str, data_dir: &Path) -> Command {
        let inner = program(data_dir);
        let mut command = Self::command(space, inner.get_program().to_str().unwrap());
        command.args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // The second network is for relays.
        command.env("TEALE_LAN", "true").env("TEALE_EXCLUDE_INTERFACES", "up0");
        command
    }

    /// `teale-node serve` on a machine; returns when it is ready.
    pub fn serve(&self, machine: usize, dir: &Path, more: &[&str]) -> (Running, Value) {
        let data = dir.join(format!("node{machine}"));
        let mut command = Self::teale(&self.space(machine), &data);
        command
            .args(["serve", "--json", "--api", "127.0.0.1:0", "--name", &format!("node{machine}")])
            .args(more);
        let node = Running::start(&mut command);
        let ready = node.json();
        (node, ready)
    }

    /// What a verb of the running node of a machine says, as JSON.
    pub fn ask(&self, machine: usize, dir: &Path, verb: &[&str]) -> Value {
        let data = dir.join(format!("node{machine}"));
        let output = finish(Self::teale(&self.space(machine), &data).args(verb).arg("--json"));
        assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The peers that a machine's node lists.
    pub fn peers(&self, machine: usize, dir: &Path) -> Vec<Value> {
        self.ask(machine, dir, &["peers"])["peers"].as_array().unwrap().clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for space in (1..=self.machines).map(|number| self.space(number)).chain([self.switch()]) {
            let _ = ip(&["netns", "del", &space]);
        }
    }
}

/// Asks again and again until there is an answer; how long that took.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> (T, Duration) {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return (answer, begun.elapsed());
        }
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A process that is killed, by its id, when it goes out of scope.
pub struct Helper(Child);

impl Helper {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
