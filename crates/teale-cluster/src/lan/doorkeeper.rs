//! Who may come in: connections counted, all together and by address, so that nobody takes all the places.

use std::{collections::HashMap, net::IpAddr};

use thiserror::Error;

use super::bounds;

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Full {
    /// Too many connections are being opened.
    #[error("too many connections are being opened")]
    HalfOpen,
    /// Too many of them from this address.
    #[error("too many connections are being opened from this address")]
    HalfOpenHere,
    /// Too many connections.
    #[error("too many connections")]
    All,
    /// Too many from this address.
    #[error("too many connections from this address")]
    Here,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    half_open: usize,
    all: usize,
}

/// Counts incoming connections. Holds an entry per address that has one, so never more than
/// [`bounds::CONNECTIONS`].
#[derive(Debug, Default)]
pub struct Doorkeeper {
    total: Count,
    by_address: HashMap<IpAddr, Count>,
}

impl Doorkeeper {
    /// A connection came; it counts as half open.
    ///
    /// # Errors
    /// [`Full`]: nothing was counted, close it.
    pub fn enter(&mut self, address: IpAddr) -> Result<(), Full> {
        let here = self.by_address.get(&address).copied().unwrap_or_default();
        if self.total.half_open >= bounds::HALF_OPEN {
            return Err(Full::HalfOpen);
        }
        if here.half_open >= bounds::HALF_OPEN_PER_ADDRESS {
            return Err(Full::HalfOpenHere);
        }
        if self.total.all >= bounds::CONNECTIONS {
            return Err(Full::All);
        }
        if here.all >= bounds::CONNECTIONS_PER_ADDRESS {
            return Err(Full::Here);
        }
        for count in [&mut self.total, self.by_address.entry(address).or_default()] {
            count.half_open += 1;
            count.all += 1;
        }
        Ok(())
    }

    /// It became a link.
    pub fn settle(&mut self, address: IpAddr) {
        self.change(address, |count| count.half_open = count.half_open.saturating_sub(1));
    }

    /// It is gone; `half_open` says whether it never became a link.
    pub fn leave(&mut self, address: IpAddr, half_open: bool) {
        if half_open {
            self.settle(address);
        }
        self.change(address, |count| count.all = count.all.saturating_sub(1));
        if self.by_address.get(&address).is_some_and(|count| count.all == 0) {
            self.by_address.remove(&address);
        }
    }

    /// Connections that are no links yet.
    pub fn half_open(&self) -> usize {
        self.total.half_open
    }

    /// All connections.
    pub fn all(&self) -> usize {
        self.total.all
    }

    fn change(&mut self, address: IpAddr, change: impl Fn(&mut Count)) {
        change(&mut self.total);
        if let Some(count) = self.by_address.get_mut(&address) {
            change(count);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn host(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let mut door = Doorkeeper::default();
        for _ in 0..bounds::HALF_OPEN_PER_ADDRESS {
            door.enter(host(1)).unwrap();
        }
        assert_eq!(door.enter(host(1)), Err(Full::HalfOpenHere));
        door.enter(host(2)).unwrap();
        door.settle(host(1));
        door.enter(host(1)).unwrap();
        let full = (3..).find_map(|number| door.enter(host(number)).err());
        assert_eq!(full, Some(Full::HalfOpen));
        assert_eq!(door.half_open(), bounds::HALF_OPEN);
    }

    #[test]
    fn links_are_counted_too() {
        let mut door = Doorkeeper::default();
        for _ in 0..bounds::CONNECTIONS_PER_ADDRESS {
            door.enter(host(1)).unwrap();
            door.settle(host(1));
        }
        assert_eq!(door.enter(host(1)), Err(Full::Here));
        door.leave(host(1), false);
        door.enter(host(1)).unwrap();
    }

    proptest! {
        #[test]
        fn whoever_leaves_leaves_nothing_behind(steps in prop::collection::vec((0_u32..4, any::<bool>()), 0..200)) {
            let mut door = Doorkeeper::default();
            let mut inside = Vec::new();
            for (address, settles) in steps {
                if door.enter(host(address)).is_ok() {
                    if settles {
                        door.settle(host(address));
                    }
                    inside.push((host(address), !settles));
                } else if let Some((address, half)) = inside.pop() {
                    door.leave(address, half);
                }
                prop_assert_eq!(door.all(), inside.len());
                prop_assert_eq!(door.half_open(), inside.iter().filter(|(_, half)| *half).count());
            }
            for (address, half) in inside {
                door.leave(address, half);
            }
            prop_assert_eq!((door.all(), door.half_open(), door.by_address.len()), (0, 0, 0));
        }
    }
}
