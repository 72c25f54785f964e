//! What people are told of the local network, above all when nobody is found.

use serde::Serialize;

/// One interface of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// Whether it is looked at.
    pub used: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// Multicast DNS in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MdnsStatus {
    /// Whether it runs.
    pub running: bool,
    /// Why not.
    pub error: Option<String>,
    /// The service instance this node is advertised as.
    pub instance: Option<String>,
    /// Questions and announcements sent, per interface and family counted once.
    pub sent: u64,
    /// Multicast packets seen that came from this machine.
    pub seen_own: u64,
    /// Multicast packets seen that came from others.
    pub seen_others: u64,
    /// Answers about our service that could be read.
    pub answers: u64,
    /// Answers about our service that could not: another version, broken values.
    pub refused: u64,
    /// Peers advertised at present.
    pub peers: usize,
}

/// A peer given by address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StaticPeerView {
    /// As it was given.
    pub address: String,
    /// The node that answered there.
    pub node: Option<String>,
    /// Whether a link is up.
    pub linked: bool,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// The local network, as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LanStatus {
    /// Where it listens.
    pub listening: Vec<String>,
    /// Interfaces, sorted by name.
    pub interfaces: Vec<InterfaceView>,
    /// Discovery.
    pub mdns: MdnsStatus,
    /// Peers given by address.
    pub peers: Vec<StaticPeerView>,
    /// Links up.
    pub links: usize,
    /// Connections that were refused since the start.
    pub refused: u64,
    /// Why the last of them was.
    pub last_refusal: Option<String>,
    /// What needs somebody's attention, the latest last.
    pub warnings: Vec<String>,
    /// What is the matter, in one or two sentences; `None` when somebody was found.
    pub diagnosis: Option<String>,
}

/// Why nobody was found, and what to do about it; `None` when somebody was.
pub fn explain(status: &LanStatus) -> Option<String> {
    if status.links > 0 || status.mdns.peers > 0 {
        return None;
    }
    let used: Vec<&str> =
        status.interfaces.iter().filter(|nic| nic.used).map(|nic| nic.name.as_str()).collect();
    if let Some(error) = &status.mdns.error {
        return Some(format!("mDNS does not run: {error}. Give peers with --peer HOST:PORT."));
    }
    if !status.mdns.running {
        return Some("mDNS is off; only peers given with --peer are reached.".into());
    }
    if used.is_empty() {
        let skipped: Vec<String> = status
            .interfaces
            .iter()
            .map(|nic| format!("{}: {}", nic.name, nic.reason.as_deref().unwrap_or("?")))
            .collect();
        let skipped = if skipped.is_empty() { "there is none".to_owned() } else { skipped.join(", ") };
        return Some(format!(
            "no network interface to look at ({skipped}). Name one with --interface, or give peers with --peer HOST:PORT."
        ));
    }
    let MdnsStatus { sent, seen_own, seen_others, refused, .. } = status.mdns;
    let looked = format!(
        "nobody found on {}: {sent} packets sent, {seen_own} of this machine and {seen_others} of others seen.",
        used.join(", ")
    );
    let why = if refused > 0 {
        "Peers are there whose records cannot be read: another version?"
    } else if seen_others == 0 && seen_own == 0 {
        "Not even our own multicast packets come back: a firewall blocks UDP port 5353 on this machine. Open it, or give peers with --peer HOST:PORT."
    } else if seen_others == 0 {
        "Nothing of others arrives: the network or a firewall blocks multicast (UDP port 5353), or nobody else is there. Give peers with --peer HOST:PORT."
    } else {
        "Others speak mDNS here, but none of them is a Teale node: is one running, on the same network, without --no-lan?"
    };
    Some(format!("{looked} {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn status(seen_own: u64, seen_others: u64) -> LanStatus {
        let nic = |name: &str, used: bool| InterfaceView {
            name: name.into(),
            used,
            reason: (!used).then(|| "the loopback".into()),
            addresses: Vec::new(),
        };
        let mdns = MdnsStatus { running: true, sent: 7, seen_own, seen_others, ..MdnsStatus::default() };
        LanStatus { interfaces: vec![nic("eth0", true), nic("lo", false)], mdns, ..LanStatus::default() }
    }

    #[test]
    fn each_situation_has_its_own_words() {
        let mut told = vec![
            explain(&status(0, 0)).unwrap(),
            explain(&status(5, 0)).unwrap(),
            explain(&status(5, 3)).unwrap(),
        ];
        assert!(
            told.iter().all(|text| text.starts_with("nobody found on eth0: 7 packets sent, ")),
            "{told:?}"
        );
        let mut blind = status(0, 0);
        blind.interfaces.remove(0);
        told.push(explain(&blind).unwrap());
        assert!(told[3].contains("lo: the loopback"), "{told:?}");
        let mut off = status(0, 0);
        off.mdns.running = false;
        told.push(explain(&off).unwrap());
        off.mdns.error = Some("no socket".into());
        told.push(explain(&off).unwrap());
        let unique: std::collections::BTreeSet<_> = told.iter().collect();
        assert_eq!(unique.len(), told.len());
    }

    #[test]
    fn whoever_has_a_peer_needs_no_diagnosis() {
        let mut found = status(5, 3);
        found.mdns.peers = 1;
        assert_eq!(explain(&found), None);
        let mut linked = status(0, 0);
        linked.links = 1;
        assert_eq!(explain(&linked), None);
    }
}
