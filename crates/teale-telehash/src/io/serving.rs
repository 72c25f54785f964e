//! Answering the requests of peers.

use std::{collections::HashMap, future::Future, sync::Arc};

use bytes::Bytes;
use serde_json::value::RawValue;
use teale_wire::telehash::{Ipp, Req, Res};
use tokio::{
    sync::{Semaphore, broadcast::error::RecvError},
    task::{AbortHandle, JoinSet},
};

use super::Endpoint;
use crate::v2::{Event, RespondError, SessionId};

/// A request of a peer: to an HTTP URI, or to any other.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Asked {
    /// The session it came in: its peer receives what is sent to its address, and nothing else is proved.
    pub session: SessionId,
    /// That address.
    pub peer: Ipp,
    /// What is asked.
    pub req: Req,
    /// Who the peer claims to be, as it wrote it.
    pub bind: Option<Box<RawValue>>,
    /// The body.
    pub body: Bytes,
}

impl Endpoint {
    /// Answers the requests of peers, `at_once` at a time, each in a task of its own, which ends with the session; one too many
    /// is answered with status 503. Goes on until the future is dropped, and the answers under way with it.
    pub async fn serve<H, F>(&self, at_once: usize, handler: H)
    where
        H: Fn(Asked) -> F,
        F: Future<Output = (Res, Bytes)> + Send + 'static,
    {
        let mut events = self.events_v2();
        let places = Arc::new(Semaphore::new(at_once));
        let mut running = JoinSet::new();
        let mut of_session: HashMap<SessionId, Vec<AbortHandle>> = HashMap::new();
        loop {
            while running.try_join_next().is_some() {}
            let event = match events.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "requests of peers may have been lost");
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            if let Event::Closed { id, .. } = &*event {
                // Nobody is there to be answered.
                of_session.remove(id).into_iter().flatten().for_each(|task| task.abort());
            }
            let Event::Request { session, tid, req, bind, body } = &*event else { continue };
            let Some(peer) = self.peer(*session) else { continue };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                self.answer(*session, tid, Res::new(503), Bytes::new());
                continue;
            };
            let (session, tid) = (*session, tid.clone());
            let asked = Asked { session, peer, req: req.clone(), bind: bind.clone(), body: body.clone() };
            let (this, answer) = (self.clone(), handler(asked));
            let task = running.spawn(async move {
                let (res, body) = answer.await;
                this.answer(session, &tid, res, body);
                drop(place);
            });
            let tasks = of_session.entry(session).or_default();
            tasks.retain(|task| !task.is_finished());
            tasks.push(task);
            // The word that a session has closed may have been lost.
            if of_session.len() > 2 * at_once {
                of_session.retain(|_, tasks| tasks.iter().any(|task| !task.is_finished()));
            }
        }
    }

    /// The peer of a session.
    pub fn peer(&self, session: SessionId) -> Option<Ipp> {
        let found = self.v2(|switch, _| switch.sessions().find(|known| known.id == session));
        found.flatten().map(|known| known.peer)
    }

    fn answer(&self, session: SessionId, tid: &str, res: Res, body: Bytes) {
        let answered = self.v2(|switch, now| match switch.respond(now, session, tid, res, body) {
            Err(RespondError::Full) => switch.respond(now, session, tid, Res::new(503), Bytes::new()),
            answered => answered,
        });
        if let Some(Err(error)) = answered {
            tracing::debug!(%error, "a request was not answered");
        }
    }
}
