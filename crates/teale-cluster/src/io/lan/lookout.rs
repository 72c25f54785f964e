//! Counts the multicast DNS packets that reach this machine, whoever sent them: what discovery can see at all.
//!
//! Its sockets are bound to the group's address, so nothing that is sent to this machine alone is taken from the
//! sockets that answer. Only counts; reads no packet.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{inner::Inner, nics};

/// RFC 6762 §3.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;
/// Interfaces and families looked at.
const SOCKETS: usize = 32;
/// How often new interfaces are looked for.
const EVERY: Duration = Duration::from_secs(5);
/// Bytes of a packet that are taken off the socket.
const PACKET: usize = 64;

pub(super) async fn run(inner: Arc<Inner>) {
    let mut watched: HashSet<(u32, bool)> = HashSet::new();
    loop {
        for found in if_addrs::get_if_addrs().unwrap_or_default() {
            let is_v6 = found.ip().is_ipv6();
            let Some(index) = found.index else { continue };
            if inner.rules.judge(&nics::nic(&found)).is_err()
                || watched.contains(&(index, is_v6))
                || watched.len() >= SOCKETS
            {
                continue;
            }
            match socket(&found.addr, index) {
                Ok(socket) => {
                    watched.insert((index, is_v6));
                    inner.tasks.spawn(count(Arc::clone(&inner), socket));
                }
                Err(error) => {
                    tracing::debug!(name = found.name, kind = %error.kind(), "multicast cannot be watched")
                }
            }
        }
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn socket(address: &if_addrs::IfAddr, index: u32) -> std::io::Result<UdpSocket> {
    let (group, domain): (SocketAddr, _) = match address {
        if_addrs::IfAddr::V4(_) => ((GROUP_V4, PORT).into(), Domain::IPV4),
        if_addrs::IfAddr::V6(_) => (SocketAddrV6::new(GROUP_V6, PORT, 0, index).into(), Domain::IPV6),
    };
    if cfg!(target_os = "windows") {
        // There a socket cannot be bound to a group.
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    match address {
        if_addrs::IfAddr::V4(address) => {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_multicast_all_v4(false)?;
            socket.bind(&group.into())?;
            socket.join_multicast_v4(&GROUP_V4, &address.ip)?;
        }
        if_addrs::IfAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.bind(&group.into())?;
            socket.join_multicast_v6(&GROUP_V6, index)?;
        }
    }
    UdpSocket::from_std(socket.into())
}

async fn count(inner: Arc<Inner>, socket: UdpSocket) {
    let mut packet = [0; PACKET];
    loop {
        let received = tokio::select! {
            () = inner.stop.cancelled() => return,
            received = socket.recv_from(&mut packet) => received,
        };
        let Ok((_, from)) = received else {
            tokio::time::sleep(EVERY).await;
            continue;
        };
        let counter =
            if inner.is_own_ip(from.ip()) { &inner.counters.seen_own } else { &inner.counters.seen_others };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
