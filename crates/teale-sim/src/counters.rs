//! What became of every datagram.

/// Why a datagram was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Lost {
    /// The link lost it.
    OnTheWay,
    /// The queue before a slow line was full.
    QueueFull,
    /// The link does not take datagrams of this size.
    TooLarge,
    /// A partition, or an unplugged cable.
    Cut,
    /// Nobody has the address.
    NoRoute,
    /// A NAT box has no mapping for it, or its filter does not let it in.
    Filtered,
    /// A NAT box has no port left.
    NatFull,
    /// A NAT box does not send back inside what came from inside.
    NoHairpin,
    /// The node is down.
    NodeDown,
    /// The node is frozen, and its socket's buffer full.
    SocketFull,
}

impl Lost {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::OnTheWay,
        Self::QueueFull,
        Self::TooLarge,
        Self::Cut,
        Self::NoRoute,
        Self::Filtered,
        Self::NatFull,
        Self::NoHairpin,
        Self::NodeDown,
        Self::SocketFull,
    ];

    /// One or two words, as the trace has them.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnTheWay => "lost",
            Self::QueueFull => "queue full",
            Self::TooLarge => "too large",
            Self::Cut => "cut",
            Self::NoRoute => "no route",
            Self::Filtered => "filtered",
            Self::NatFull => "nat full",
            Self::NoHairpin => "no hairpin",
            Self::NodeDown => "node down",
            Self::SocketFull => "socket full",
        }
    }
}

/// The datagrams of a world. `sent + copies = delivered + lost + in flight`, at every moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Events the world has worked through, those of streams and timers too.
    pub events: u64,
    /// Datagrams the nodes sent.
    pub sent: u64,
    /// Made on the way: doubles, and what goes to more than one receiver of a multicast.
    pub copies: u64,
    /// Datagrams the nodes were given.
    pub delivered: u64,
    /// On their way, or in the socket of a frozen node.
    pub in_flight: u64,
    /// Bytes in the datagrams that nodes were given.
    pub bytes: u64,
    lost: [u64; Lost::ALL.len()],
}

impl Counters {
    /// Datagrams not delivered, for one reason.
    pub fn lost(&self, reason: Lost) -> u64 {
        self.lost[reason as usize]
    }

    /// Datagrams not delivered, whatever the reason.
    pub fn lost_in_all(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Whether every datagram is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.sent + self.copies == self.delivered + self.lost_in_all() + self.in_flight
    }

    pub(crate) fn lose(&mut self, reason: Lost) {
        self.lost[reason as usize] += 1;
    }
}
