//! Names of things in a world.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $number:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) $number);

        impl $name {
            /// Its number: they are given out from 0 on, without gaps.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A node: one machine with one or more addresses.
    NodeId, u32, "n"
);
id!(
    /// A network: a LAN, or the internet.
    NetId, u32, "net"
);
id!(
    /// A NAT box between two networks.
    NatId, u32, "nat"
);
id!(
    /// One end of a stream. Never used twice.
    StreamId, u32, "s"
);
id!(
    /// A plug: where a node or a NAT box is connected to a network.
    PlugId, u32, "plug"
);

impl NodeId {
    /// The node with this number, if the world has so many.
    pub const fn nth(index: u32) -> Self {
        Self(index)
    }
}

impl StreamId {
    pub(crate) const fn new(stream: u32, side: usize) -> Self {
        Self(2 * stream + side as u32)
    }

    pub(crate) const fn stream(self) -> usize {
        (self.0 / 2) as usize
    }

    /// 0 for the end that connected, 1 for the one that accepted.
    pub(crate) const fn side(self) -> usize {
        (self.0 % 2) as usize
    }

    /// The other end.
    pub const fn other(self) -> Self {
        Self(self.0 ^ 1)
    }
}
