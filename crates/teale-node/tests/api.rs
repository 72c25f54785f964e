//! The HTTP API as clients see it: shapes, statuses, streams, guards, and slots that come free.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Script, until};
use futures_util::StreamExt;
use serde_json::{Value, json};
use teale_node::{ApiOptions, Node, NodeError, Secret};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A slot must be free this soon after its client went away. Debug builds on busy machines included.
const FREE_WITHIN: Duration = Duration::from_millis(100);

struct Fixture {
    node: Node,
    script: Arc<Script>,
    url: String,
}

async fn fixture(slots: usize, change: impl FnOnce(&mut ApiOptions)) -> Fixture {
    let script = Script::new("owner/script", slots);
    let mut options = ApiOptions::new(([127, 0, 0, 1], 0).into());
    change(&mut options);
    let node = Node::builder().backend(script.clone()).queue(1).api(options).start().await.unwrap();
    let url = node.api_url().unwrap();
    Fixture { node, script, url }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn body(text: &str, stream: bool) -> Value {
    json!({ "model": "script", "messages": [{ "role": "user", "content": text }], "stream": stream })
}

async fn post(url: &str, body: &Value) -> (u16, Value) {
    let response = http().post(format!("{url}/v1/chat/completions")).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn stream_text(url: &str, body: &Value) -> String {
    let response = http().post(format!("{url}/v1/chat/completions")).json(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-cache");
    assert_eq!(headers["x-accel-buffering"], "no");
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_whole_answer_has_openais_shape() {
    let f = fixture(1, |_| {}).await;
    let response = http()
        .post(format!("{}/v1/chat/completions", f.url))
        .json(&body("words 3", false))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-teale-node"], f.node.id().to_string());
    assert_eq!(response.headers()["x-teale-path"], "own");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(
        answer["choices"][0]["message"],
        json!({ "role": "assistant", "content": "wörd0 wörd1 wörd2 " })
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["total_tokens"], 6);
    let (status, answer) = post(&f.url, &body("tools", false)).await;
    assert_eq!(status, 200);
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "f");
}

#[tokio::test]
async fn a_stream_reads_as_openai_writes_it() {
    let f = fixture(1, |_| {}).await;
    let text = stream_text(&f.url, &body("words 2", true)).await;
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-script\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"owner/script\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let expected = [
        chunk("{\"role\":\"assistant\",\"content\":\"\"}", "null"),
        chunk("{\"content\":\"wörd0 \"}", "null"),
        chunk("{\"content\":\"wörd1 \"}", "null"),
        chunk("{}", "\"stop\""),
        "data: [DONE]\n\n".to_owned(),
    ];
    assert_eq!(text, expected.concat());

    let mut with_usage = body("words 2", true);
    with_usage["stream_options"] = json!({ "include_usage": true });
    let text = stream_text(&f.url, &with_usage).await;
    let events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    let last: Value = serde_json::from_str(events[events.len() - 2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 2);
    assert_eq!(last["id"], "chatcmpl-script");
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    assert_eq!(events.iter().filter(|event| event.contains("\"usage\"")).count(), 1);
}

#[tokio::test]
async fn an_error_after_the_start_is_one_event_and_the_end() {
    let f = fixture(1, |_| {}).await;
    let text = stream_text(&f.url, &body("break", true)).await;
    let events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    let last: Value = serde_json::from_str(events.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "internal_error");
    assert_eq!(last["error"]["type"], "server_error");
    assert!(!text.contains("[DONE]"));
}

#[tokio::test]
async fn refusals_have_their_status_code_and_field() {
    let f = fixture(1, |_| {}).await;
    let (status, error) = post(&f.url, &body("context", true)).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("context_length_exceeded")));
    let mut unknown = body("words 1", false);
    unknown["model"] = "nobody/has-it".into();
    let (status, error) = post(&f.url, &unknown).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(error["error"]["type"], "invalid_request_error");
    let (status, error) = post(&f.url, &json!({ "model": "script" })).await;
    assert_eq!((status, error["error"]["code"].is_string()), (400, true));
    let mut strange = body("words 1", false);
    strange["some_future_field"] = json!({ "x": 1 });
    assert_eq!(post(&f.url, &strange).await.0, 200);
}

#[tokio::test]
async fn routes_methods_and_bodies_that_are_wrong_answer_in_shape() {
    let f = fixture(1, |_| {}).await;
    let http = http();
    let seen = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let error: Value = response.json().await.unwrap();
        assert!(error["error"]["message"].is_string(), "{error}");
        (status, error["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let chat = format!("{}/v1/chat/completions", f.url);
    assert_eq!(seen(http.get(format!("{}/v2/x", f.url))).await, (404, "unknown_url".into()));
    assert_eq!(seen(http.get(&chat)).await, (405, "method_not_allowed".into()));
    assert_eq!(seen(http.post(&chat).body("{\"model\"")).await.0, 400);
    assert_eq!(
        seen(http.post(&chat).body(vec![b' '; (16 << 20) + 1])).await,
        (413, "request_too_large".into())
    );
    assert_eq!(seen(http.get(format!("{}/v1/models/none", f.url))).await, (404, "model_not_found".into()));
    assert_eq!(seen(http.get(format!("{}/v1/models/%ff", f.url))).await.0, 400);
    assert_eq!(http.get(&chat).send().await.unwrap().headers()["allow"], "POST");
    let lenient =
        http.post(&chat).header("content-type", "text/plain").body(body("words 1", false).to_string());
    assert_eq!(lenient.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn models_health_readiness_and_metrics() {
    let f = fixture(2, |_| {}).await;
    let get = async |path: &str| http().get(format!("{}{path}", f.url)).send().await.unwrap();
    let models: Value = get("/v1/models").await.json().await.unwrap();
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][0]["id"], "owner/script");
    let model: Value = get("/v1/models/owner/script").await.json().await.unwrap();
    assert_eq!(model["object"], "model");
    assert_eq!(get("/health").await.status(), 200);
    assert_eq!(get("/ready").await.status(), 200);
    post(&f.url, &body("words 5", false)).await;
    let metrics = get("/metrics").await.text().await.unwrap();
    for line in [
        "teale_requests_total{model=\"owner/script\",status=\"200\"} 1",
        "teale_prompt_tokens_total 3",
        "teale_generation_tokens_total 5",
        "teale_requests_running 0",
        "teale_time_to_first_token_seconds_count 1",
        "teale_inter_token_latency_seconds_count 4",
        "teale_e2e_request_latency_seconds_bucket{le=\"+Inf\"} 1",
        "teale_request_queue_time_seconds_bucket{le=\"0.3\"} 1",
        "teale_request_queue_time_seconds_bucket{le=\"7680\"} 1",
        "teale_request_queue_time_seconds_count 1",
        "teale_peers{path=\"relay\"} 0",
        "teale_handshake_failures_total{reason=\"replay detected\"} 0",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is missing in\n{metrics}");
    }
    let empty = Node::builder().api(ApiOptions::new(([127, 0, 0, 1], 0).into())).start().await.unwrap();
    let ready = http().get(format!("{}/ready", empty.api_url().unwrap())).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let f = fixture(1, |_| {}).await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let url = f.url.clone();
            tokio::spawn(async move { post(&url, &body("hold", true)).await })
        })
        .collect();
    let cluster = f.node.cluster().clone();
    until("one runs, one waits", || cluster.status().slots_busy == 1 && cluster.status().queued == 1).await;
    let response = http()
        .post(format!("{}/v1/chat/completions", f.url))
        .json(&body("hold", false))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["code"], "queue_full");
    held.into_iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn a_body_announced_as_too_large_is_not_waited_for() {
    let f = fixture(1, |_| {}).await;
    let address = f.node.api_addr().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: 99999999999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer[..length]));
}

/// Sends a request by hand, so that the connection can be cut at any point.
async fn raw(f: &Fixture, body: &Value) -> TcpStream {
    let address = f.node.api_addr().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Tries per case: the machine may be busy with something else at the wrong moment.
const TRIES: usize = 4;

/// Cuts a connection and says how long the slot of `worker` stayed taken.
async fn cut(stream: TcpStream, worker: &Node, script: &Script) -> Duration {
    drop(stream);
    until("the slot is free", || {
        script.live.load(std::sync::atomic::Ordering::SeqCst) == 0
            && worker.cluster().status().slots_busy == 0
    })
    .await
}

/// Begins `prompt` through `asking`, waits until `worker` is at it for a while, cuts; the best of some tries counts.
async fn frees_the_slot(asking: &Fixture, worker: &Node, prompt: &str, streamed: bool) {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let stream = raw(asking, &body(prompt, streamed)).await;
        until("it runs", || worker.cluster().status().slots_busy == 1).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        best = best.min(cut(stream, worker, &asking.script).await);
        if best < FREE_WITHIN {
            return;
        }
    }
    panic!("{prompt}, streamed {streamed}: the slot was free only after {best:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot() {
    let f = fixture(1, |_| {}).await;
    // In the middle of an answer, and before its first chunk.
    for prompt in ["pace 1000", "hold"] {
        for streamed in [true, false] {
            frees_the_slot(&f, &f.node, prompt, streamed).await;
        }
    }
    let metrics = http().get(format!("{}/metrics", f.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("teale_requests_total{model=\"owner/script\",status=\"499\"}"), "{metrics}");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_and_its_slot_freed() {
    let f = fixture(1, |options| options.write_timeout = Duration::from_secs(1)).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let mut client = socket.connect(f.node.api_addr().unwrap()).await.unwrap();
    // More than the kernel's buffers take.
    let body = body("words 60000", true).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).await.unwrap();
    let live = || f.script.live.load(std::sync::atomic::Ordering::SeqCst);
    until("the answer begins", || live() == 1).await;
    let took = until("the slot is free", || live() == 0 && f.node.cluster().status().slots_busy == 0).await;
    println!("cut off after {took:?}");
    let metrics = http().get(format!("{}/metrics", f.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("teale_requests_total{model=\"owner/script\",status=\"499\"} 1"), "{metrics}");
    // The client finds its connection cut in the middle of the answer.
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"data: [DONE]\n\n\r\n0\r\n\r\n") && !rest.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused() {
    let f = fixture(1, |options| options.cors_origins = vec!["https://app.example".into()]).await;
    let models = format!("{}/v1/models", f.url);
    let get = async |name: &str, value: &str| http().get(&models).header(name, value).send().await.unwrap();
    assert_eq!(get("host", "evil.example").await.status(), 403);
    assert_eq!(get("host", "localhost:1").await.status(), 200);
    assert_eq!(get("origin", "https://evil.example").await.status(), 403);
    let listed = get("origin", "https://app.example").await;
    assert_eq!(listed.headers()["access-control-allow-origin"], "https://app.example");
    let preflight = http()
        .request(reqwest::Method::OPTIONS, format!("{}/v1/chat/completions", f.url))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
}

#[tokio::test]
async fn with_a_key_everything_but_health_needs_it() {
    let f = fixture(1, |options| options.key = Some(Secret::new("sesame"))).await;
    let get = async |path: &str, key: Option<&str>| {
        let mut request = http().get(format!("{}{path}", f.url));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap()
    };
    let refused = get("/v1/models", None).await;
    assert_eq!(refused.status(), 401);
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["code"], "invalid_api_key");
    assert_eq!(get("/v1/models", Some("wrong")).await.status(), 401);
    assert_eq!(get("/metrics", None).await.status(), 401);
    assert_eq!(get("/teale/v1/status", None).await.status(), 401);
    assert_eq!(get("/v1/models", Some("sesame")).await.status(), 200);
    assert_eq!(get("/health", None).await.status(), 200);
    assert_eq!(get("/ready", None).await.status(), 200);
}

#[tokio::test]
async fn beyond_loopback_a_key_is_needed() {
    let open = Node::builder().api(ApiOptions::new(([0, 0, 0, 0], 0).into())).start().await;
    assert!(matches!(open, Err(NodeError::ApiKeyNeeded(_))));
    let mut options = ApiOptions::new(([0, 0, 0, 0], 0).into());
    options.key = Some(Secret::new("sesame"));
    let node = Node::builder().api(options).start().await.unwrap();
    node.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn shutting_down_lets_a_running_answer_end_and_refuses_new_ones() {
    let f = fixture(2, |_| {}).await;
    let response = http()
        .post(format!("{}/v1/chat/completions", f.url))
        .json(&body("pace 30", true))
        .send()
        .await
        .unwrap();
    let mut running = response.bytes_stream();
    running.next().await.unwrap().unwrap();
    let shutdown = tokio::spawn(f.node.shutdown(Duration::from_secs(20)));
    let mut text = Vec::new();
    while let Some(bytes) = running.next().await {
        text.extend_from_slice(&bytes.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("wörd29") && text.ends_with("data: [DONE]\n\n"), "{text}");
    shutdown.await.unwrap();
    assert!(http().get(format!("{}/health", f.url)).send().await.is_err());
}

#[tokio::test]
async fn a_remote_answer_says_who_gave_it_and_how_it_came() {
    let (relay, handle) = common::relay().await;
    let script = Script::new("owner/script", 2);
    let provider = Node::builder().relay(&relay).backend(script.clone()).start().await.unwrap();
    let consumer = Node::builder().relay(&relay).api(ApiOptions::new(([127, 0, 0, 1], 0).into()));
    let consumer = consumer.start().await.unwrap();
    let url = consumer.api_url().unwrap();
    // Just joined: the first request waits for the first discovery instead of answering 404.
    let response =
        http().post(format!("{url}/v1/chat/completions")).json(&body("words 3", true)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-teale-node"), provider.id().to_string());
    assert_eq!(header("x-teale-path"), "relay");
    assert_eq!(header("x-teale-encrypted"), "true");
    assert_eq!(header("x-teale-verified"), "true");
    assert!(response.text().await.unwrap().contains("wörd2"));
    // A client that goes away frees the slot on the other machine, too.
    let f = Fixture { node: consumer, script, url };
    for prompt in ["pace 1000", "hold"] {
        frees_the_slot(&f, &provider, prompt, true).await;
    }
    handle.shutdown();
}
