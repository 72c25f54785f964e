//! Programs of strangers, spoken to in JSON lines, and our switches on real sockets beside them.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a program may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Written past the test harness, which hides what a passing test prints.
pub fn aloud(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A file of `tests/foreign`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

/// Any Python 3: the judge uses only its standard library.
pub fn python() -> Option<PathBuf> {
    let given = std::env::var_os("TEALE_TEST_PYTHON").map(PathBuf::from);
    let python = given.unwrap_or_else(|| "python3".into());
    let works = Command::new(&python).args(["-c", "import selectors"]).output();
    if works.is_ok_and(|out| out.status.success()) {
        return Some(python);
    }
    aloud(
        "SKIPPED: no Python to judge TeleHash v2; `cargo xtask test` installs one, or set TEALE_TEST_PYTHON",
    );
    None
}

/// Node, and the folder of the package `get-telehash`.
pub fn get_telehash() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let given = std::env::var_os("TEALE_TEST_GET_TELEHASH").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| target.join("node/node_modules/get-telehash"));
    let node = Command::new("node").arg("--version").output();
    if folder.exists() && node.is_ok_and(|out| out.status.success()) {
        return Some(folder);
    }
    aloud(
        "SKIPPED: no Node with `get-telehash`; `cargo xtask test` installs both, or set TEALE_TEST_GET_TELEHASH",
    );
    None
}

/// The other program.
pub struct Foreign {
    process: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
    /// Everything it said, in order.
    pub said: Vec<Value>,
}

impl Foreign {
    pub fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, input, lines, said: Vec::new() }
    }

    pub fn tell(&mut self, command: &Value) {
        writeln!(self.input, "{command}").unwrap();
        self.input.flush().unwrap();
    }

    /// Waits for the next thing it says.
    pub fn hear(&mut self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("the other program goes on");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))
    }

    /// Takes what it said meanwhile.
    pub fn listen(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            assert!(event["event"] != "error" && event["event"] != "failed", "{event}");
            self.said.push(event);
        }
    }

    /// All events of a kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl DoubleEndedIterator<Item = &'a Value> {
        self.said.iter().filter(move |event| event["event"] == kind)
    }

    /// Waits for the first event of a kind.
    pub fn first(&mut self, kind: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            self.listen();
            if let Some(event) = self.of(kind).next() {
                return event.clone();
            }
            assert!(Instant::now() < until, "no `{kind}` came: {:?}", self.said);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
