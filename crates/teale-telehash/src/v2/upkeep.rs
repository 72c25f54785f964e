//! What time brings: sessions' packets, starts again, ends, walks; and when that is.

use std::time::Duration;

use super::{Switch, ports::SessionId};

impl Switch {
    /// Does everything that can be done now.
    pub(super) fn work(&mut self, now: Duration) {
        self.look_at_sessions(now);
        self.neighbours_on(now);
        self.listen_on(now);
        self.walk_on(now);
        self.seek_on(now);
        // What those have put into sessions goes out too.
        self.look_at_sessions(now);
    }

    fn look_at_sessions(&mut self, now: Duration) {
        while let Some(id) = self.sessions.pop_due(now) {
            if let Some(reason) = self.sessions.get(id).and_then(|session| session.over(now)) {
                self.end(now, id, reason);
                continue;
            }
            self.expire_threads(now, id);
            self.flush(now, id);
            let patience = self.config.patience;
            if let Some(next) = self.sessions.get(id).map(|session| session.deadline(patience)) {
                self.sessions.looked_at(id, next);
            }
        }
    }

    fn flush(&mut self, now: Duration, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let peer = session.peer;
        if let Some(start) = session.start_again(now) {
            self.send(peer, start);
            return;
        }
        match session.flush(now) {
            Ok(flushed) => {
                self.counters.resent += flushed.resent;
                self.counters.unsent += flushed.unsent;
                for bytes in flushed.packets {
                    self.send(peer, bytes);
                }
            }
            Err(reason) => self.end(now, id, reason),
        }
    }

    /// When to be woken.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let others = [
            self.sessions.deadline(),
            self.walks.deadline(),
            self.listens.deadline(),
            self.seeks.deadline(),
            self.neighbours.deadline(!self.sessions.any_open()),
        ];
        others.into_iter().flatten().min()
    }
}
