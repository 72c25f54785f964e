//! Who is there: the poll, the callers, the relay's rate limit.

use std::time::Duration;

use serde_json::json;
use teale_relay_client::{Event, Input, Inquiry, RelayError, Ticket};
use teale_wire::{Discover, DiscoverFilter, PeerRecord, RelayMessage};

use crate::support::{Node, record, secs};

fn ask(node: &mut Node, ticket: u64, filter: Option<DiscoverFilter>, patience: Duration) {
    let deadline = node.now + patience;
    let inquiry = Inquiry { ticket: Ticket(ticket), filter, deadline, patience };
    node.act(|client, now| client.discover(now, inquiry));
}

fn with_model(model: &str) -> Option<DiscoverFilter> {
    Some(DiscoverFilter { model_id: Some(model.into()), ..DiscoverFilter::default() })
}

fn discover(node: &mut Node) -> Option<Discover> {
    match node.message()? {
        RelayMessage::Discover(discover) => Some(discover),
        other => panic!("expected a discover, not {}", other.kind()),
    }
}

fn answers(node: &mut Node) -> Vec<(u64, Result<Vec<PeerRecord>, RelayError>)> {
    let (answers, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut node.events)
        .into_iter()
        .partition(|event| matches!(event, Event::Discovered { .. }));
    node.events = rest.into();
    answers
        .into_iter()
        .map(|event| match event {
            Event::Discovered { ticket, result } => (ticket.0, result),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_relay_is_asked_every_30_s() {
    let mut node = Node::registered(1);
    node.pass(secs(29.9));
    assert!(node.frames.is_empty());
    node.pass(secs(0.1));
    let discover = discover(&mut node).unwrap();
    assert_eq!((discover.requesting_node_id, discover.filter), (node.id(), None));
    let peer = Node::new(2).record();
    node.peers(std::slice::from_ref(&peer));
    assert!(matches!(node.events.pop_back(), Some(Event::Peers(peers)) if peers == [peer]));
}

#[test]
fn a_caller_within_10_s_of_the_last_request_waits_and_shares_the_next() {
    let mut node = Node::registered(1);
    node.pass(secs(4.0));
    ask(&mut node, 1, None, secs(20.0));
    node.pass(secs(3.0));
    ask(&mut node, 2, with_model("m"), secs(20.0));
    assert!(node.frames.is_empty());
    node.pass(secs(3.0));
    let discover = discover(&mut node).unwrap();
    let filter = discover.filter.unwrap();
    assert_eq!((filter.model_id, filter.max_peers), (None, Some(500)), "wide enough for both");
    assert!(node.frames.is_empty());
    let (a, b) = (record(Node::new(2).id(), None, &["m"]), record(Node::new(3).id(), None, &["n"]));
    node.peers(&[a.clone(), b.clone()]);
    assert_eq!(answers(&mut node), [(1, Ok(vec![a.clone(), b])), (2, Ok(vec![a]))]);
}

#[test]
fn callers_who_want_the_same_ask_for_just_that() {
    let mut node = Node::registered(1);
    node.pass(secs(11.0));
    ask(&mut node, 1, with_model("m"), secs(20.0));
    assert_eq!(discover(&mut node).unwrap().filter, with_model("m"));
    ask(&mut node, 2, with_model("m"), secs(20.0));
    ask(&mut node, 3, with_model("n"), secs(20.0));
    node.peers(&[]);
    assert_eq!(answers(&mut node), [(1, Ok(vec![])), (2, Ok(vec![]))], "the third asks for something else");
    node.pass(secs(10.0));
    assert_eq!(discover(&mut node).unwrap().filter, with_model("n"));
}

#[test]
fn a_caller_joins_a_poll_on_its_way_unless_the_relay_left_peers_out() {
    let mut node = Node::registered(1);
    node.pass(secs(30.0));
    node.frames.clear();
    ask(&mut node, 1, with_model("m"), secs(20.0));
    let other = record(Node::new(2).id(), None, &["other"]);
    node.peers(&vec![other; 50]);
    assert_eq!(answers(&mut node), [], "fifty are a sample");
    node.pass(secs(10.0));
    assert_eq!(discover(&mut node).unwrap().filter, with_model("m"));
    let wanted = record(Node::new(3).id(), None, &["m"]);
    node.peers(std::slice::from_ref(&wanted));
    assert_eq!(answers(&mut node), [(1, Ok(vec![wanted]))]);
}

#[test]
fn filters_hold_also_with_a_relay_that_ignores_them() {
    let mut node = Node::registered(1);
    node.pass(secs(11.0));
    let mut small = record(Node::new(2).id(), None, &["m"]);
    small.capabilities.hardware.total_ram_gb = 8.0;
    let mut phone = record(Node::new(3).id(), None, &["m"]);
    phone.capabilities.hardware.tier = 4;
    let (good, better) = (record(Node::new(4).id(), None, &["m"]), record(Node::new(5).id(), None, &["m"]));
    let filter = DiscoverFilter {
        model_id: Some("m".into()),
        min_ram_gb: Some(16.0),
        min_tier: Some(2),
        max_peers: Some(1),
        ..DiscoverFilter::default()
    };
    ask(&mut node, 1, Some(filter), secs(20.0));
    node.peers(&[small, phone, record(Node::new(6).id(), None, &[]), good.clone(), better]);
    assert_eq!(answers(&mut node), [(1, Ok(vec![good]))]);
}

#[test]
fn a_rate_limited_request_leaves_again_when_the_relay_allows_it() {
    let mut node = Node::registered(1);
    node.pass(secs(11.0));
    ask(&mut node, 1, None, secs(20.0));
    node.kinds();
    node.relay(json!({"error": {"code": "rate_limited", "message": "slow", "retryAfterSeconds": 7.5}}));
    node.pass(secs(7.4));
    assert!(node.frames.is_empty());
    node.pass(secs(0.1));
    assert_eq!(node.kinds(), ["discover"]);
    node.relay(json!({"error": {"code": "rate_limited", "message": "slow", "retryAfterSeconds": 1e300}}));
    node.pass(secs(12.5));
    let refused = RelayError::Refused { code: "rate_limited".into(), retry_after: None };
    let (1, Err(RelayError::Refused { code, retry_after: Some(_) })) = answers(&mut node).remove(0) else {
        panic!("not {refused}");
    };
    assert_eq!(code, "rate_limited");
}

#[test]
fn a_request_nobody_answers_is_repeated_until_the_callers_patience_ends() {
    let mut node = Node::registered(1);
    node.pass(secs(11.0));
    ask(&mut node, 1, None, secs(15.0));
    node.pass(secs(10.0));
    assert_eq!(node.kinds(), ["discover", "discover"]);
    node.pass(secs(5.0));
    assert_eq!(answers(&mut node), [(1, Err(RelayError::Timeout(secs(15.0))))]);
}

#[test]
fn without_a_connection_callers_wait_for_one() {
    let mut node = Node::new(1);
    ask(&mut node, 1, None, secs(2.0));
    ask(&mut node, 2, None, secs(60.0));
    node.pass(secs(2.0));
    assert_eq!(answers(&mut node), [(1, Err(RelayError::NotConnected("still connecting".into())))]);
    node.input(Input::Connected);
    node.pass(secs(1.0));
    node.acknowledge(300);
    assert_eq!(node.kinds(), ["register", "discover"]);
    node.lost();
    node.pass(secs(1.0));
    node.input(Input::Connected);
    node.pass(secs(1.0));
    node.acknowledge(300);
    node.peers(&[]);
    assert_eq!(answers(&mut node), [(2, Ok(vec![]))], "asked again on the new connection");
}

#[test]
fn the_callers_are_bounded() {
    let mut node = Node::new(1);
    for ticket in 0..256 {
        ask(&mut node, ticket, None, secs(60.0));
    }
    assert!(node.events.is_empty());
    ask(&mut node, 256, None, secs(60.0));
    assert_eq!(answers(&mut node), [(256, Err(RelayError::Busy))]);
}

#[test]
fn an_answer_nobody_asked_for_is_ignored_and_false_records_are_left_out() {
    let mut node = Node::registered(1);
    node.peers(&[Node::new(2).record()]);
    assert!(node.events.is_empty());
    node.pass(secs(30.0));
    let (own, honest) = (node.record(), Node::new(2).record());
    let mut two_names = Node::new(3).record();
    two_names.public_key = honest.node_id;
    node.peers(&[own, two_names, honest.clone()]);
    assert!(matches!(node.events.pop_back(), Some(Event::Peers(peers)) if peers == [honest]));
}

#[test]
fn shutdown_answers_everybody_who_waits() {
    let mut node = Node::new(1);
    ask(&mut node, 1, None, secs(60.0));
    node.act(|client, now| client.shutdown(now));
    ask(&mut node, 2, None, secs(60.0));
    assert_eq!(answers(&mut node), [(1, Err(RelayError::Closed)), (2, Err(RelayError::Closed))]);
}
