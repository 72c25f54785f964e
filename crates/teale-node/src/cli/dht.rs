//! `teale-node dht`: a switch of TeleHash alone, and a look at the DHT for people.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use teale_telehash::{End, Endpoint, EndpointConfig, Ipp, end_of, v1, v2};
use teale_wire::telehash::TapRule;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

use super::{dht_ask::Ask, failure::Failure, global::Context, runtime, signals::Signals};
use crate::{
    dht::{PATIENCE, resolve},
    notify,
    output::plain,
};

/// The port of TeleHash's seeds.
const PORT: u16 = 42424;
/// How long a switch that was started for one question may take to get into the DHT.
const ENTER: Duration = Duration::from_secs(15);
/// How often a serving switch says how it does.
const REPORT: Duration = Duration::from_secs(60);

/// The DHT: run a switch of it, or look into it.
#[derive(Debug, Args)]
pub(super) struct DhtVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a switch alone until SIGINT or SIGTERM. Without a seed it is the first of its DHT.
    Serve(Serve),
    /// Show the running node's place in the DHT.
    Status(Status),
    /// Find the switches nearest to an end.
    Dial(Dial),
    /// Print the signals that are announced at an end.
    Tap(Tap),
    /// Announce signals at an end.
    Announce(Announce),
    /// Ask a model that is found by its name, over the DHT's own sessions, sealed.
    Ask(Ask),
}

#[derive(Debug, Args)]
struct Serve {
    /// Where it listens, UDP; without a seed the address at which others reach it.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))]
    listen: SocketAddr,
    /// Join the DHT of this switch, HOST:PORT; may be given several times.
    #[arg(long = "seed", value_name = "ADDRESS")]
    seeds: Vec<String>,
    /// Its address as others see it, if that is not the one it listens on.
    #[arg(long, value_name = "ADDRESS")]
    public: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct Status {
    /// The node's API, instead of the running node of the data directory.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
}

/// How to get in for one question.
#[derive(Debug, Args)]
pub(super) struct Enter {
    /// Enter the DHT by this switch, HOST:PORT; may be given several times.
    #[arg(long = "seed", value_name = "ADDRESS", required = true)]
    seeds: Vec<String>,
}

#[derive(Debug, Args)]
struct Dial {
    #[command(flatten)]
    enter: Enter,
    /// 40 hex digits, or any text: then the SHA-1 of it.
    end: String,
}

#[derive(Debug, Args)]
struct Tap {
    #[command(flatten)]
    enter: Enter,
    /// Stop after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Only signals that have this one; may be given several times.
    #[arg(long = "has", value_name = "SIGNAL")]
    has: Vec<String>,
    /// 40 hex digits, or any text: then the SHA-1 of it.
    end: String,
}

#[derive(Debug, Args)]
struct Announce {
    #[command(flatten)]
    enter: Enter,
    /// 40 hex digits, or any text: then the SHA-1 of it.
    end: String,
    /// Signals to announce, such as `+foo=bar`.
    #[arg(value_name = "SIGNAL=VALUE", required = true)]
    signals: Vec<String>,
}

impl DhtVerb {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let serves = matches!(self.verb, Verb::Serve(_));
        context.start_logging(if serves { "info" } else { "warn" });
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            match &self.verb {
                Verb::Serve(verb) => verb.run(context).await,
                Verb::Status(verb) => verb.run(context).await,
                Verb::Dial(verb) => verb.run(context).await,
                Verb::Tap(verb) => verb.run(context).await,
                Verb::Announce(verb) => verb.run(context).await,
                Verb::Ask(verb) => verb.run(context).await,
            }
        });
        runtime.shutdown_background();
        result
    }
}

impl Serve {
    async fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut signals = Signals::install()
            .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
        let own = self.public.or_else(|| (!self.listen.ip().is_unspecified()).then_some(self.listen));
        let own = if self.seeds.is_empty() || self.public.is_some() { own.and_then(Ipp::new) } else { None };
        if self.seeds.is_empty() && own.is_none() {
            return Err(Failure::usage(
                "the first switch of a DHT has to know the address at which others reach it",
            )
            .hint("give a --listen that is no wildcard and has a port, or say it with --public"));
        }
        let seeds = match self.seeds.as_slice() {
            [] => Vec::new(),
            seeds => resolve(seeds, self.listen.is_ipv4()).await?,
        };
        let first = v1::Config { seeds: seeds.clone(), own, ..v1::Config::default() };
        let mut second = v2::Config::default();
        (second.seeds, second.own) = (seeds, own);
        let config = EndpointConfig { listen: self.listen, v1: Some(first), v2: Some(second) };
        let endpoint = bind(config)?;
        let address = endpoint.local_addr();
        let own = own.map(|own| own.to_string());
        let ready = json!({ "event": "listening", "address": address.to_string(), "own": own, "pid": std::process::id() });
        context.output.document(&ready, || format!("switch  {address} (UDP)"))?;
        notify::ready();
        let reporting = async {
            loop {
                tokio::time::sleep(REPORT).await;
                let numbers = endpoint.v1(|switch, _| {
                    let counters = switch.counters();
                    (switch.lines().count(), counters.received, counters.sent)
                });
                let (lines, received, sent) = numbers.unwrap_or_default();
                tracing::info!(lines, received, sent, "in the DHT");
            }
        };
        tokio::select! {
            () = reporting => {}
            () = signals.next() => notify::stopping(),
        }
        Ok(())
    }
}

impl Status {
    async fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client(self.api.as_deref())?;
        let status: Value = client.get("/teale/v1/status").await?;
        let dht = &status["dht"];
        if dht.is_null() {
            return Err(Failure::new("the running node is not in the DHT")
                .hint("start it with `teale-node serve --dht --dht-seed HOST:PORT`"));
        }
        Ok(context.output.document(dht, || text(dht))?)
    }
}

/// One line per number; a line per tapped model.
pub(super) fn text(dht: &Value) -> String {
    let mut lines = Vec::new();
    for (key, value) in dht.as_object().into_iter().flatten() {
        let key = format!("dht {}", plain(key).replace('_', " "));
        match value {
            Value::Array(taps) => lines.extend(taps.iter().map(|tap| {
                let model = plain(tap["model"].as_str().unwrap_or("?"));
                format!("{:<16} {model}, at {} switches", "dht tap", tap["switches"])
            })),
            Value::String(text) => lines.push(format!("{key:<16} {}", plain(text))),
            other => lines.push(format!("{key:<16} {other}")),
        }
    }
    lines.join("\n")
}

impl Dial {
    async fn run(&self, context: &Context) -> Result<(), Failure> {
        let (endpoint, own) = self.enter.enter(v1::Level::Full, false).await?;
        let end = end(&self.end);
        let dialed = endpoint.dial(end).await.ok_or_else(lost)?;
        let closest: Vec<String> = dialed.closest.iter().map(ToString::to_string).collect();
        let value = json!({ "end": end, "own": own, "closest": closest, "asked": dialed.asked });
        let text = || match closest.as_slice() {
            [] => "nobody answers there".to_owned(),
            closest => closest.join("\n"),
        };
        Ok(context.output.document(&value, text)?)
    }
}

impl Tap {
    async fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut signals = Signals::install()
            .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
        let (endpoint, _) = self.enter.enter(v1::Level::Full, false).await?;
        let end = end(&self.end);
        let has = self.has.iter().map(|signal| with_plus(signal));
        let rule = TapRule::new([("+end", end.to_string())], has)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut events = endpoint.events_v1();
        endpoint.tap(end, vec![rule]);
        let printing = async {
            loop {
                match events.recv().await {
                    Ok(v1::Event::Signal { from, signals, hop, .. }) => {
                        let value =
                            json!({ "event": "signal", "from": from, "hop": hop, "signals": signals });
                        context.output.document(&value, || {
                            let pairs = signals.iter().map(|(key, value)| format!("{key}={value}"));
                            plain(&pairs.collect::<Vec<_>>().join(" "))
                        })?;
                    }
                    Ok(v1::Event::Tapped { at, .. }) => {
                        let value = json!({ "event": "tapped", "at": at });
                        context.output.document(&value, || format!("tapped at {} switches", at.len()))?;
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                }
            }
        };
        let enough = async {
            match self.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            printed = printing => printed,
            () = enough => Ok(()),
            () = signals.next() => Ok(()),
        }
    }
}

impl Announce {
    async fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut signals = BTreeMap::new();
        for text in &self.signals {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!("`{text}` is no signal")).hint("signals look like +foo=bar")
            })?;
            signals.insert(with_plus(key), value.to_owned());
        }
        let (endpoint, _) = self.enter.enter(v1::Level::Announcer, false).await?;
        let end = end(&self.end);
        let told = endpoint.announce(end, signals).await.ok_or_else(lost)?;
        if told.is_empty() {
            return Err(Failure::new("the signals reached nobody")
                .hint("nobody answers, or they are too long: a telex has at most 1399 bytes"));
        }
        let text = || format!("told {} switches", told.len());
        Ok(context.output.document(&json!({ "end": end, "told": told }), text)?)
    }
}

impl Enter {
    /// A switch of our own that is in the DHT, and its address.
    pub(super) async fn enter(&self, level: v1::Level, sessions: bool) -> Result<(Endpoint, Ipp), Failure> {
        // The first seed's family is the DHT's.
        let v4 = resolve(&self.seeds[..1], true).await.is_ok();
        let seeds = resolve(&self.seeds, v4).await?;
        let any = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let second = sessions.then(|| {
            let mut second = v2::Config::default();
            second.seeds.clone_from(&seeds);
            second.patience = PATIENCE;
            second
        });
        let first = v1::Config { level, seeds, ..v1::Config::default() };
        let config = EndpointConfig { listen: SocketAddr::new(any, 0), v1: Some(first), v2: second };
        let endpoint = bind(config)?;
        match timeout(ENTER, endpoint.online()).await {
            Ok(own) => Ok((endpoint, own)),
            Err(_) => Err(Failure::new(format!("no seed answered within {} s", ENTER.as_secs()))
                .hint("is the address right, and is UDP let through?")),
        }
    }
}

fn bind(config: EndpointConfig) -> Result<Endpoint, Failure> {
    Endpoint::bind(config)
        .map_err(|error| Failure::new(error.to_string()).hint("choose another address with --listen"))
}

/// An end as people write it.
fn end(text: &str) -> End {
    End::parse(text).unwrap_or_else(|_| end_of(text))
}

fn with_plus(signal: &str) -> String {
    if signal.starts_with('+') { signal.to_owned() } else { format!("+{signal}") }
}

fn lost() -> Failure {
    Failure::new("more happened in the DHT than could be followed; try again")
}
