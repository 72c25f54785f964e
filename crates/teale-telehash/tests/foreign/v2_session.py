"""One session of the TeleHash draft of 2012-08-03: numbering, confirming, repairing, and the bodies of threads.

Written from the draft's text alone, as a judge of the Rust switch. It knows no socket and no clock: time is an argument,
in seconds. What it wants sent it hands to `emit`.
"""

import hashlib
import json

LARGEST = 1399  # bytes of a datagram: the draft says fewer than 1400
CHUNK = 1000  # bytes of body in a packet, which leaves room for the keys
WINDOW, NARROWEST = 100, 4  # unconfirmed packets: at most, and after many misses
FOR_ACKS = 10  # of the window, kept for packets that only confirm
MISSES = 100  # more missing ones end a session
STRIKES = 3  # the same one missing this often ends it too
RESEND = 1.0  # a report counts only this long after the last re-send
REPAIR = 0.1  # and re-sends at most this often
ACK_AFTER, GAP_AFTER = 0.5, 0.2  # seconds until a confirmation, with all there and with something missing
ACK_PACKETS, ACK_DOUBLES = 30, 5
KEEP_ALIVE, IDLE = 25.0, 60.0
TRANSPORT = {"sid", "seq", "range", "miss"}
OF_THREADS = TRANSPORT | {"tid", "req", "res", "done", "bind"}


class Malformed(Exception):
    """A datagram that is no packet."""


def encode(keys, body=b""):
    text = json.dumps(keys, separators=(",", ":"), ensure_ascii=False).encode()
    return len(text).to_bytes(2, "big") + text + body


def unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a key twice")
    return found


def decode(datagram):
    """The keys and the body, or Malformed."""
    if len(datagram) < 4:
        raise Malformed("too short")
    length = int.from_bytes(datagram[:2], "big")
    if length < 2 or length > len(datagram) - 2:
        raise Malformed("a length that cannot be")
    try:
        keys = json.loads(datagram[2 : 2 + length].decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error
    if not isinstance(keys, dict):
        raise Malformed("not an object")
    return keys, datagram[2 + length :]


def sid_of(one, other):
    return hashlib.sha1((one + other).encode()).hexdigest()


def whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Incoming:
    """What came from the other side: which numbers, and what is missing among them."""

    def __init__(self):
        self.low = self.high = None
        self.missing = set()

    def take(self, seq):
        """Whether this number is new."""
        if self.high is None:
            self.low = self.high = seq
            return True
        if seq > self.high:
            self.missing.update(range(self.high + 1, seq))
            self.high = seq
        elif seq < self.low:
            self.missing.update(range(seq + 1, self.low))
            self.low = seq
        elif seq in self.missing:
            self.missing.remove(seq)
        else:
            return False
        return True

    def has_all(self, first, last):
        return self.low <= first and last <= self.high and not any(first <= seq <= last for seq in self.missing)

    def report(self):
        if self.high is None:
            return {}
        keys = {"range": [self.low, self.high]}
        if self.missing:
            keys["miss"] = sorted(self.missing)
        return keys


class Sent:
    """A packet that is not confirmed yet."""

    def __init__(self, data, now, content):
        self.data, self.at, self.content = data, now, content
        self.strikes = 0


class Thread:
    """The body of one request or response, joined by seq whatever the order of arrival."""

    def __init__(self):
        self.parts, self.first, self.last, self.head = {}, None, None, None

    def add(self, seq, keys, body):
        self.parts[seq] = body
        for kind in ("req", "res"):
            if isinstance(keys.get(kind), dict):
                self.first, self.head = seq, (kind, keys[kind])
        if keys.get("done") is True:
            self.last = seq

    def whole(self, incoming):
        if self.first is None or self.last is None or not incoming.has_all(self.first, self.last):
            return None
        return b"".join(self.parts[seq] for seq in sorted(self.parts) if self.first <= seq <= self.last)


class Session:
    """Two switches with a shared secret. `emit(bytes)` sends to the other one, `tell(event)` reports."""

    def __init__(self, number, peer, mine, now, emit, tell):
        self.number, self.peer, self.mine, self.theirs = number, peer, mine, None
        self.emit, self.tell = emit, tell
        self.sids, self.sid = set(), None
        self.next, self.buffer, self.window, self.queue = 0, {}, WINDOW, []
        self.incoming, self.threads, self.recvs = Incoming(), {}, set()
        self.unreported, self.doubles, self.report_at = 0, 0, None
        self.newest_report, self.probe_at, self.probe_wait = -1, None, RESEND
        self.heard, self.spoke, self.dead = now, now, None
        self.counts = dict.fromkeys(("sent", "resent", "acks", "got", "doubles", "probes", "reports"), 0)

    # ---- sending

    def send(self, now, keys, body=b""):
        self.queue.append((keys, body))
        self.pump(now)

    def send_body(self, now, keys, body):
        """A request or response: keys on the first packet, only the tid on the others, done on the last."""
        room = LARGEST - 150 - len(encode(keys))
        first = max(0, min(CHUNK, room))
        chunks = [body[:first]] + [body[at : at + CHUNK] for at in range(first, len(body), CHUNK)]
        for index, chunk in enumerate(chunks):
            packet = dict(keys) if index == 0 else {"tid": keys["tid"]}
            if index == len(chunks) - 1:
                packet["done"] = True
            self.queue.append((packet, chunk))
        self.pump(now)

    def pump(self, now):
        """Sends what the window lets go."""
        while self.queue and not self.dead and self.may_send():
            keys, body = self.queue.pop(0)
            report = self.incoming.report()
            if len(encode(self.numbered(keys, report), body)) > LARGEST:
                self.acknowledge(now)
                report = {}
            self.transmit(now, self.numbered(keys, report), body, True)

    def may_send(self):
        """Content fills the narrowed window; of the whole one a few are left for packets that only confirm."""
        content = sum(sent.content for sent in self.buffer.values())
        return content < self.window and len(self.buffer) < WINDOW - FOR_ACKS

    def numbered(self, keys, report):
        return {**keys, "sid": self.sid, "seq": self.next, **report}

    def acknowledge(self, now):
        """A packet that only confirms."""
        if len(self.incoming.missing) > MISSES:
            self.end("more than 100 missing")
        elif len(self.buffer) < WINDOW:
            self.counts["acks"] += 1
            self.transmit(now, self.numbered({}, self.incoming.report()), b"", False)

    def transmit(self, now, keys, body, content):
        data = encode(keys, body)
        assert len(data) <= LARGEST, len(data)
        self.buffer[self.next] = Sent(data, now, content)
        self.next += 1
        self.counts["sent"] += 1
        self.spoke = now
        if "range" in keys:
            self.unreported, self.doubles, self.report_at = 0, 0, None
            if self.incoming.missing:
                self.report_by(now + GAP_AFTER)
        if content and self.probe_at is None:
            self.probe_at = now + self.probe_wait
        self.emit(data)

    # ---- hearing

    def hear(self, now, keys, body):
        """A packet with a valid sid. Returns whether its content is new and may be acted on."""
        self.heard = now
        seq = keys.get("seq")
        if not whole(seq):
            return False
        self.take_report(now, seq, keys.get("range"), keys.get("miss", []))
        content = not keys.keys() <= TRANSPORT
        new = self.incoming.take(seq)
        self.counts["got" if new else "doubles"] += 1
        if len(self.incoming.missing) > MISSES:
            self.end("more than 100 missing")
        if content:
            self.report_by(now + ACK_AFTER)
        if self.incoming.missing:
            self.report_by(now + GAP_AFTER)
        self.unreported += new and content
        self.doubles += not new
        if self.unreported >= ACK_PACKETS or self.doubles >= ACK_DOUBLES:
            self.report_by(now)
        return new and not self.dead

    def report_by(self, when):
        self.report_at = when if self.report_at is None else min(self.report_at, when)

    def take_report(self, now, seq, span, miss):
        if not (isinstance(span, list) and len(span) == 2 and all(whole(end) for end in span)):
            return
        first, last = span
        if first > last or last >= self.next or not isinstance(miss, list):
            return
        if not all(whole(one) and first <= one <= last for one in miss):
            return
        missing = set(miss)
        if len(missing) > MISSES:
            return self.end("more than 100 missed")
        for one in [one for one in self.buffer if first <= one <= last and one not in missing]:
            del self.buffer[one]
            self.probe_at, self.probe_wait = None, RESEND
        missing.update(one for one in self.buffer if one < first)
        if any(sent.content for sent in self.buffer.values()) and self.probe_at is None:
            self.probe_at = now + self.probe_wait
        # A packet sent again carries the report of its first sending: it confirms, but says nothing new of a loss.
        if seq > self.newest_report:
            self.newest_report = seq
            self.counts["reports"] += 1
            self.repair(now, [one for one in sorted(missing) if one in self.buffer])
        self.pump(now)

    def repair(self, now, missing):
        self.window = max(NARROWEST, self.window // 2) if missing else min(WINDOW, self.window + 1)
        for one in missing:
            sent = self.buffer[one]
            if sent.strikes == 0 or now - sent.at > RESEND:
                sent.strikes += 1
            elif now - sent.at < REPAIR:
                continue
            if sent.strikes >= STRIKES:
                return self.end("missed three times")
            self.resend(now, sent)

    def resend(self, now, sent):
        sent.at = now
        self.counts["resent"] += 1
        self.spoke = now
        self.emit(sent.data)

    # ---- threads

    def finished(self, tid):
        """(kind, head, body) once all of a thread is there."""
        joined = self.threads[tid].whole(self.incoming)
        return None if joined is None else (*self.threads.pop(tid).head, joined)

    # ---- time

    def next_at(self):
        if self.dead:
            return None
        moments = [self.heard + IDLE, self.spoke + KEEP_ALIVE, self.report_at, self.probe_at]
        return min(moment for moment in moments if moment is not None)

    def tick(self, now):
        if self.dead or self.sid is None:
            return
        if now >= self.heard + IDLE:
            return self.end("idle")
        if self.report_at is not None and now >= self.report_at:
            self.report_at = None
            self.acknowledge(now)
        if self.probe_at is not None and now >= self.probe_at:
            self.probe(now)
        if not self.dead and now >= self.spoke + KEEP_ALIVE:
            self.spoke = now
            self.acknowledge(now)

    def probe(self, now):
        """Nothing was confirmed for a while: the newest packet again, which shows the other side what it lacks."""
        waiting = [seq for seq, sent in self.buffer.items() if sent.content]
        self.probe_at = None
        if waiting:
            self.counts["probes"] += 1
            self.resend(now, self.buffer[max(waiting)])
            self.probe_wait = min(2 * self.probe_wait, 8.0)
            self.probe_at = now + self.probe_wait

    def end(self, reason):
        if not self.dead:
            self.dead = reason
            self.recvs.clear()
            self.tell({"event": "closed", "session": self.number, "reason": reason})
