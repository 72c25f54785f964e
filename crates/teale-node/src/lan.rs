//! The local network as a node takes part in it.

use std::{net::SocketAddr, sync::Arc};

use teale_cluster::{
    Cluster,
    lan::{InterfaceRules, Lan, LanConfig, StaticPeer, Terms},
};
use teale_identity::{Identity, NodeId};
use teale_relay_client::Policy;
use teale_wire::HardwareCapability;

use crate::NodeError;

/// How a node takes part in its local network.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LanOptions {
    /// Whether to find others, and be found.
    pub discover: bool,
    /// Where to listen; `None` listens nowhere. Taken ports are replaced by free ones.
    pub listen: Option<SocketAddr>,
    /// Only these interfaces, if there are any; a name may end in `*`.
    pub interfaces: Vec<String>,
    /// Never these interfaces.
    pub exclude_interfaces: Vec<String>,
    /// Peers by address: `HOST[:PORT]`, or `NODEID@HOST[:PORT]`.
    pub peers: Vec<String>,
}

impl Default for LanOptions {
    /// Finds and is found, on port 11436, on all interfaces but those of containers and virtual machines.
    fn default() -> Self {
        Self {
            discover: true,
            listen: Some(default_listen()),
            interfaces: Vec::new(),
            exclude_interfaces: Vec::new(),
            peers: Vec::new(),
        }
    }
}

impl LanOptions {
    /// Only these peers, without discovery and without listening.
    pub fn only_peers(peers: Vec<String>) -> Self {
        Self { discover: false, listen: None, peers, ..Self::default() }
    }
}

/// `[::]:11436`.
pub(crate) fn default_listen() -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, teale_cluster::lan::bounds::PORT))
}

/// Reads a peer's address.
pub(crate) fn static_peer(text: &str) -> Result<StaticPeer, NodeError> {
    text.parse().map_err(|reason| NodeError::PeerAddress { address: text.to_owned(), reason })
}

/// Who joins, and by which rules.
pub(crate) struct Member {
    pub(crate) identity: Arc<Identity>,
    pub(crate) policy: Policy,
    pub(crate) name: String,
    pub(crate) hardware: HardwareCapability,
}

/// Joins; the cluster gets the links, and says goodbye when it drains.
pub(crate) fn join(cluster: &Cluster, options: LanOptions, member: Member) -> Result<Lan, NodeError> {
    let Member { identity, policy, name, hardware } = member;
    let device = device_id(identity.node_id());
    let mut config = LanConfig::new(Terms { identity, policy }, name, device, hardware);
    config.mdns = options.discover;
    config.listen = options.listen;
    config.interfaces = InterfaceRules { include: options.interfaces, exclude: options.exclude_interfaces };
    config.peers = options.peers.iter().map(|peer| static_peer(peer)).collect::<Result<_, _>>()?;
    let lan = Lan::start(config, cluster.host())?;
    cluster.add_carrier(Arc::new(lan.clone()));
    Ok(lan)
}

/// A UUID made of the node id: the device of a data directory is its identity.
pub(crate) fn device_id(node: NodeId) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&node.as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_id_is_a_uuid_and_stable() {
        let id = device_id(NodeId::from_bytes([7; 32]));
        assert_eq!(id, device_id(NodeId::from_bytes([7; 32])));
        assert_eq!(id.len(), 36);
    }
}
