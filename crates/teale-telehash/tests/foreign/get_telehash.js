// One switch of the npm package get-telehash 0.2.2 (TeleHash v1), driven by JSON lines: commands on stdin, events on stdout.
//
//   node get_telehash.js MODULE MODE PORT [SEED…]
//
// MODULE is the folder of the installed package, MODE announcer, listener or full. It binds 127.0.0.1.
//
//   {"do":"dial","name":…}   {"do":"announce","name":…,"signals":{…}}   {"do":"tap","name":…,"rule":{…}}
//   {"do":"send","to":IPP,"telex":{…}}   {"do":"peers"}   {"do":"quit"}
"use strict";

const readline = require("readline");

const [modulePath, modeName, portText, ...seeds] = process.argv.slice(2);
const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");

// What the package logs is no event.
console.log = console.error = console.info = console.warn = () => {};

const telehash = require(modulePath).telehash;
const port = Number(portText);
const options = { mode: telehash.MODE[modeName.toUpperCase()], seeds, interface: "127.0.0.1", port };

const doers = {
  dial: (command) => telehash.dial(command.name),
  announce: (command) => telehash.announce(command.name, command.signals),
  tap: (command) =>
    telehash.tap(command.name, command.rule, (peer, telex) => {
      tell({ event: "signal", name: command.name, from: peer && peer.ipp, telex });
    }),
  send: (command) => telehash.send(command.to, command.telex),
  peers: () => tell({ event: "peers", peers: telehash.peers() }),
  quit: () => process.exit(0),
};

telehash.init(options, (error) => {
  if (error) {
    tell({ event: "failed", what: String(error) });
    process.exit(1);
  }
  telehash.seed((status, info) => tell({ event: "status", status, info: String(info) }));
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const command = JSON.parse(line);
    doers[command.do](command);
  });
  lines.on("close", () => process.exit(0));
});
