//! The tokio driver: relay sessions in, backend streams out.

mod answer;
mod cluster;
mod job;
mod link;
mod relay;
mod shared;

pub use answer::Answer;
pub use cluster::{Cluster, ClusterConfig};
