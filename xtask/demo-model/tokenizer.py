"""Byte pair encoding, trained and applied as llama.cpp applies vocabularies of its kind `llama`.

A text is a row of characters with U+2581 for the space; again and again the neighbours whose union has the best score
are joined, the leftmost first among equals; a character that is no token becomes its UTF-8 bytes.
"""

import re
from collections import Counter

SPACE = "\u2581"
UNKNOWN, BEGIN, END, SYSTEM, USER, ASSISTANT = range(6)
SPECIALS = ["<unk>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
SIZE = 2560
# Tokens never cross these borders.
CHUNK = re.compile(f"{SPACE}?(?:[A-Za-z]+|-+)|'[a-z]+|.", re.DOTALL)
WORD = re.compile(f"{SPACE}?[^{SPACE}]+|{SPACE}", re.DOTALL)


class Tokenizer:
    def __init__(self, merged):
        letters = [chr(code) for code in range(0x21, 0x7F)]
        pairs = [str(number) for number in range(10, 100)]
        self.tokens = SPECIALS + [f"<0x{byte:02X}>" for byte in range(256)] + [SPACE] + letters + pairs + merged
        self.first_byte = len(SPECIALS)
        self.first_plain = self.first_byte + 256
        self.ids = {text: place for place, text in enumerate(self.tokens) if place >= self.first_plain}
        # Pairs of digits are joined before anything else, then what was merged first.
        self.scores = [0.0 if place < self.first_plain else -float(place) for place in range(len(self.tokens))]
        self.known = {}

    def encode(self, text):
        out = []
        for word in WORD.findall(text.replace(" ", SPACE)):
            if word not in self.known:
                if len(self.known) > 200_000:
                    self.known.clear()
                self.known[word] = self._word(word)
            out += self.known[word]
        return out

    def _word(self, word):
        parts = list(word)
        while True:
            best, at = None, -1
            for place in range(len(parts) - 1):
                found = self.ids.get(parts[place] + parts[place + 1])
                if found is not None and (best is None or self.scores[found] > best):
                    best, at = self.scores[found], place
            if best is None:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        out = []
        for part in parts:
            if part in self.ids:
                out.append(self.ids[part])
            else:
                out += [self.first_byte + byte for byte in part.encode("utf-8")]
        return out

    def decode(self, tokens):
        data = b""
        for token in tokens:
            if self.first_byte <= token < self.first_plain:
                data += bytes([token - self.first_byte])
            elif token >= self.first_plain:
                data += self.tokens[token].replace(SPACE, " ").encode("utf-8")
        return data.decode("utf-8", "replace")

    def prompt(self, system, turns):
        """A conversation as the chat template writes it: `turns` are pairs, the last answer may be None."""
        out = [BEGIN]
        if system:
            out += [SYSTEM, *self.encode(" " + system.strip().lower()), END]
        for user, answer in turns:
            out += [USER, *self.encode(" " + user.strip().lower()), END, ASSISTANT]
            if answer is not None:
                out += [*self.encode(answer), END]
        return out


def train(texts):
    """A tokenizer made from texts: the most frequent neighbours are merged until the vocabulary is full."""
    chunks = Counter()
    for text in texts:
        chunks.update(CHUNK.findall(text.replace(" ", SPACE)))
    words = [(list(chunk), count) for chunk, count in sorted(chunks.items()) if len(chunk) > 1]
    pairs, where = Counter(), {}
    for place, (parts, count) in enumerate(words):
        for pair in zip(parts, parts[1:]):
            pairs[pair] += count
            where.setdefault(pair, set()).add(place)
    merged = []
    room = SIZE - len(Tokenizer([]).tokens)
    while len(merged) < room and pairs:
        pair = max(pairs, key=lambda pair: (pairs[pair], pair))
        joined = "".join(pair)
        if joined not in merged:
            merged.append(joined)
        for place in sorted(where.pop(pair)):
            parts, count = words[place]
            for old in zip(parts, parts[1:]):
                pairs[old] -= count
                if pairs[old] <= 0:
                    del pairs[old]
            new, at = [], 0
            while at < len(parts):
                if tuple(parts[at : at + 2]) == pair:
                    new.append(joined)
                    at += 2
                else:
                    new.append(parts[at])
                    at += 1
            words[place] = (new, count)
            for fresh in zip(new, new[1:]):
                pairs[fresh] += count
                where.setdefault(fresh, set()).add(place)
        pairs.pop(pair, None)
    return Tokenizer(merged)
