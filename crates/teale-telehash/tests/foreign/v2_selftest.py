"""The judge judged: its vectors, and two of it over a bad network in virtual time."""

import hashlib
import random
import sys
from types import SimpleNamespace

from v2_peer import Weather
from v2_session import Incoming, Malformed, decode, encode, sid_of
from v2_switch import Switch, end_of


def vectors():
    assert encode({}, b"\x00\xff").hex() == "00027b7d00ff"
    assert encode({"start": "abc"}).hex() == "000f7b227374617274223a22616263227d"
    start = encode({"start": "alpha", "to": "127.0.0.1:5001", "from": "127.0.0.1:5000", "tid": "1"})
    assert len(start) == 75 and start[:2].hex() == "0049"
    assert sid_of("alpha", "beta") == "0c645492c58ad3fe8338329bbd9ad42a0ae78456"
    assert sid_of("beta", "alpha") == "25373879b9cbbaa1ec3bea1bd8b3b53d9be1d2e8"
    reply = {"start": "beta", "sid": sid_of("alpha", "beta"), "seq": 0}
    reply = encode({**reply, "to": "127.0.0.1:5000", "from": "127.0.0.1:5001", "tid": "1"})
    assert len(reply) == 131 and reply[:2].hex() == "0081"
    assert end_of("127.0.0.1:42424") == "9ad31810adba2348e6a8c9b5404cfae3371e01b1"
    assert decode(reply)[0]["start"] == "beta" and decode(b"\0\2{}")[1] == b""
    assert decode(b"\0\3{} x") == ({}, b"x")
    for bad in (b"", b"\0", b"\0\2", b"\0\2{", b"\0\0{}", b"\0\1{}", b"\0\2[]", b"\0\2\xff\xff", b"\0\4{}{}", b"\0\5{}"):
        try:
            decode(bad)
        except Malformed:
            continue
        raise AssertionError(bad)


def numbers():
    incoming = Incoming()
    assert [incoming.take(seq) for seq in (0, 1, 3, 3)] == [True, True, True, False]
    assert incoming.report() == {"range": [0, 3], "miss": [2]}
    assert incoming.take(2) and incoming.report() == {"range": [0, 3]}
    late = Incoming()
    assert late.take(2) and late.take(0) and late.report() == {"range": [0, 2], "miss": [1]}


class World:
    """Two or more switches, each with weather of its own, as v2_peer.py has."""

    def __init__(self, count, loss, double, reorder, seed):
        self.now, self.switches, self.weather, self.events = 0.0, {}, {}, {}
        for n in range(count):
            ipp = f"127.0.0.1:{5000 + n}"
            options = SimpleNamespace(loss=loss, double=double, reorder=reorder, seed=seed * 100 + n)
            self.switches[ipp] = Switch(ipp, random.Random(seed * 1000 + n))
            self.weather[ipp], self.events[ipp] = Weather(options), []

    def run(self, until, done):
        while not done():
            for ipp, switch in self.switches.items():
                switch.tick(self.now)
                self.flush(ipp)
            moments = [thing.next_at() for thing in (*self.switches.values(), *self.weather.values())]
            self.now = max(self.now + 0.0005, min(moment for moment in moments if moment is not None))
            assert self.now < until, (self.now, [s.stats() for s in self.switches.values()])
            for ipp in self.switches:
                for _, peer, data in list(self.weather[ipp].due(self.now)):
                    self.switches[ipp].datagram(self.now, peer, data)
                    self.flush(ipp)

    def flush(self, ipp):
        switch = self.switches[ipp]
        for to, data in switch.out:
            if to in self.weather:
                self.weather[to].put(self.now, "in", ipp, data)
        switch.out.clear()
        self.events[ipp] += switch.events
        switch.events.clear()

    def of(self, ipp, kind):
        return [event for event in self.events[ipp] if event["event"] == kind]


def bodies(loss, double, reorder, seed, count, length):
    """Requests with long bodies each way, each answered with its own body."""
    world = World(2, loss, double, reorder, seed)
    (a, one), (b, two) = world.switches.items()
    one.echo = two.echo = True
    one.open(0, b)
    world.run(60, lambda: world.of(a, "opened") and world.of(b, "opened"))
    sent, data = {}, random.Random(seed)
    for switch, ipp in ((one, a), (two, b)):
        for _ in range(count):
            body = data.randbytes(length)
            number = world.of(ipp, "opened")[0]["session"]
            sent[switch.request(world.now, number, {"uri": "x:y", "m": "PUT"}, body)] = body
    enough = lambda: len(world.of(a, "response")) + len(world.of(b, "response")) >= 2 * count
    world.run(4000, lambda: enough() or world.of(a, "closed") or world.of(b, "closed"))
    answers = world.of(a, "response") + world.of(b, "response")
    assert not world.of(a, "closed") + world.of(b, "closed"), world.of(a, "closed") + world.of(b, "closed")
    assert len(answers) == 2 * count and all(answer["body"] == sent[answer["tid"]] for answer in answers)
    packets = [next(iter(switch.stats()["sessions"].values())) for switch in (one, two)]
    print(f"loss {loss}: {world.now:.1f} s, {packets}")


def crossing():
    world = World(2, 0, 0, 0, 3)
    (a, one), (b, two) = world.switches.items()
    one.open(0, b)
    two.open(0, a)
    world.run(5, lambda: world.of(a, "opened") and world.of(b, "opened"))
    assert len(one.sessions) == len(two.sessions) == 1
    one.request(world.now, 1, {"uri": "x:y"}, b"both")
    two.echo = True
    world.run(9, lambda: world.of(a, "response"))


def listening():
    """A listens for a hash at B; a send of C at B reaches it, and it answers with a session."""
    world = World(3, 0, 0, 0, 4)
    a, b, c = world.switches
    hash = hashlib.sha1(b"hash").hexdigest()
    world.switches[a].open(0, b)
    world.run(5, lambda: world.of(a, "opened"))
    world.switches[a].recv(world.now, 1, hash, {"send": hash, "tid": "me"})
    world.run(9, lambda: world.of(a, "heard"))
    assert world.of(a, "heard")[0]["source"] == a
    tid = world.switches[c].seek(world.now, b, hash, {"who": "c"}, b"hello")
    world.run(12, lambda: len(world.of(a, "heard")) == 2)
    heard = world.of(a, "heard")[1]
    assert (heard["source"], heard["tid"], heard["bind"], heard["body"]) == (c, tid, {"who": "c"}, b"hello")
    world.switches[a].open(world.now, c, via=b, tid=tid, bind={"who": "a"})
    world.run(15, lambda: world.of(c, "opened"))
    assert world.of(c, "opened")[0]["tid"] == tid and world.of(c, "opened")[0]["bind"] == {"who": "a"}


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    vectors()
    numbers()
    crossing()
    listening()
    bodies(0, 0, 0, 1, count, 100_000)
    for seed in range(2, 6):
        bodies(0.2, 0.1, 0.3, seed, count, 500_000)
    print("ok")


if __name__ == "__main__":
    main()
