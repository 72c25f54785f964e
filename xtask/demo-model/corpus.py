"""Makes the conversations that the demo model learns from. Everything in them was written for this project."""

import json
import re
from collections import Counter

from grammar import HERE, expand, parse, sections, seeded, tidy
from questions import Wordings, mistype, punctuate

FACTS = json.loads((HERE / "topics.json").read_text(encoding="utf-8"))
TOPICS = {topic["id"]: topic for topic in FACTS["topics"]}
REFUSAL = FACTS["refusal"]["answers"][0]
EMPTY = TOPICS["empty"]["answers"][0]
ENGLISH = TOPICS["speak_languages"]["answers"][0]
MORE = "That is all I know about it. The README and the docs folder say more."
SURE = "I think so, but I am a very small model and can be wrong."
FINE = "Fine. Is there anything else you would like to know about Teale?"
NO_PROBLEM = "No problem. What would you like to know?"
NOTHING_SAID = TOPICS["what_can"]["answers"][0]
# Share of the conversations of several turns that stay with one thing throughout.
THREADS = 0.4
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
SIGNS = {"plus": "+", "minus": "-", "times": "x"}


def normal(text):
    """A wording with case, punctuation and spacing taken out."""
    return " ".join(re.findall(r"[^\W_]+|[+*-]", text.lower()))


def held_out():
    """The wordings of the held-out test: they must never be learnt."""
    path = HERE / "heldout.json"
    if not path.exists():
        return set()
    tests = json.loads(path.read_text(encoding="utf-8"))
    keys = {" / ".join(normal(turn) for turn in test["turns"]) for test in tests}
    # Texts without a letter or digit are no wordings; the score leaves them out as well.
    return {key for key in keys if key.strip(" /")}


def known_answers():
    """Everything that is ever said, sums aside."""
    answers = [answer for topic in TOPICS.values() for answer in topic["answers"]]
    return {*answers, REFUSAL, MORE, SURE, FINE, NO_PROBLEM}


class Corpus:
    """Draws conversations: lists of (what the user says, what the model says)."""

    def __init__(self, dev=False):
        self.dev = dev
        self.questions = Wordings("patterns.txt")
        self.next = Wordings("followups.txt")
        self.forbidden = held_out()
        self.refused = Counter()
        lines = sections("refusals.txt")
        listed = lambda name: [word.strip() for line in lines[name] for word in line.split(";") if word.strip()]
        self.unknown = {"DEF": listed("nouns"), "HOW": listed("actions"), "WHY": listed("whys")}
        self.names = {"people": listed("people"), "places": listed("places")}
        self.sums = {kind: [parse(line) for line in found] for kind, found in sections("sums.txt").items()}
        self.free = [parse(line) for line in lines["free"]]
        self.frames = {kind: [parse(f) for f in found] for kind, found in self.questions.frames.items()}
        chatter = sections("chatter.txt")
        self.system = [parse(line) for line in chatter["system"]]
        self.markers = chatter["markers"]
        self.foreign = [word.strip() for word in ";".join(chatter["foreign"]).split(";")]
        self.emoji = [word.strip() for word in ";".join(chatter["emoji"]).split(";")]
        self.ids = [name for name in self.questions.topics() if name != "empty"]
        self.threads = [name for name in self.ids if len(TOPICS[name].get("followups", {})) > 1]
        missing = set(TOPICS) - set(self.ids) - {"empty"}
        assert not missing, f"no patterns for {missing}"

    def conversation(self, rng, turns):
        """One conversation whose wording is not one of the held-out ones; (system prompt, turns, topic)."""
        while True:
            said, topic = [], None
            if turns > 1 and rng.random() < THREADS:
                said = self.thread(rng, max(turns, 3))
            while len(said) < turns:
                user, answer, topic = self.turn(rng, said, topic)
                said.append((user, answer))
            key = " / ".join(normal(user) for user, _ in said)
            if key in self.forbidden:
                self.refused[key] += 1
                continue
            system = tidy(expand(rng.choice(self.system), rng)) if rng.random() < 0.05 else None
            return system, said, topic

    def thread(self, rng, turns):
        """A talk that stays with one thing: what is asked next leans on it, not on the last answer."""
        topic = "relay" if rng.random() < 0.5 else rng.choice(self.threads)
        kinds = TOPICS[topic]["followups"]
        said = [(self.questions.ask(topic, rng, self.dev), rng.choice(TOPICS[topic]["answers"]))]
        for kind in rng.sample(list(kinds), min(len(kinds), turns - 1)):
            said.append((self.next.ask(kind, rng, self.dev), TOPICS[kinds[kind]]["answers"][0]))
        return said

    def turn(self, rng, said, topic):
        """(what the user says, the answer, what it was about)."""
        if said and rng.random() < 0.62:
            found = self.follow(rng, said, topic)
            if found:
                return found
        draw = rng.random()
        if draw < 0.66:
            topic = rng.choice(self.ids)
            return self.questions.ask(topic, rng, self.dev), rng.choice(TOPICS[topic]["answers"]), topic
        if draw < 0.82:
            return *self.arithmetic(rng), "arithmetic"
        if draw < 0.965:
            return self.refusal(rng), REFUSAL, "refusal"
        if draw < 0.985:
            return *self.strange(rng), "empty"
        return *self.small_talk(rng), "talk"

    def follow(self, rng, said, topic):
        """Something that leans on what was said before."""
        kinds = TOPICS.get(topic, {}).get("followups", {})
        if kinds and rng.random() < 0.72:
            kind = rng.choice(list(kinds))
            return self.next.ask(kind, rng, self.dev), TOPICS[kinds[kind]]["answers"][0], kinds[kind]
        draw = rng.random()
        if draw < 0.2:
            return self.questions.ask("thanks", rng), TOPICS["thanks"]["answers"][0], topic
        if draw < 0.3:
            return self.next.ask("tell_more", rng), MORE, topic
        if draw < 0.38:
            return self.next.ask("repeat", rng), said[-1][1], topic
        if draw < 0.44:
            return self.next.ask("sure", rng), SURE, topic
        if draw < 0.52:
            return self.next.ask("ok", rng), FINE, topic
        return None

    def small_talk(self, rng):
        kind, answer = rng.choice(
            [("ok", FINE), ("sorry", NO_PROBLEM), ("tell_more", NOTHING_SAID), ("sure", SURE), ("sorry", NO_PROBLEM)]
        )
        return self.next.ask(kind, rng), answer

    def arithmetic(self, rng):
        kind = rng.choices(list(SIGNS), weights=[45, 33, 22])[0]
        below = 11 if kind == "times" else 20
        a, b = rng.randrange(below), rng.randrange(below)
        if kind == "minus" and b > a:
            a, b = b, a
        result = {"plus": a + b, "minus": a - b, "times": a * b}[kind]
        words = rng.random() < 0.4
        shown = (NUMBERS[a], NUMBERS[b]) if words else (str(a), str(b))
        if rng.random() < 0.06:
            shown = (NUMBERS[a], str(b))
        text = expand(rng.choice(self.sums[kind]), rng).format(a=shown[0], b=shown[1])
        text = self.questions.chatter(text, rng, 0.15, 0.06)
        if rng.random() < 0.04:
            text = mistype(text, rng)
        return punctuate(tidy(text), rng), f"{a} {SIGNS[kind]} {b} = {result}."

    def refusal(self, rng):
        draw = rng.random()
        if draw < 0.3:
            kind = rng.choices(["DEF", "HOW", "WHY"], weights=[45, 50, 5])[0]
            text = expand(rng.choice(self.frames[kind]), rng).replace("{}", rng.choice(self.unknown[kind]))
        else:
            text = expand(rng.choice(self.free), rng)
            for name, words in self.names.items():
                while "{" + name + "}" in text:
                    text = text.replace("{" + name + "}", rng.choice(words), 1)
            while "{big}" in text:
                text = text.replace("{big}", str(rng.randrange(21, 10**rng.randrange(2, 6))), 1)
            while "{small}" in text:
                text = text.replace("{small}", str(rng.randrange(1, 20)), 1)
        return self.questions.roughen(tidy(text), rng)

    def strange(self, rng):
        """Not a question at all."""
        draw = rng.random()
        if draw < 0.3:
            return rng.choice(["", "", "", " ", "?", "??", ".", "...", "!", "!!!", "-", ",", "\n", "\t", "\"\"", "()"]), EMPTY
        if draw < 0.45:
            return "".join(rng.choice(self.emoji) for _ in range(rng.randrange(1, 5))), EMPTY
        if draw < 0.6:
            words = (rng.choice(self.foreign) for _ in range(rng.randrange(1, 3)))
            return "".join(words) + rng.choice(["", "?", "？", "。", "!"]), ENGLISH
        if draw < 0.7:
            low, high, answer = rng.choice([(0x4E00, 0x9FA0, ENGLISH), (0x0410, 0x0450, ENGLISH), (1, 32, EMPTY)])
            return "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 12))), answer
        if draw < 0.8:
            letters = "asdfghjklqwertyuiopzxcvbnm"
            words = ("".join(rng.choice(letters) for _ in range(rng.randrange(2, 9))) for _ in range(rng.randrange(1, 4)))
            return " ".join(words), EMPTY
        if draw < 0.88:
            return rng.choice(["ha", "x", "a", "la", "1", "?", "word "]) * rng.randrange(4, 60), EMPTY
        if draw < 0.94:
            return "".join(rng.choice(self.markers) for _ in range(rng.randrange(1, 4))), EMPTY
        topic = rng.choice(self.ids)
        text = self.questions.plain(topic, rng)
        mark = rng.choice(self.markers)
        return rng.choice([f"{mark} {text}", f"{text} {mark}", f"{mark}{text}"]), TOPICS[topic]["answers"][0]
