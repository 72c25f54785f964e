//! Peers that something else told of: dialled as if they had been found on the network.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use teale_wire::NodeId;

use super::{inner::Inner, statics};
use crate::LinkPath;

/// How often it is looked whether a hint has ended.
const LOOK: Duration = Duration::from_secs(5);

/// Remembers a peer's word for a time, and wants a link to it.
pub(super) fn add(
    inner: &Inner,
    peer: NodeId,
    wg: Option<String>,
    name: &str,
    addresses: Vec<SocketAddr>,
    last: Duration,
) -> bool {
    let until = inner.now().monotonic + last;
    let gone = inner.state().hints.add(peer, wg.clone(), addresses, until);
    lost(inner, gone);
    if !inner.state().hints.knows(inner.now().monotonic, peer) {
        return false;
    }
    let record = statics::record(peer, wg, name, statics::unknown_hardware());
    inner.host.peers_found(vec![record], LinkPath::Lan);
    true
}

/// Forgets what has ended.
pub(super) async fn keep(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = inner.now().monotonic;
        let ended = inner.state().hints.expire(now);
        lost(&inner, ended);
    }
}

fn lost(inner: &Inner, peers: Vec<NodeId>) {
    for peer in peers.into_iter().filter(|peer| !inner.knows(*peer)) {
        inner.host.peers_lost(peer, LinkPath::Lan);
    }
}
