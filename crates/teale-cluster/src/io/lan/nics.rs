//! The machine's network interfaces.

use std::{sync::Arc, time::Duration};

use super::inner::Inner;
use crate::lan::Nic;

/// How often they are looked at again: cables and radios come and go.
const EVERY: Duration = Duration::from_secs(5);

/// All interfaces that have an address, by name.
pub(super) fn list() -> Vec<Nic> {
    let mut nics: Vec<Nic> = Vec::new();
    for found in if_addrs::get_if_addrs().unwrap_or_default() {
        let one = nic(&found);
        match nics.iter_mut().find(|nic| nic.name == one.name) {
            Some(nic) => nic.addresses.extend(one.addresses),
            None => nics.push(one),
        }
    }
    nics.iter_mut().for_each(|nic| nic.addresses.sort_unstable());
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

/// One address of an interface, as the system tells it.
pub(super) fn nic(found: &if_addrs::Interface) -> Nic {
    Nic {
        name: found.name.clone(),
        loopback: found.is_loopback(),
        up: found.is_oper_up() || found.is_loopback(),
        point_to_point: found.is_p2p(),
        addresses: vec![found.ip()],
    }
}

pub(super) async fn watch(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => inner.rescan(),
        }
    }
}
