"""A switch of the TeleHash draft of 2012-08-03, written from the draft's text alone, as a judge of the Rust switch.

It knows no socket and no clock: `datagram` and `tick` take the time, `out` collects what to send, `events` what happened.
"""

import hashlib
import json

from v2_session import LARGEST, OF_THREADS, Malformed, Session, Thread, decode, encode, sid_of

START_AGAIN = (1.0, 2.0, 4.0)  # seconds between sendings of the same start
START_OVER = 10.0
ANSWERED, ASKED = 5, 3  # switches in a `see`, and how many of them are asked next
LONGEST_START = 128


def end_of(ipp):
    return hashlib.sha1(ipp.encode()).hexdigest()


def distance(one, other):
    return int(one, 16) ^ int(other, 16)


def is_end(text):
    return isinstance(text, str) and len(text) == 40 and all(c in "0123456789abcdefABCDEF" for c in text)


class Opening:
    """A start that is not answered yet."""

    def __init__(self, session, data, now):
        self.session, self.data, self.begun = session, data, now
        self.again = [now + sum(START_AGAIN[: n + 1]) for n in range(len(START_AGAIN))]
        self.popped = False


class Switch:
    def __init__(self, ipp, random):
        self.ipp, self.random = ipp, random
        self.out, self.events = [], []
        self.sessions, self.openings, self.replies, self.walks = {}, {}, {}, {}
        self.known, self.own_seen, self.echo, self.numbers = {ipp}, None, False, 0
        self.ignored = {}

    # ---- what a program calls

    def open(self, now, to, via=None, tid=None, bind=None):
        session = self.new_session(to, self.secret(), now)
        keys = {"start": session.mine, "to": to, "from": self.ipp, "tid": tid or self.secret()}
        if bind is not None:
            keys["bind"] = bind
        opening = Opening(session, encode(keys), now)
        self.openings[session.number] = opening
        self.send(to, opening.data)
        if via is not None:
            self.say(now, via, {"pop": to})
        return session.number

    def request(self, now, number, req, body, tid=None):
        tid = tid or self.secret()
        self.sessions[number].send_body(now, {"tid": tid, "req": req}, body)
        return tid

    def respond(self, now, number, tid, res, body):
        self.sessions[number].send_body(now, {"tid": tid, "res": res}, body)

    def recv(self, now, number, hash, keys):
        self.sessions[number].send(now, {"recv": hash, **keys})

    def stop(self, now, number, hash):
        self.sessions[number].send(now, {"stop": hash})

    def seek(self, now, to, hash, bind, body):
        """Walks towards a hash, from one switch on."""
        tid = self.secret()
        keys = {"send": hash, "tid": tid, **({"bind": bind} if bind is not None else {})}
        self.walks[tid] = {"hash": hash, "keys": keys, "body": body, "asked": {to}}
        self.say(now, to, keys, body)
        return tid

    # ---- what comes in

    def datagram(self, now, source, data):
        try:
            keys, body = decode(data)
        except Malformed as error:
            return self.ignore(str(error))
        if len(data) > LARGEST:
            self.ignore("too long, read all the same")
        session = None
        if isinstance(keys.get("sid"), str):
            session = self.session_of(now, source, keys)
            if session is None:
                return self.ignore("sid of no session")
        elif "start" in keys:
            self.started(now, source, keys)
        if session is not None and not session.hear(now, keys, body):
            return
        self.act(now, source, session, keys, body)

    def tick(self, now):
        for number, opening in list(self.openings.items()):
            if now >= opening.begun + START_OVER:
                del self.openings[number]
                self.events.append({"event": "closed", "session": number, "reason": "no answer"})
            elif opening.again and now >= opening.again[0]:
                opening.again.pop(0)
                self.send(opening.session.peer, opening.data)
        for session in list(self.sessions.values()):
            session.tick(now)
            if session.dead:
                del self.sessions[session.number]
                self.replies = {k: v for k, v in self.replies.items() if v[0] is not session}

    def next_at(self):
        moments = [session.next_at() for session in self.sessions.values()]
        for opening in self.openings.values():
            moments.append(opening.again[0] if opening.again else opening.begun + START_OVER)
        return min((moment for moment in moments if moment is not None), default=None)

    # ---- sessions

    def secret(self):
        return f"{self.random.getrandbits(96):024x}"

    def new_session(self, peer, mine, now):
        self.numbers += 1
        emit = lambda data: self.send(peer, data)
        return Session(self.numbers, peer, mine, now, emit, self.events.append)

    def session_of(self, now, source, keys):
        """The session of a packet with a sid; a start beside it may be the answer to ours."""
        sid = keys["sid"].lower()
        for session in self.sessions.values():
            if session.peer == source and sid in session.sids:
                return session
        theirs = keys.get("start")
        for number, opening in self.openings.items():
            session = opening.session
            if session.peer != source or not isinstance(theirs, str) or theirs == session.mine:
                continue
            if sid in (sid_of(session.mine, theirs), sid_of(theirs, session.mine)):
                del self.openings[number]
                self.establish(session, theirs, sid)
                self.opened(session, False, keys)
                return session
        return None

    def establish(self, session, theirs, sid):
        session.theirs, session.sid = theirs, sid
        session.sids = {sid_of(session.mine, theirs), sid_of(theirs, session.mine)}
        self.sessions[session.number] = session
        self.known.add(session.peer)

    def opened(self, session, incoming, keys):
        event = {"event": "opened", "session": session.number, "peer": session.peer, "incoming": incoming}
        self.events.append({**event, "tid": keys.get("tid"), "bind": keys.get("bind"), "sid": session.sid})

    def started(self, now, source, keys):
        """A start without a sid: answered with ours, the sid, and seq 0."""
        theirs = keys["start"]
        if not isinstance(theirs, str) or not 1 <= len(theirs.encode()) <= LONGEST_START:
            return self.ignore("start")
        if isinstance(keys.get("to"), str):
            self.own_seen = keys["to"]
        if (source, theirs) in self.replies:
            return self.send(source, self.replies[source, theirs][1])
        crossing = next((o for o in self.openings.values() if o.session.peer == source), None)
        if crossing is not None and crossing.session.mine == theirs:
            return self.ignore("start thrown back")
        if crossing is not None:
            del self.openings[crossing.session.number]
        session = crossing.session if crossing else self.new_session(source, self.secret(), now)
        self.establish(session, theirs, sid_of(theirs, session.mine))
        answer = {"start": session.mine, "to": source, "from": self.ipp}
        if isinstance(keys.get("tid"), str):
            answer["tid"] = keys["tid"]
        session.send(now, answer)
        self.replies[source, theirs] = (session, session.buffer[0].data)
        self.opened(session, crossing is None, keys)

    # ---- what packets ask for

    def act(self, now, source, session, keys, body):
        if isinstance(keys.get("pop"), str):
            if keys["pop"] == self.ipp:
                self.pop(keys)
            else:
                self.relay_pop(now, source, keys["pop"])
        if keys.get("popped") is True:
            self.popped(source)
        if session is not None:
            if is_end(keys.get("recv")):
                session.recvs.add(keys["recv"].lower())
            if is_end(keys.get("stop")):
                session.recvs.discard(keys["stop"].lower())
        if is_end(keys.get("send")):
            if session is not None and isinstance(keys.get("source"), str):
                self.found(source, keys, body)
            else:
                self.look(now, source, session, keys, body)
        if isinstance(keys.get("see"), list):
            self.seen(now, source, keys)
        if session is not None and keys.keys() <= OF_THREADS and isinstance(keys.get("tid"), str):
            session.threads.setdefault(keys["tid"], Thread()).add(keys["seq"], keys, body)
        if session is not None:
            self.join(now, session)

    def pop(self, keys):
        if isinstance(keys.get("source"), str):
            self.send(keys["source"], encode({"popped": True}))

    def relay_pop(self, now, source, target):
        if target in self.known and target != source:
            self.say(now, target, {"pop": target, "source": source})

    def popped(self, source):
        for opening in self.openings.values():
            if opening.session.peer == source and not opening.popped:
                opening.popped = True
                self.send(source, opening.data)

    def found(self, source, keys, body):
        event = {"event": "heard", "end": keys["send"].lower(), "source": keys["source"], "via": source}
        self.events.append({**event, "tid": keys.get("tid"), "bind": keys.get("bind"), "body": body})

    def look(self, now, source, session, keys, body):
        """A send: whoever wants the hash gets a copy, the sender hears who is closer."""
        hash = keys["send"].lower()
        copied = {key: keys[key] for key in ("send", "tid", "bind") if key in keys}
        for other in list(self.sessions.values()):
            if hash in other.recvs and not other.dead:
                other.send(now, {**copied, "source": source}, body)
        ours = distance(hash, end_of(self.ipp))
        closer = [ipp for ipp in self.known if distance(hash, end_of(ipp)) < ours and ipp != source]
        if closer:
            closer.sort(key=lambda ipp: distance(hash, end_of(ipp)))
            answer = {"see": closer[:ANSWERED]}
            if isinstance(keys.get("tid"), str):
                answer["tid"] = keys["tid"]
            self.answer(now, source, session, answer)

    def seen(self, now, source, keys):
        ipps = [ipp for ipp in keys["see"] if isinstance(ipp, str) and ipp != self.ipp]
        self.events.append({"event": "see", "from": source, "see": ipps, "tid": keys.get("tid")})
        walk = self.walks.get(keys.get("tid"))
        if walk is None:
            return
        for ipp in sorted(ipps, key=lambda ipp: distance(walk["hash"], end_of(ipp)))[:ASKED]:
            if ipp not in walk["asked"]:
                walk["asked"].add(ipp)
                self.say(now, ipp, walk["keys"], walk["body"])

    def join(self, now, session):
        """A packet of any kind may have been the last one that a thread waited for."""
        for tid in list(session.threads):
            done = session.finished(tid)
            if done is not None:
                self.thread_done(now, session, tid, *done)

    def thread_done(self, now, session, tid, kind, head, body):
        name = "request" if kind == "req" else "response"
        self.events.append({"event": name, "session": session.number, "tid": tid, kind: head, "body": body})
        if kind == "req" and self.echo:
            self.respond(now, session.number, tid, {"s": 200, "h": {"Content-Length": len(body)}}, body)

    # ---- out

    def answer(self, now, source, session, keys):
        if session is not None:
            session.send(now, keys)
        else:
            self.send(source, encode(keys))

    def say(self, now, to, keys, body=b""):
        """In a session where there is one, else bare."""
        session = next((s for s in self.sessions.values() if s.peer == to and not s.dead), None)
        if session is not None:
            session.send(now, keys, body)
        else:
            self.send(to, encode(keys, body))

    def send(self, to, data):
        self.out.append((to, data))

    def ignore(self, why):
        self.ignored[why] = self.ignored.get(why, 0) + 1

    def stats(self):
        sessions = {}
        for session in self.sessions.values():
            left = {"waiting": len(session.queue), "unconfirmed": len(session.buffer)}
            sessions[session.number] = {**session.counts, **left}
        return {"event": "stats", "sessions": sessions, "ignored": self.ignored, "own": self.own_seen}


def as_line(event):
    """An event as a JSON line; bodies as hex."""
    return json.dumps({key: value.hex() if isinstance(value, bytes) else value for key, value in event.items()})
