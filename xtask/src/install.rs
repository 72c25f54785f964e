//! What the build and the tests need from the operating system, installed where that is allowed.

use std::path::{Path, PathBuf};

use crate::{
    Failure,
    process::{on_path, quiet, run},
};

/// Something that has to be there, and its package under each package manager.
struct Need {
    name: &'static str,
    present: fn() -> bool,
    apt: &'static [&'static str],
    dnf: &'static [&'static str],
    pacman: &'static [&'static str],
    brew: &'static [&'static str],
}

/// llama.cpp is built from source with CMake, and its bindings are made with libclang.
const BUILD: &[Need] = &[
    Need {
        name: "cmake",
        present: || on_path("cmake"),
        apt: &["cmake"],
        dnf: &["cmake"],
        pacman: &["cmake"],
        brew: &["cmake"],
    },
    Need {
        name: "make",
        present: || on_path("make") || on_path("ninja"),
        apt: &["make"],
        dnf: &["make"],
        pacman: &["make"],
        brew: &["make"],
    },
    Need {
        name: "a C++ compiler",
        present: || on_path("c++") || on_path("g++") || on_path("clang++"),
        apt: &["g++"],
        dnf: &["gcc-c++"],
        pacman: &["gcc"],
        brew: &["llvm"],
    },
    Need {
        name: "libclang",
        present: has_libclang,
        apt: &["libclang-dev"],
        dnf: &["clang-devel"],
        pacman: &["clang"],
        brew: &["llvm"],
    },
];

/// The foreign judges of the tests are Python programs.
const TEST: &[Need] = &[Need {
    name: "Python 3 with venv",
    present: || quiet("python3", &["-c", "import venv, ensurepip"]),
    apt: &["python3", "python3-venv"],
    dnf: &["python3"],
    pacman: &["python"],
    brew: &["python"],
}];

/// One foreign judge of TeleHash is a Node program.
const NODE_TEST: &[Need] = &[
    Need {
        name: "Node",
        present: || on_path("node"),
        apt: &["nodejs"],
        dnf: &["nodejs"],
        pacman: &["nodejs"],
        brew: &["node"],
    },
    Need {
        name: "npm",
        present: || on_path("npm"),
        apt: &["npm"],
        dnf: &["npm"],
        pacman: &["npm"],
        brew: &["node"],
    },
];

/// Tests of the local network run in network namespaces, with a firewall, and avahi as their foreign judge.
const NETWORK_TEST: &[Need] = &[
    Need {
        name: "ip",
        present: || on_path("ip"),
        apt: &["iproute2"],
        dnf: &["iproute"],
        pacman: &["iproute2"],
        brew: &[],
    },
    Need {
        name: "nft",
        present: || on_path("nft"),
        apt: &["nftables"],
        dnf: &["nftables"],
        pacman: &["nftables"],
        brew: &[],
    },
    Need {
        name: "avahi",
        present: || on_path("avahi-daemon") && on_path("avahi-browse") && on_path("dbus-daemon"),
        apt: &["avahi-daemon", "avahi-utils", "dbus"],
        dnf: &["avahi", "avahi-tools", "dbus-daemon"],
        pacman: &["avahi", "dbus"],
        brew: &[],
    },
];

/// Installs what the build needs.
pub(crate) fn build_needs() -> Result<(), Failure> {
    install(BUILD)
}

/// Installs what the tests need beyond that.
pub(crate) fn test_needs() -> Result<(), Failure> {
    install(TEST)
}

/// Installs what the foreign programs in JavaScript need.
pub(crate) fn node_test_needs() -> Result<(), Failure> {
    install(NODE_TEST)
}

/// Installs what the tests in network namespaces need. Only root can run those: others install nothing.
pub(crate) fn network_test_needs() -> Result<(), Failure> {
    if !cfg!(target_os = "linux") || !is_root() {
        eprintln!("xtask: SKIPPED: the tests in network namespaces need Linux and root");
        return Ok(());
    }
    install(NETWORK_TEST)
}

fn install(needs: &[Need]) -> Result<(), Failure> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|need| need.name).collect::<Vec<_>>().join(", ");
    let Some(manager) = Manager::find() else {
        return Err(format!(
            "missing: {names}. No known package manager (apt-get, dnf, pacman, brew) is here: please install them by hand"
        ));
    };
    let packages: Vec<&str> = missing.iter().flat_map(|need| manager.packages(need)).copied().collect();
    eprintln!("xtask: installing {names} with {}", manager.program());
    manager.install(&packages)?;
    match missing.iter().find(|need| !(need.present)()) {
        None => Ok(()),
        Some(need) => Err(format!("{} is still missing after `{}`", need.name, manager.by_hand(&packages))),
    }
}

#[derive(Clone, Copy)]
enum Manager {
    Apt,
    Dnf,
    Pacman,
    Brew,
}

impl Manager {
    fn find() -> Option<Self> {
        [Self::Apt, Self::Dnf, Self::Pacman, Self::Brew]
            .into_iter()
            .find(|manager| on_path(manager.program()))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Brew => "brew",
        }
    }

    fn packages(self, need: &Need) -> &'static [&'static str] {
        match self {
            Self::Apt => need.apt,
            Self::Dnf => need.dnf,
            Self::Pacman => need.pacman,
            Self::Brew => need.brew,
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["install", "-y", "--no-install-recommends"],
            Self::Dnf => &["install", "-y"],
            Self::Pacman => &["-S", "--needed", "--noconfirm"],
            Self::Brew => &["install"],
        }
    }

    /// What a person would type.
    fn by_hand(self, packages: &[&str]) -> String {
        let sudo = if matches!(self, Self::Brew) { "" } else { "sudo " };
        let install =
            format!("{sudo}{} {} {}", self.program(), self.arguments().join(" "), packages.join(" "));
        match self {
            Self::Apt => format!("sudo apt-get update && {install}"),
            _ => install,
        }
    }

    fn install(self, packages: &[&str]) -> Result<(), Failure> {
        let sudo = match self {
            Self::Brew => false,
            _ if is_root() => false,
            _ if quiet("sudo", &["-n", "true"]) => true,
            _ => {
                return Err(format!(
                    "installing needs root, and sudo wants a password. Please run:\n\n  {}\n",
                    self.by_hand(packages)
                ));
            }
        };
        let command = |args: &[&str]| {
            let mut command = if sudo {
                let mut command = std::process::Command::new("sudo");
                command.args(["-n", self.program()]);
                command
            } else {
                std::process::Command::new(self.program())
            };
            command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
            command
        };
        if matches!(self, Self::Apt) {
            // A stale list makes the installation fail; an unreachable mirror may still leave a usable one.
            if let Err(failure) = run(&mut command(&["update", "-q"])) {
                eprintln!("xtask: {failure}; trying with the package lists that are here");
            }
        }
        let args: Vec<&str> = self.arguments().iter().chain(packages).copied().collect();
        run(&mut command(&args)).map_err(|failure| format!("{failure}. By hand: {}", self.by_hand(packages)))
    }
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Looks where bindgen's clang-sys looks.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let mut folders: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/Library/Developer/CommandLineTools/usr/lib"]
            .iter()
            .map(PathBuf::from)
            .collect();
    let children = |folder: &str| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .map(|all| all.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    for child in children("/usr/lib") {
        folders.push(child.join("lib"));
        folders.push(child);
    }
    folders.extend(["/opt/homebrew/opt/llvm/lib", "/usr/local/opt/llvm/lib"].iter().map(PathBuf::from));
    folders.iter().any(|folder| holds_libclang(folder))
}

fn holds_libclang(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        is_libclang(&name.to_string_lossy())
    })
}

/// Whether a file of this name is the library. `libclang-cpp` is another one, which bindgen cannot use.
fn is_libclang(name: &str) -> bool {
    let versioned = name.starts_with("libclang-") && name.contains(".so") && !name.contains("-cpp.");
    name.starts_with("libclang.so") || versioned || name == "libclang.dylib"
}

#[cfg(test)]
mod tests {
    use super::is_libclang;

    #[test]
    fn libclang_is_told_from_its_cpp_sibling() {
        for name in ["libclang.so", "libclang.so.1", "libclang-14.so.1", "libclang-14.so", "libclang.dylib"] {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclang-cpp.so", "libclangBasic.a", "clang.so", "libLLVM-14.so"]
        {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
