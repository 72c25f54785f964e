//! The relay goes away and comes back.

use std::time::{Duration, Instant};

use teale_relay_client::{RelayEvent, SessionError};
use tokio::time::timeout;

use crate::support::{PATIENCE, Relay, Wire, end, record, registered, session};

#[tokio::test]
async fn an_outage_ends_sessions_at_once_and_is_over_soon_after_the_relay_is_back() {
    let relay = Relay::start().await;
    let mut wire = Wire::to(relay.address).await;
    let (a, mut a_events) = registered(&wire.url(), 1).await;
    let (b, mut b_events) = registered(&wire.url(), 2).await;
    let (at_a, at_b) = session(&a, 2, &mut b_events).await;

    let cut = Instant::now();
    wire.cut().await;
    assert_eq!(end(&mut at_a.split().1).await, SessionError::RelayLost);
    assert_eq!(end(&mut at_b.split().1).await, SessionError::RelayLost);
    assert!(cut.elapsed() < Duration::from_secs(2), "{:?}", cut.elapsed());
    assert_eq!(a.open(&record(2), PATIENCE).await.unwrap_err(), SessionError::RelayLost);

    tokio::time::sleep(Duration::from_secs(3).saturating_sub(cut.elapsed())).await;
    assert!(!a.status().registered && a.status().last_error.is_some());
    wire.mend().await;
    let back = Instant::now();
    a.registered(PATIENCE).await.unwrap();
    b.registered(PATIENCE).await.unwrap();
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_eq!(a.status().last_error, None);
    let _again = session(&a, 2, &mut b_events).await;

    let mut states = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_millis(50), a_events.next()).await {
        match event {
            RelayEvent::Registered => states.push("registered"),
            RelayEvent::Disconnected { .. } => states.push("disconnected"),
            _ => {}
        }
    }
    assert_eq!(states.first(), Some(&"registered"));
    assert_eq!(states.last(), Some(&"registered"));
    assert!(states.contains(&"disconnected"));
}
