//! What machine this is, in the terms of a registration.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use teale_wire::HardwareCapability;

/// Bytes of a gigabyte, as registrations count them.
const GIGABYTE: f64 = (1u64 << 30) as f64;
/// Memory bandwidth we assume where nothing tells, in gigabytes a second: two channels of DDR4-3200.
const BANDWIDTH: f64 = 50.0;
/// Memory bandwidth of Apple's chips in gigabytes a second, by family (figures of Apple's data sheets).
const APPLE_BANDWIDTH: &[(&str, f64)] = &[
    ("m1", 68.0),
    ("m1Pro", 200.0),
    ("m1Max", 400.0),
    ("m1Ultra", 800.0),
    ("m2", 100.0),
    ("m2Pro", 200.0),
    ("m2Max", 400.0),
    ("m2Ultra", 800.0),
    ("m3", 100.0),
    ("m3Pro", 150.0),
    ("m3Max", 400.0),
    ("m3Ultra", 819.0),
    ("m4", 120.0),
    ("m4Pro", 273.0),
    ("m4Max", 546.0),
];

/// Looks at the machine. Takes some milliseconds.
pub fn detect() -> HardwareCapability {
    let refresh = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    // What cannot be found out stays unknown: a node without a name for its chip still works.
    let system = System::new_with_specifics(refresh).ok();
    let cpu = system.as_ref().and_then(|system| system.cpus().first());
    let (brand, vendor) = cpu.map_or(("", ""), |cpu| (cpu.brand().trim(), cpu.vendor_id()));
    let memory = system.as_ref().map_or(0, System::total_memory);
    let family = chip_family(brand, vendor, std::env::consts::ARCH);
    HardwareCapability {
        chip_name: if brand.is_empty() { std::env::consts::ARCH.to_owned() } else { brand.to_owned() },
        total_ram_gb: (memory as f64 / GIGABYTE * 10.0).round() / 10.0,
        gpu_core_count: 0,
        memory_bandwidth_gbs: bandwidth(&family),
        tier: 2,
        gpu_backend: Some(gpu_backend().to_owned()),
        platform: Some(platform(std::env::consts::OS).to_owned()),
        gpu_vram_gb: None,
        chip_family: family,
        extra: teale_wire::Extra::new(),
    }
}

/// The machine's name, for people.
pub(crate) fn host_name() -> String {
    System::host_name().ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "teale-node".to_owned())
}

fn chip_family(brand: &str, vendor: &str, arch: &str) -> String {
    let lower = brand.to_ascii_lowercase();
    if let Some(apple) = lower.strip_prefix("apple m") {
        let mut words = apple.split_whitespace();
        let generation = words.next().unwrap_or_default();
        let grade = match words.next() {
            Some("pro") => "Pro",
            Some("max") => "Max",
            Some("ultra") => "Ultra",
            _ => "",
        };
        return format!("m{generation}{grade}");
    }
    let known = match (vendor, arch) {
        ("GenuineIntel", _) => "intelCPU",
        ("AuthenticAMD" | "HygonGenuine", _) => "amdCPU",
        (_, "aarch64" | "arm") => "armGeneric",
        _ if lower.contains("intel") => "intelCPU",
        _ if lower.contains("amd") => "amdCPU",
        _ => "unknown",
    };
    known.to_owned()
}

fn bandwidth(family: &str) -> f64 {
    APPLE_BANDWIDTH.iter().find(|(name, _)| *name == family).map_or(BANDWIDTH, |(_, figure)| *figure)
}

/// What the engine was built for.
fn gpu_backend() -> &'static str {
    if cfg!(feature = "cuda") {
        "cuda"
    } else if cfg!(feature = "metal") {
        "metal"
    } else if cfg!(feature = "rocm") {
        "rocm"
    } else if cfg!(feature = "vulkan") {
        "vulkan"
    } else {
        "cpu"
    }
}

fn platform(os: &str) -> &str {
    match os {
        "macos" => "macOS",
        "ios" => "iOS",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_follow_the_chip() {
        for (brand, vendor, arch, family) in [
            ("Apple M4 Pro", "Apple", "aarch64", "m4Pro"),
            ("Apple M1", "Apple", "aarch64", "m1"),
            ("AMD EPYC 7B13", "AuthenticAMD", "x86_64", "amdCPU"),
            ("Intel(R) Xeon(R)", "GenuineIntel", "x86_64", "intelCPU"),
            ("", "", "aarch64", "armGeneric"),
            ("", "", "riscv64", "unknown"),
        ] {
            assert_eq!(chip_family(brand, vendor, arch), family);
        }
    }

    #[test]
    fn this_machine_has_memory_and_a_platform() {
        let hardware = detect();
        assert!(hardware.total_ram_gb > 0.1);
        assert!(!hardware.chip_name.is_empty());
        assert_eq!(hardware.platform.as_deref(), Some(platform(std::env::consts::OS)));
    }
}
