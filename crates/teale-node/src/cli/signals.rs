//! Shutdown signals: the first drains, the second stops at once.

use tokio::sync::mpsc;

/// Signals to come. Installed before anything is announced, so that none is lost.
#[derive(Debug)]
pub(super) struct Signals(mpsc::Receiver<()>);

/// Signals remembered; more mean nothing.
const REMEMBERED: usize = 2;

impl Signals {
    /// Takes SIGINT and SIGTERM (Ctrl-C elsewhere) from now on.
    pub(super) fn install() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(REMEMBERED);
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
                let mut stream = signal(kind)?;
                let sender = sender.clone();
                tokio::spawn(async move {
                    while stream.recv().await.is_some() && sender.send(()).await.is_ok() {}
                });
            }
        }
        #[cfg(not(unix))]
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {}
        });
        Ok(Self(receiver))
    }

    /// The next signal.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}
