//! Being found: the ends of this node's models are tapped, and who announces itself there is met.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use teale_telehash::{Ipp, v1};
use teale_wire::telehash::TapRule;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Inner, SIGNAL, ends, meeting};

/// How often it is looked which models are served.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps a tap for each name of each model that is ready here.
pub(super) async fn keep(inner: Arc<Inner>) {
    let mut taps: HashMap<String, v1::TapId> = HashMap::new();
    let mut warned = false;
    loop {
        let models = inner.member.cluster.models();
        let own = models.iter().filter(|model| model.local && model.state == "ready");
        let wanted: HashSet<String> = own.flat_map(|model| ends::names(&model.id)).collect();
        taps.retain(|name, id| {
            if !wanted.contains(name) {
                inner.endpoint.v1(|switch, now| switch.untap(now, *id));
            }
            wanted.contains(name)
        });
        let too_many = wanted.len() > v1::bounds::OWN_TAPS;
        if too_many && !std::mem::replace(&mut warned, true) {
            let (names, most) = (wanted.len(), v1::bounds::OWN_TAPS);
            tracing::warn!(names, most, "not all models can be found in the DHT: they have too many names");
        }
        for name in wanted {
            if !taps.contains_key(&name)
                && taps.len() < v1::bounds::OWN_TAPS
                && let Some(id) = tap(&inner, &name)
            {
                taps.insert(name, id);
            }
        }
        inner.state().taps.clone_from(&taps);
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn tap(inner: &Inner, name: &str) -> Option<v1::TapId> {
    let end = ends::end(name);
    let rule = TapRule::new([("+end", end.to_string())], [SIGNAL]).ok()?;
    inner.endpoint.tap(end, vec![rule])
}

/// Hears the seekers.
pub(super) async fn listen(inner: Arc<Inner>, mut events: broadcast::Receiver<v1::Event>) {
    loop {
        let event = tokio::select! {
            () = inner.stop.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(v1::Event::Signal { from, signals, .. }) => {
                // Whoever announces may name anybody: what is named gets one `start`, and that is bounded below.
                if let Some(Ok(seeker)) = signals.get(SIGNAL).map(|text| Ipp::parse(text)) {
                    inner.counters.signals.fetch_add(1, Ordering::Relaxed);
                    meeting::begin(&inner, seeker, from);
                }
            }
            Ok(v1::Event::Tapped { at, .. }) => tracing::debug!(switches = at.len(), "tapped in the DHT"),
            Ok(v1::Event::Online { own }) => tracing::info!(%own, "online in the DHT"),
            Ok(v1::Event::Offline) => {
                tracing::warn!("no switch of the DHT answers; the seeds are asked again")
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "news of the DHT were lost"),
            Err(RecvError::Closed) => return,
        }
    }
}
