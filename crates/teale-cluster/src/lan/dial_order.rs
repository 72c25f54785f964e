//! In which order a peer's addresses are tried (RFC 8305 §4).

use std::net::SocketAddr;

use super::bounds;

/// The address that worked last comes first, then the families take turns, IPv6 first; link-local addresses
/// come last in their family. Each address once, at most [`bounds::ADDRESSES`].
pub fn dial_order(addresses: &[SocketAddr], worked: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut rest: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if Some(*address) != worked && !rest.contains(address) {
            rest.push(*address);
        }
    }
    rest.sort_by_key(is_link_local);
    let (v6, v4): (Vec<_>, Vec<_>) = rest.into_iter().partition(SocketAddr::is_ipv6);
    let mut order: Vec<_> = worked.into_iter().filter(|worked| addresses.contains(worked)).collect();
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            break;
        }
        order.extend(pair.into_iter().flatten());
    }
    order.truncate(bounds::ADDRESSES);
    order
}

fn is_link_local(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V4(address) => address.ip().is_link_local(),
        SocketAddr::V6(address) => address.ip().is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_what_worked_comes_first() {
        let all = addresses(&["10.0.0.1:1", "10.0.0.2:1", "[fe80::1]:1", "[fd00::1]:1", "10.0.0.1:1"]);
        let order = addresses(&["[fd00::1]:1", "10.0.0.1:1", "[fe80::1]:1", "10.0.0.2:1"]);
        assert_eq!(dial_order(&all, None), order);
        let worked = all[1];
        assert_eq!(dial_order(&all, Some(worked))[0], worked);
        let gone: SocketAddr = "10.9.9.9:1".parse().unwrap();
        assert_eq!(dial_order(&all, Some(gone)), order, "an address nobody names any more is not tried");
    }

    proptest! {
        #[test]
        fn each_address_comes_once(all: Vec<SocketAddr>, pick: prop::sample::Index) {
            let worked = (!all.is_empty()).then(|| all[pick.index(all.len())]);
            let order = dial_order(&all, worked);
            let mut unique = order.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), order.len());
            prop_assert!(order.iter().all(|address| all.contains(address)));
            let mut wanted = all.clone();
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(order.len(), wanted.len().min(bounds::ADDRESSES));
            prop_assert_eq!(order.first().copied(), worked.or(order.first().copied()));
        }
    }
}
