"""The draft's switch on a UDP socket of 127.0.0.1, driven by JSON lines: commands on stdin, events on stdout.

    v2_peer.py [--loss 0.2] [--double 0.1] [--reorder 0.2] [--seed 1] [--speed 1]
    v2_peer.py --ipp IPP [--seed 1]

Loss, doubles and reordering are its own doing, on what it sends and on what it receives. With --speed 10 its clock runs
ten times as fast as the wall's: a test that does the same with the other side waits less.

With --ipp there is neither socket nor clock: each command has a "now" in seconds, datagrams come as commands and go as
events, and after each command an event tells when to tick. Then the network and its weather are the test's.

    {"do":"open","to":IPP,"via":IPP?,"tid":…,"bind":…}   {"do":"request","session":N,"req":{…},"body":HEX}
    {"do":"respond","session":N,"tid":…,"res":{…},"body":HEX}   {"do":"echo","on":true}
    {"do":"recv","session":N,"hash":…,"keys":{…}}   {"do":"stop","session":N,"hash":…}
    {"do":"seek","to":IPP,"hash":…,"bind":…,"body":HEX}   {"do":"learn","ipp":IPP}
    {"do":"raw","to":IPP,"data":HEX}   {"do":"stats"}   {"do":"quit"}
    with --ipp: {"do":"tick","now":S}   {"do":"datagram","now":S,"from":IPP,"data":HEX}
"""

import argparse
import heapq
import json
import random
import selectors
import socket
import sys
import time

from v2_switch import Switch, as_line


class Weather:
    """What a bad network does to datagrams, each way."""

    LATE = 0.05  # seconds, at most

    def __init__(self, options):
        self.loss, self.double, self.reorder = options.loss, options.double, options.reorder
        self.random = random.Random(options.seed)
        self.waiting, self.count = [], 0

    def put(self, now, way, peer, data):
        copies = 0 if self.random.random() < self.loss else 1 + (self.random.random() < self.double)
        for _ in range(copies):
            late = self.random.uniform(0, self.LATE) if self.random.random() < self.reorder else 0
            self.count += 1
            heapq.heappush(self.waiting, (now + late, self.count, way, peer, data))

    def due(self, now):
        while self.waiting and self.waiting[0][0] <= now:
            yield heapq.heappop(self.waiting)[2:]

    def next_at(self):
        return self.waiting[0][0] if self.waiting else None


def tell(event):
    sys.stdout.write(as_line(event) + "\n")
    sys.stdout.flush()


def obey(switch, now, command):
    do = command["do"]
    body = bytes.fromhex(command.get("body", ""))
    bind, number = command.get("bind"), command.get("session")
    if do == "open":
        switch.open(now, command["to"], command.get("via"), command.get("tid"), bind)
    elif do == "request":
        switch.request(now, number, command["req"], body, command.get("tid"))
    elif do == "respond":
        switch.respond(now, number, command["tid"], command["res"], body)
    elif do == "recv":
        switch.recv(now, number, command["hash"], command.get("keys", {}))
    elif do == "stop":
        switch.stop(now, number, command["hash"])
    elif do == "seek":
        switch.seek(now, command["to"], command["hash"], bind, body)
    elif do == "learn":
        switch.known.add(command["ipp"])
    elif do == "echo":
        switch.echo = command["on"]
    elif do == "raw":
        switch.send(command["to"], bytes.fromhex(command["data"]))
    elif do == "datagram":
        switch.datagram(now, command["from"], bytes.fromhex(command["data"]))
    elif do == "stats":
        switch.events.append(switch.stats())
    elif do != "tick":
        raise ValueError(f"no command {do}")


class Peer:
    """On a socket, in the wall's time."""

    def __init__(self, options):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.speed, self.begun = options.speed, time.monotonic()
        self.weather = Weather(options)
        self.switch = Switch(f"127.0.0.1:{self.socket.getsockname()[1]}", random.Random(options.seed + 1))
        self.lines, self.over = b"", False

    def now(self):
        return (time.monotonic() - self.begun) * self.speed

    def run(self):
        watched = selectors.DefaultSelector()
        watched.register(self.socket, selectors.EVENT_READ, self.read_socket)
        watched.register(sys.stdin, selectors.EVENT_READ, self.read_commands)
        tell({"event": "ready", "ipp": self.switch.ipp})
        while not self.over:
            moments = [at for at in (self.switch.next_at(), self.weather.next_at()) if at is not None]
            wait = max(0, min(moments) - self.now()) / self.speed if moments else None
            for key, _ in watched.select(wait):
                key.data()
            self.work()

    def work(self):
        self.switch.tick(self.now())
        self.flush()
        for way, peer, data in list(self.weather.due(self.now())):
            if way == "in":
                self.switch.datagram(self.now(), peer, data)
                self.flush()
            else:
                host, port = peer.rsplit(":", 1)
                self.socket.sendto(data, (host, int(port)))

    def flush(self):
        for to, data in self.switch.out:
            self.weather.put(self.now(), "out", to, data)
        self.switch.out.clear()
        for event in self.switch.events:
            tell(event)
        self.switch.events.clear()

    def read_socket(self):
        for _ in range(64):
            try:
                data, (host, port) = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            self.weather.put(self.now(), "in", f"{host}:{port}", data)

    def read_commands(self):
        read = sys.stdin.buffer.raw.read(1 << 16)
        *lines, self.lines = (self.lines + read).split(b"\n")
        commands = [json.loads(line) for line in lines]
        self.over = not read or any(command["do"] == "quit" for command in commands)
        for command in commands:
            if command["do"] != "quit":
                obey(self.switch, self.now(), command)


def stepped(options):
    """Without socket and clock."""
    switch = Switch(options.ipp, random.Random(options.seed))
    for line in sys.stdin:
        command = json.loads(line)
        obey(switch, command["now"], command)
        switch.tick(command["now"])
        for to, data in switch.out:
            tell({"event": "send", "to": to, "data": data})
        for event in switch.events:
            tell(event)
        switch.out.clear()
        switch.events.clear()
        tell({"event": "wait", "at": switch.next_at()})


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--loss", type=float, default=0)
    options.add_argument("--double", type=float, default=0)
    options.add_argument("--reorder", type=float, default=0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--speed", type=float, default=1)
    options.add_argument("--ipp")
    options = options.parse_args()
    if options.ipp:
        stepped(options)
    else:
        Peer(options).run()


if __name__ == "__main__":
    main()
