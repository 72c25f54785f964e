//! From a host's name to a TCP connection, by whichever of its addresses answers first ("happy eyeballs", RFC 8305).
//!
//! The addresses come in the system's order of preference (RFC 6724); the families take turns from there (§4). An
//! attempt starts when the one before has failed, or has been silent for [`bounds::CONNECT_STAGGER`] (§5). The first
//! connection wins, and the other attempts are dropped. The system's resolver asks for both families at once and
//! answers when it has both, so there is no resolution delay (§3) of our own.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{net::TcpStream, time::sleep};

use crate::bounds;

/// Finds a host's addresses; blocks.
pub(super) type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The system's resolver.
pub(super) fn system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

/// Connects to a host. The error is for people, and in our own words.
pub(super) async fn connect(resolve: &Arc<Resolve>, host: &str, port: u16) -> Result<TcpStream, String> {
    let (resolve, name) = (resolve.clone(), host.to_owned());
    let found = tokio::task::spawn_blocking(move || resolve(&name, port)).await;
    let addresses = match found {
        Ok(Ok(addresses)) => order(addresses),
        Ok(Err(error)) => return Err(format!("the relay's host has no address: {}", error.kind())),
        Err(_) => return Err("the relay's host could not be looked up".into()),
    };
    if addresses.is_empty() {
        return Err("the relay's host has no address".into());
    }
    race(addresses, TcpStream::connect)
        .await
        .map_err(|error| format!("cannot connect to the relay: {}", error.kind()))
}

/// Addresses with the families by turns, beginning with the family of the first; the first
/// [`bounds::CONNECT_ADDRESSES`] of them, each once.
fn order(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut preferred, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::new();
    while ordered.len() < bounds::CONNECT_ADDRESSES && !(preferred.is_empty() && other.is_empty()) {
        let turn = [preferred.pop_front(), other.pop_front()];
        for address in turn.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
    ordered.truncate(bounds::CONNECT_ADDRESSES);
    ordered
}

/// The first attempt that succeeds; the error of the last one to fail where none does.
async fn race<T, F>(addresses: Vec<SocketAddr>, attempt: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => running.push(attempt(address)),
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => last = error,
                None => {}
            },
            () = sleep(bounds::CONNECT_STAGGER), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use tokio::{
        net::{TcpListener, TcpSocket},
        time::{Instant, timeout},
    };

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_from_the_preferred_one() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::1]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(order(given), expected);
        let given = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]);
        assert_eq!(order(given), addresses(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
        let many = (0..200).map(|port| ([127, 0, 0, 1], port).into()).collect();
        assert_eq!(order(many).len(), bounds::CONNECT_ADDRESSES);
    }

    /// Runs a race among addresses whose port says after how many milliseconds they answer (0: never), odd ones with
    /// an error. Gives the winner, and when each attempt began.
    async fn simulate(texts: &[&str]) -> (io::Result<u16>, Duration, Vec<u128>) {
        let (start, begun) = (Instant::now(), RefCell::new(Vec::new()));
        let attempt = |address: SocketAddr| {
            begun.borrow_mut().push(start.elapsed().as_millis());
            async move {
                let port = address.port();
                match port {
                    0 => std::future::pending().await,
                    _ => sleep(Duration::from_millis(port.into())).await,
                }
                if port % 2 == 1 { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(port) }
            }
        };
        let result = race(addresses(texts), attempt).await;
        (result, start.elapsed(), begun.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_addresses_cost_a_stagger_each_and_failed_ones_nothing() {
        let (won, took, begun) = simulate(&["[::1]:0", "1.1.1.1:0", "[::2]:40"]).await;
        assert_eq!((won.unwrap(), took.as_millis(), begun), (40, 540, vec![0, 250, 500]));
        let (won, took, begun) = simulate(&["[::1]:11", "1.1.1.1:40", "[::2]:2"]).await;
        assert_eq!((won.unwrap(), took.as_millis(), begun), (40, 51, vec![0, 11]));
        // A slow first one still wins if it answers first.
        let (won, took, begun) = simulate(&["[::1]:300", "1.1.1.1:400"]).await;
        assert_eq!((won.unwrap(), took.as_millis(), begun), (300, 300, vec![0, 250]));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_last_error_is_told() {
        let (lost, took, _) = simulate(&["[::1]:11", "1.1.1.1:21"]).await;
        assert_eq!((lost.unwrap_err().kind(), took.as_millis()), (io::ErrorKind::ConnectionRefused, 32));
    }

    fn resolver(addresses: Vec<SocketAddr>) -> Arc<Resolve> {
        Arc::new(move |_: &str, _: u16| Ok(addresses.clone()))
    }

    /// A listener whose queue is full, so that a further connection is neither accepted nor refused.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
            assert!(queued.len() < 100, "the queue of one never fills");
        }
        (listener, queued)
    }

    #[tokio::test]
    async fn a_relay_is_reached_past_addresses_that_are_silent_or_refuse() {
        let (dead, _queued) = silent().await;
        let refusing = TcpSocket::new_v4().unwrap();
        refusing.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = good.local_addr().unwrap();
        let all = vec![dead.local_addr().unwrap(), refusing.local_addr().unwrap(), address];
        let resolve = resolver(all);
        let connected = timeout(Duration::from_secs(10), connect(&resolve, "relay.example", 1)).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_host_without_addresses_is_an_error_with_a_reason() {
        let error = connect(&resolver(Vec::new()), "relay.example", 1).await.unwrap_err();
        assert_eq!(error, "the relay's host has no address");
        let none: Arc<Resolve> = Arc::new(|_: &str, _: u16| Err(io::ErrorKind::NotFound.into()));
        let error = connect(&none, "relay.example", 1).await.unwrap_err();
        assert_eq!(error, "the relay's host has no address: entity not found");
    }
}
