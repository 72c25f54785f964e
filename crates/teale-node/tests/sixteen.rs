//! Sixteen chats at once on one provider with four slots, over a relay, with a real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]
#![cfg(feature = "llama")]

mod common;

use common::{relay, tiny_as_model, until};
use futures_util::{StreamExt, future::join_all};
use teale_node::{
    EngineOptions, Node,
    chat::{ChatMessage, ChatRequest},
    cluster::{Cluster, ClusterEvent},
};

const CHATS: usize = 16;
const SLOTS: usize = 4;

fn request(number: usize) -> ChatRequest {
    ChatRequest {
        model: "tiny".into(),
        messages: vec![ChatMessage::text("user", format!("chat number {number}, what do you say?"))],
        temperature: Some(0.0),
        max_tokens: Some(64),
        ..ChatRequest::default()
    }
}

async fn ask(cluster: &Cluster, number: usize) -> String {
    let mut answer = cluster.chat(request(number)).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = answer.next().await {
        text.extend(chunk.unwrap().choices.into_iter().filter_map(|choice| choice.delta.content));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_chats_on_four_slots_each_equal_their_lone_run() {
    let (url, _relay) = relay().await;
    let model = tiny_as_model();
    let engine = EngineOptions { slots: SLOTS, ..EngineOptions::default() };
    let provider = Node::builder().relay(&url).engine(engine).model(model).start().await.unwrap();
    let consumer = common::consumer(Node::builder().relay(&url), "tiny").await;

    let mut events = consumer.cluster().events();
    let mut alone = Vec::new();
    for number in 0..CHATS {
        alone.push(ask(consumer.cluster(), number).await);
    }
    assert!(alone.iter().any(|text| *text != alone[0]), "the prompts matter");
    let together = join_all((0..CHATS).map(|number| ask(consumer.cluster(), number))).await;
    assert_eq!(together, alone);

    let idle = || {
        let status = provider.cluster().status();
        (status.slots, status.slots_busy, status.queued) == (SLOTS, 0, 0)
    };
    until("all slots are free", idle).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, ClusterEvent::LinkDown { .. } | ClusterEvent::Refused { .. }), "{event:?}");
    }
    let peers = consumer.cluster().peers();
    assert!(peers.iter().all(|peer| peer.healthy), "{peers:?}");
}
