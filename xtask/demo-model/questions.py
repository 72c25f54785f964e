"""How one topic may be asked: hand-written patterns, frames, chatter around them, and the slips of fingers."""

import zlib

from grammar import expand, parse, sections, tidy

# One wording in twenty of each topic is kept out of the training, to see how well new wordings are understood.
DEV_SHARE = 20
SYNONYMS = {
    "machine": ["computer", "box", "pc", "laptop"],
    "computer": ["machine", "pc", "laptop", "box"],
    "network": ["net"],
    "private network": ["private net", "private tealenet", "ptn", "closed network", "private group"],
    "private networks": ["ptns", "private tealenets", "private nets"],
    "command": ["cmd", "command line"],
    "show": ["display", "list", "print"],
    "see": ["view", "look at", "check"],
    "delete": ["remove", "erase"],
    "start": ["run", "launch", "begin"],
    "stop": ["end", "halt", "quit"],
    "download": ["fetch", "get", "pull"],
    "encrypted": ["secure", "encrypted"],
    "what is": ["what's", "whats", "what is", "wat is", "what iz"],
    "what are": ["what're", "what are"],
    "how do i": ["how can i", "how do you", "how to", "how does one", "how would i", "how should i"],
    "how can i": ["how do i", "how could i", "how may i"],
    "where is": ["where's", "wheres", "where do i find"],
    "i am": ["i'm", "im"],
    "i'm": ["i am", "im"],
    "you are": ["you're", "youre"],
    "you": ["u"],
    "are": ["r"],
    "please": ["pls", "plz"],
    "do not": ["don't", "dont"],
    "don't": ["do not", "dont"],
    "doesn't": ["does not", "doesnt"],
    "does not": ["doesn't", "doesnt"],
    "can't": ["cannot", "cant", "can not"],
    "cannot": ["can't", "can not"],
    "it is": ["it's", "its"],
    "want to": ["wanna", "would like to", "want to"],
    "would like to": ["want to", "'d like to"],
    "tell me": ["explain to me", "say", "tell me"],
    "explain": ["describe", "clarify"],
    "messages": ["texts", "data", "packets"],
    "answers": ["replies", "responses"],
    "answer": ["reply", "response"],
    "someone": ["somebody", "a person", "anyone"],
    "others": ["other people", "everyone else"],
    "friend": ["buddy", "colleague", "pal"],
    "program": ["software", "app", "tool"],
    "file": ["document", "file"],
    "find": ["discover", "locate", "detect"],
    "works": ["functions", "is ok", "runs"],
    "does": ["do"],
    "model": ["llm", "ai model", "language model"],
    "because": ["cause", "since"],
    "maybe": ["perhaps"],
    "which": ["what"],
    "colour": ["color"],
    "teale": ["teale", "tealenet"],
    "teale-node": ["teale node", "teale-node"],
    "id": ["identifier", "id"],
    "relay": ["relay server", "relay node"],
    "need": ["require"],
    "use": ["employ", "make use of", "work with"],
    "want": ["wish"],
    "change": ["alter", "modify", "adjust"],
    "happens": ["occurs", "goes on", "takes place"],
    "difference": ["distinction"],
    "purpose": ["role", "function", "point"],
    "work": ["function", "operate"],
    "check": ["verify", "inspect"],
    "stored": ["kept", "saved", "located", "held"],
    "turn off": ["disable", "switch off", "deactivate"],
    "turn on": ["enable", "switch on", "activate"],
    "member": ["participant"],
    "members": ["participants", "people"],
    "people": ["folks", "persons"],
    "connect": ["link", "hook up"],
    "send": ["transmit", "pass"],
    "allowed": ["permitted"],
    "required": ["needed", "necessary", "mandatory"],
    "needed": ["required", "necessary"],
    "slow": ["sluggish", "laggy"],
    "possible": ["doable", "feasible"],
    "get": ["obtain"],
    "make": ["create"],
    "create": ["make", "set up"],
    "remove": ["take out", "delete"],
    "quickly": ["fast"],
    "question": ["query"],
    "prompts": ["questions", "queries"],
    "prompt": ["query", "input"],
    "protect": ["guard", "secure"],
    "choose": ["pick", "select", "set"],
    "share": ["offer", "provide"],
    "running": ["up", "alive"],
    "settings": ["options", "preferences"],
    "directory": ["folder"],
    "folder": ["directory"],
    "several": ["multiple", "many"],
    "fails": ["breaks", "goes wrong"],
    "error": ["error message", "message"],
    "meaning": ["sense"],
    "mean": ["signify", "stand for"],
    "my": ["our", "the"],
    "anyone": ["someone", "anybody", "somebody"],
    "big": ["large"],
    "directly": ["straight"],
    "without": ["with no"],
}
FILLERS = (
    "actually really just exactly basically please even now simply maybe again currently precisely roughly somehow honestly "
    "still already usually normally typically properly generally specifically essentially practically briefly quickly here "
    "possibly fully truly only ever also perhaps then today"
).split()
DROPPABLE = {"the", "a", "an", "do", "does", "is", "are", "of", "to", "my", "i", "for", "me", "that", "it", "can", "in"}
NEAR = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}


class Wordings:
    """The wordings of every section of a file of patterns."""

    def __init__(self, name):
        frames = sections("frames.txt")
        self.frames = {kind: [line for line in frames[kind]] for kind in ("DEF", "HOW", "WHY")}
        self.before = [parse(line) for line in frames["before"]]
        self.after = [parse(line) for line in frames["after"]]
        self.lines = {topic: self._split(topic, lines) for topic, lines in sections(name).items()}

    def _split(self, topic, lines):
        """For training and for the dev set: per line of the file, the trees it stands for."""
        train, dev = [], []
        for line in lines:
            kind, _, rest = line.partition(" ")
            if kind in self.frames:
                things = [thing.strip() for thing in rest.split(";")]
                groups = [[(frame, thing) for frame in self.frames[kind]] for thing in things]
                for group in groups:
                    kept = [pair for pair in group if not held_back(topic, *pair)]
                    weight = max(1.0, 5.0 / len(things) ** 0.5)
                    train.append((weight, [(parse(frame), parse(thing)) for frame, thing in kept]))
                    dev += [(parse(f), parse(t)) for f, t in group if held_back(topic, f, t)]
            elif held_back(topic, line):
                dev.append((parse("{}"), parse(line)))
            else:
                train.append((1.0, [(parse("{}"), parse(line))]))
        return train, dev

    def topics(self):
        return list(self.lines)

    def plain(self, topic, rng, dev=False):
        """One wording without chatter and slips."""
        train, held = self.lines[topic]
        if dev and held:
            frame, thing = rng.choice(held)
        else:
            group = rng.choices(train, weights=[weight for weight, _ in train])[0][1]
            frame, thing = rng.choice(group)
        return tidy(expand(frame, rng).replace("{}", expand(thing, rng)))

    def ask(self, topic, rng, dev=False):
        """One wording as a person may type it."""
        return self.roughen(self.plain(topic, rng, dev), rng)

    def chatter(self, text, rng, before, after):
        """Politeness in front of it or behind, as often as said."""
        if rng.random() < before:
            text = tidy(expand(rng.choice(self.before), rng) + " " + text)
        if rng.random() < after:
            text = tidy(text + " " + expand(rng.choice(self.after), rng))
        return text

    def roughen(self, text, rng):
        """Chatter around it, other words, punctuation, slips."""
        if rng.random() < 0.4:
            text = swap_words(text, rng)
        text = self.chatter(text, rng, 0.18, 0.12)
        if rng.random() < 0.15:
            text = fill_or_drop(text, rng)
        if rng.random() < 0.15:
            text = mistype(text, rng)
        if rng.random() < 0.01:
            text = text.replace(" ", "\n", 1)
        return punctuate(text, rng)


def held_back(*words):
    return zlib.crc32("/".join(words).encode()) % DEV_SHARE == 0


def swap_words(text, rng):
    """Puts up to two synonyms in."""
    known = [phrase for phrase in SYNONYMS if f" {phrase} " in f" {text} "]
    for phrase in rng.sample(known, min(len(known), rng.choice([1, 1, 2]))):
        other = rng.choice(SYNONYMS[phrase])
        text = f" {text} ".replace(f" {phrase} ", f" {other} ", 1).strip()
    return text


def fill_or_drop(text, rng):
    words = text.split()
    if rng.random() < 0.5 and len(words) > 2:
        words.insert(rng.randrange(1, len(words)), rng.choice(FILLERS))
    else:
        small = [place for place, word in enumerate(words) if word in DROPPABLE]
        if small and len(words) > 2:
            del words[rng.choice(small)]
    return " ".join(words)


def mistype(text, rng):
    """One or two slips in words of four letters and more; numbers, flags and short words stay as they are."""
    words = text.split()
    for _ in range(rng.choice([1, 1, 1, 2])):
        place = rng.randrange(len(words)) if words else 0
        if words and len(words[place]) > 3 and words[place].isalpha():
            words[place] = slip(words[place], rng)
    return " ".join(words)


def slip(word, rng):
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + rng.choice(NEAR.get(word[at], word[at])) + word[at + 1 :]


def punctuate(text, rng):
    if text and text[-1] not in ".!?":
        text += rng.choices(["?", "", ".", "!", "??", "...", " ?"], weights=[50, 34, 7, 4, 2, 1, 2])[0]
    return text
