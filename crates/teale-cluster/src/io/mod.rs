//! The tokio driver: links in, backend streams out.

mod answer;
mod carriers;
mod cluster;
mod host;
mod job;
#[cfg(feature = "lan")]
mod lan;
mod link;
mod relay;
mod share;
mod shared;

pub use answer::Answer;
pub use cluster::{Cluster, ClusterConfig};
pub use host::{CarrierHost, LinkGone, ShareNews};
#[cfg(feature = "lan")]
pub use lan::{Lan, LanConfig, LanStartError};
pub use share::{
    LocalModelView, Pull, PullOptions, PullState, RemoteModelView, Sharing, SharingConfig, remove_model,
};
