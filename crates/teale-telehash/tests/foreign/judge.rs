//! The v2 switch in Python as a node of a world, beside ours: it has neither socket nor clock there.

use std::{path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use teale_sim::{Context, Event as Happening, Machine};
use teale_telehash::{
    Ipp,
    v2::{Event, Input, Output, Switch},
};

use crate::foreign::{Foreign, script};

/// Where every switch listens.
pub const PORT: u16 = 5000;

/// A node of either kind.
pub enum Node {
    Ours(Box<Ours>),
    Judge(Judge),
}

impl Node {
    pub fn ours(&mut self) -> &mut Ours {
        match self {
            Self::Ours(ours) => ours,
            Self::Judge(_) => panic!("this is the judge"),
        }
    }

    pub fn judge(&mut self) -> &mut Judge {
        match self {
            Self::Judge(judge) => judge,
            Self::Ours(_) => panic!("this is ours"),
        }
    }
}

impl Machine for Node {
    fn handle(&mut self, event: Happening, context: &mut Context<'_>) {
        match self {
            Self::Ours(ours) => {
                let now = context.now();
                match &event {
                    Happening::Datagram { from, payload, .. } => {
                        ours.switch.handle(now, Input::Datagram { from: *from, bytes: payload });
                    }
                    _ => ours.switch.handle(now, Input::Tick),
                }
                ours.drain(context);
            }
            Self::Judge(judge) => match event {
                Happening::Datagram { from, payload, .. } => {
                    let command =
                        json!({"do": "datagram", "from": from.to_string(), "data": hex::encode(payload)});
                    judge.tell(context, command);
                }
                _ => judge.tell(context, json!({"do": "tick"})),
            },
        }
    }
}

/// Our switch.
pub struct Ours {
    pub switch: Switch,
    pub events: Vec<Event>,
}

impl Ours {
    pub fn new(switch: Switch) -> Self {
        Self { switch, events: Vec::new() }
    }

    pub fn drain(&mut self, context: &mut Context<'_>) {
        loop {
            match self.switch.poll() {
                Output::Send { to, bytes } => context.send(PORT, to.socket_addr(), bytes),
                Output::Event(event) => self.events.push(event),
                Output::Wait(at) => return context.wake_at(at),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The switch in Python.
pub struct Judge {
    pub program: Foreign,
}

impl Judge {
    pub fn start(python: &Path, ipp: Ipp, seed: u64) -> Self {
        let mut command = Command::new(python);
        command.arg(script("v2_peer.py")).args(["--ipp", &ipp.to_string(), "--seed", &seed.to_string()]);
        Self { program: Foreign::start(&mut command) }
    }

    /// Says something to it and does what it wants until it waits.
    pub fn tell(&mut self, context: &mut Context<'_>, mut command: Value) {
        command["now"] = context.now().as_secs_f64().into();
        self.program.tell(&command);
        loop {
            let event = self.program.hear();
            match event["event"].as_str() {
                Some("send") => {
                    let to = event["to"].as_str().unwrap().parse().unwrap();
                    context.send(PORT, to, hex::decode(event["data"].as_str().unwrap()).unwrap());
                }
                Some("wait") => {
                    // Never a little too early, which would ask for the same moment again.
                    let at =
                        event["at"].as_f64().map(|at| Duration::from_secs_f64(at) + Duration::from_micros(1));
                    return context.wake_at(at);
                }
                _ => self.program.said.push(event),
            }
        }
    }
}
