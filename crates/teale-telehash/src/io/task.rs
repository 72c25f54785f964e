//! The one task of an endpoint: datagrams in, and the time.

use std::{io, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::shared::Shared;

/// Bytes of a datagram that are looked at: more than any version takes, so that one that is too big is seen to be.
const DATAGRAM: usize = 2048;
/// Datagrams taken in before the time is looked at again.
const BURST: usize = 64;
/// After an error of the socket that is not about one datagram.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut buffer = [0; DATAGRAM];
    loop {
        let deadline = shared.deadline();
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.changed.notified() => {}
            () = timer => shared.tick(),
            ready = shared.socket.readable() => {
                if ready.and_then(|()| take(&shared, &mut buffer)).is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
                // A flood must not keep other tasks, nor the time, from their turn.
                shared.tick();
                tokio::task::yield_now().await;
            }
        }
    }
}

fn take(shared: &Shared, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..BURST {
        match shared.socket.try_recv_from(buffer) {
            Ok((length, from)) => shared.datagram(from, buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // What became of an earlier datagram is nobody's business: it counts as lost.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
