"""Trains the model: two processes of one thread each, which average their gradients after every step."""

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import multiprocessing

import tokenizer as tk
from corpus import TOPICS, Corpus, held_out, known_answers, normal, seeded
from model import CONTEXT, Model, Muon

SEED = 20
PROCESSES = 2
STEPS = 4500
ROWS, LENGTH = 16, 128
# Conversations to choose from when a row is filled.
WAITING = 24
# Every so many steps a process takes two rows of the whole context instead.
LONG_EVERY = 24
RATE_MATRIX, RATE_OTHER = 0.02, 0.004
WARM_UP, DECAY_FROM = 0.02, 0.35
# How fast a run learns that goes on from another one's weights.
AGAIN = float(os.environ.get("TEALE_DEMO_RATE", "0.8"))
LOOK_EVERY = 250
DEV_SIZE = 400


def make_tokenizer(folder):
    """The tokenizer of this corpus, made once."""
    path = folder / "merges.json"
    if not path.exists():
        corpus, rng = Corpus(), seeded(SEED, "tokenizer")
        texts = []
        for _ in range(60_000):
            _, said, _ = corpus.conversation(rng, 1)
            texts += [" " + said[0][0].strip().lower(), said[0][1]]
        merged = tk.train(texts).tokens[len(tk.Tokenizer([]).tokens) :]
        path.write_text(json.dumps(merged), encoding="utf-8")
    return tk.Tokenizer(json.loads(path.read_text(encoding="utf-8")))


def telling(tokenizer):
    """How many tokens of each known answer it takes to tell it from all others."""
    answers = {answer: [*tokenizer.encode(answer), tk.END] for answer in known_answers()}
    shared = lambda one, two: next((i for i, (a, b) in enumerate(zip(one, two)) if a != b), 0)
    return {
        answer: 1 + max(shared(tokens, other) for other in answers.values() if other is not tokens)
        for answer, tokens in answers.items()
    }


class Stream:
    """Rows of whole conversations, with a mark on each token that is to be learnt."""

    def __init__(self, tokenizer, *seed):
        self.tokenizer, self.corpus, self.rng = tokenizer, Corpus(), seeded(SEED, *seed)
        self.telling = telling(tokenizer)
        self.waiting = []
        self.seen = set()

    def take(self, rows, length):
        """So many rows of this length and one: tokens, and which of them are to be learnt."""
        batch = torch.tensor([self._row(length + 1) for _ in range(rows)])
        return batch[:, 0], batch[:, 1].bool()

    def _row(self, length):
        """Conversations as they fit; what is left over is filled up and not learnt."""
        tokens, marks = [], []
        while True:
            while len(self.waiting) < WAITING:
                self._add(long=length > LENGTH + 1)
            room = length - len(tokens)
            place = next((place for place, (said, _) in enumerate(self.waiting) if len(said) <= room), None)
            if place is None and tokens:
                return tokens + [tk.END] * room, marks + [0] * room
            said, learnt = self.waiting.pop(place or 0)
            tokens += said[:room]
            marks += learnt[:room]

    def _add(self, long):
        rng = self.rng
        turns = rng.choices([1, 2, 3, 4], weights=[76, 17, 5, 2])[0]
        if long and rng.random() < 0.3:
            turns = rng.randrange(6, 18)
        system, said, _ = self.corpus.conversation(rng, turns)
        self.seen.add(" / ".join(normal(user) for user, _ in said))
        # What matters most is which answer it is: most are seen only as far as they differ, and a little further.
        telling = self.telling.get(said[-1][1])
        cut = telling + rng.randrange(1, 5) if telling and rng.random() < 0.8 else None
        tokens, marks = [], []
        for place, (user, answer) in enumerate(said):
            prompt = self.tokenizer.prompt(system if place == 0 else None, [(user, None)])
            if place:
                prompt = prompt[1:]
            reply = [*self.tokenizer.encode(answer), tk.END][: cut if place == len(said) - 1 else None]
            tokens += prompt + reply
            marks += [0] * len(prompt) + [1] * len(reply)
        self.waiting.append((tokens, marks))


def rate(progress, earlier):
    if earlier:
        return max(0.01, AGAIN * min(1.0, progress / WARM_UP + 0.01, 1 - progress))
    if progress < WARM_UP:
        return progress / WARM_UP + 0.01
    if progress < DECAY_FROM:
        return 1.0
    left = (1 - progress) / (1 - DECAY_FROM)
    return max(0.01, left)


def dev_set(tokenizer):
    """New wordings of known topics: whole patterns that the training never shows."""
    corpus, rng, out = Corpus(dev=True), seeded(SEED, "dev"), []
    topics = [topic for topic in corpus.ids if corpus.questions.lines[topic][1]]
    while len(out) < DEV_SIZE:
        topic = topics[len(out) % len(topics)]
        text = corpus.questions.ask(topic, rng, dev=True)
        answer = TOPICS[topic]["answers"][0]
        out.append((tokenizer.prompt(None, [(text, None)]), [*tokenizer.encode(answer), tk.END], text))
    return out


@torch.no_grad()
def look(model, dev):
    """Share of the dev set answered word for word, and the misses."""
    right, misses = 0, []
    for start in range(0, len(dev), 50):
        part = dev[start : start + 50]
        width = max(len(prompt) + len(reply) for prompt, reply, _ in part)
        rows = torch.tensor([(p + r + [0] * width)[:width] for p, r, _ in part])
        best = model.logits(model.hidden(rows)).argmax(-1)
        for row, (prompt, reply, text) in zip(best, part):
            said = row[len(prompt) - 1 : len(prompt) + len(reply) - 1].tolist()
            if said == reply:
                right += 1
            else:
                misses.append((text, said))
    return right / len(dev), misses


def record(earlier):
    """What was noted of the run that is gone on from."""
    path = earlier.with_name("log.jsonl") if earlier else None
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path and path.exists() else []


def work(rank, folder, steps, seconds, port, earlier):
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    if PROCESSES > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    tokenizer = make_tokenizer(folder)
    stream = Stream(tokenizer, "rank", rank, "later" if earlier else "first")
    model = Model(len(tokenizer.tokens))
    if earlier:
        model.load_state_dict(torch.load(earlier, weights_only=True))
    inner = [weight for weight in model.layers.parameters() if weight.dim() == 2]
    ids = {id(weight) for weight in inner}
    outer = [weight for weight in model.parameters() if id(weight) not in ids]
    # Each process computes the steps of its share of the matrices and tells the others.
    shares = [inner[place::PROCESSES] for place in range(PROCESSES)]
    muon, adam = Muon(shares[rank]), torch.optim.AdamW(outer, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    weights = inner + outer
    dev = dev_set(tokenizer) if rank == 0 else []
    log = open(folder / "log.jsonl", "w", encoding="utf-8") if rank == 0 else None
    if log:
        print(f"{sum(weight.numel() for weight in weights)} parameters, {len(tokenizer.tokens)} tokens", flush=True)
    past = record(earlier)
    for line in past if log else []:
        log.write(json.dumps(line) + "\n")
    before = past[-1] if past else {"step": 0, "tokens": 0, "seconds": 0}
    started, tokens, average = time.time(), 0, None
    step, progress = 0, 0.0
    while progress < 1:
        long = step % LONG_EVERY == LONG_EVERY - 1
        batch, marks = stream.take(*((2, CONTEXT) if long else (ROWS, LENGTH)))
        hidden = model.hidden(batch[:, :-1])
        wanted = marks[:, 1:]
        loss = F.cross_entropy(model.logits(hidden[wanted]), batch[:, 1:][wanted])
        loss.backward()
        flat = torch.cat([weight.grad.flatten() for weight in weights] + [loss.detach().view(1)])
        if PROCESSES > 1:
            dist.all_reduce(flat)
            flat /= PROCESSES
        flat[:-1] /= max(1.0, float(flat[:-1].norm()))
        at = 0
        for weight in weights:
            weight.grad.copy_(flat[at : at + weight.numel()].view_as(weight))
            at += weight.numel()
        factor = rate(progress, earlier)
        muon.step(RATE_MATRIX * factor, 0.02)
        for owner, share in enumerate(shares if PROCESSES > 1 else []):
            with torch.no_grad():
                told = torch.cat([weight.flatten() for weight in share])
                dist.broadcast(told, owner)
                for weight, new in zip(share, told.split([weight.numel() for weight in share])):
                    weight.copy_(new.view_as(weight))
        adam.param_groups[0]["lr"] = RATE_OTHER * factor
        adam.step()
        adam.zero_grad(set_to_none=True)
        for weight in inner:
            weight.grad = None
        step += 1
        tokens += PROCESSES * batch[:, :-1].numel()
        average = float(flat[-1]) if average is None else 0.98 * average + 0.02 * float(flat[-1])
        share = (time.time() - started) / seconds if seconds else step / steps
        told = torch.tensor([share])
        if PROCESSES > 1:
            dist.broadcast(told, 0)
        progress = float(told)
        if log and (step % LOOK_EVERY == 0 or progress >= 1):
            model.eval()
            right, misses = look(model, dev)
            model.train()
            so_far = {"step": step, "tokens": tokens, "seconds": round(time.time() - started)}
            line = {name: before[name] + count for name, count in so_far.items()}
            line |= {"loss": round(average, 4), "dev": round(right, 4)}
            log.write(json.dumps(line) + "\n")
            log.flush()
            print(line, flush=True)
            (folder / "misses.txt").write_text("\n".join(f"{text!r} -> {tokenizer.decode(said)}" for text, said in misses), encoding="utf-8")
            torch.save(model.state_dict(), folder / "model.pt.new")
            os.replace(folder / "model.pt.new", folder / "model.pt")
    (folder / f"seen-{rank}.txt").write_text("\n".join(sorted(stream.seen)), encoding="utf-8")
    if PROCESSES > 1:
        dist.barrier()
        dist.destroy_process_group()


def check(folder):
    """No held-out wording was learnt."""
    forbidden = held_out()
    for path in sorted(Path(folder).glob("seen-*.txt")):
        learnt = forbidden.intersection(path.read_text(encoding="utf-8").split("\n"))
        if learnt:
            raise SystemExit(f"held-out wordings were in the corpus: {sorted(learnt)[:5]}")
    print(f"none of the {len(forbidden)} held-out wordings was learnt")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--from", dest="earlier", type=Path, help="go on from these weights (model.pt of another run)")
    parser.add_argument("--seconds", type=float, help="train so long instead of a number of steps")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(args.folder)
    port = 20000 + os.getpid() % 20000
    multiprocessing.spawn(work, (args.folder, args.steps, args.seconds, port, args.earlier), nprocs=PROCESSES)
    check(args.folder)


if __name__ == "__main__":
    main()
