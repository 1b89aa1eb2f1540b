"""Train the pilot from scratch and write it as GGUF.

Knows the tokenizer, the network, the optimiser and the export. Does not know what the dialogues say: `corpus.py` does.
Run `python train.py`; a stop loses at most one checkpoint interval, and the next run continues from there.
"""

import argparse
import hashlib
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import corpus
import export

SEED = 4600
HERE = Path(__file__).parent
WORK = HERE / "work"  # ignored by git: corpus, tokenizer, checkpoints
SHAPE = dict(layers=8, width=256, heads=4, kv_heads=2, hidden=640, vocab=2560, context=4096, rope_base=10000.0)
PHASES = [(0.85, 512, 8), (1.0, 1024, 4)]  # until this share of the steps: window length, windows a step
OPEN_ROWS = 32  # windows being filled at once; more pack tighter
PEAK_RATE = 2e-3
WARM_UP = 200
DESCENT = 0.2  # share of the steps in which the rate falls to zero
OTHER_WEIGHT = 0.15  # loss weight of tokens that the assistant did not write


class Block(nn.Module):
    """One layer: grouped-query attention, then a SwiGLU feed-forward, each behind an RMS norm."""

    def __init__(self, width, heads, kv_heads, hidden):
        super().__init__()
        self.head = width // heads
        self.groups = heads // kv_heads
        self.attn_norm = nn.RMSNorm(width, eps=1e-5)
        self.ffn_norm = nn.RMSNorm(width, eps=1e-5)
        kv = kv_heads * self.head
        self.q, self.k, self.v = (nn.Linear(width, n, bias=False) for n in (width, kv, kv))
        self.o = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x, cos, sin, mask):
        split = lambda t: t.unflatten(-1, (-1, self.head)).transpose(1, 2)
        z = self.attn_norm(x)
        q, k, v = rotate(split(self.q(z)), cos, sin), rotate(split(self.k(z)), cos, sin), split(self.v(z))
        k, v = (t.repeat_interleave(self.groups, 1) for t in (k, v))
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.o(a.transpose(1, 2).flatten(2))
        z = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(z)) * self.up(z))


class Pilot(nn.Module):
    """The network; the output matrix is the embedding matrix."""

    def __init__(self, layers, width, heads, kv_heads, hidden, vocab, **_):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / (math.sqrt(2 * layers) if name.endswith(("o.weight", "down.weight")) else 1))

    def forward(self, tokens, cos, sin, mask):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return F.linear(self.norm(x), self.embed.weight)


def rotate(x, cos, sin):
    """RoPE on interleaved pairs, the pairing of llama.cpp's `llama` architecture."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


def angles(positions, shape):
    """Cosine and sine for each position, shaped to broadcast over heads."""
    head = shape["width"] // shape["heads"]
    freq = shape["rope_base"] ** (-torch.arange(0, head, 2) / head)
    a = positions[:, None, :, None].float() * freq
    return a.cos(), a.sin()


class Windows:
    """Packs whole dialogues into windows. Each dialogue sees only itself; a third have random position gaps between
    turns (`gaps` is the furthest position, or zero for none), so that distances up to the full context occur although
    a window is shorter."""

    def __init__(self, documents, start_token, gaps):
        self.documents, self.start_token, self.gaps = documents, start_token, gaps

    def positions(self, rng, tokens):
        pos = np.arange(len(tokens))
        if self.gaps and rng.random() < 0.35:
            turns = np.flatnonzero(tokens == self.start_token)[1:]
            room = int(rng.random() ** 2 * (self.gaps - len(tokens)))
            if len(turns) and room:
                cuts = np.bincount(rng.choice(turns, size=8), minlength=len(tokens)) / 8
                pos = pos + np.floor(np.cumsum(cuts) * room).astype(int)
        return pos

    def batches(self, seed, window, batch):
        """Yields (tokens, targets, weights, positions, document ids) for one pass over the dialogues."""
        rng = np.random.default_rng(seed)
        done = []
        for row in self.rows(rng, window):
            done.append(self.filled(rng, row, window))
            if len(done) == batch:
                yield tuple(torch.from_numpy(np.stack(column)) for column in zip(*done))
                done = []

    def rows(self, rng, window):
        """Best fit: a dialogue goes where it leaves the least room; the fullest window leaves when none has room."""
        rows = [[0, []] for _ in range(OPEN_ROWS)]
        for i in rng.permutation(len(self.documents)):
            tokens, weights = (part[: window + 1] for part in self.documents[i])
            fitting = [row for row in rows if row[0] + len(tokens) <= window + 1]
            if not fitting:
                full = max(rows, key=lambda row: row[0])
                yield full[1]
                full[0], full[1] = 0, []
                fitting = [full]
            row = max(fitting, key=lambda row: row[0])
            row[0] += len(tokens)
            row[1].append((tokens, weights))

    def filled(self, rng, row, window):
        tokens, weights, pos, doc = (np.zeros(window + 1, t) for t in (np.int64, np.float32, np.int64, np.int64))
        at = 0
        for n, (t, w) in enumerate(row, 1):
            end = at + len(t)
            tokens[at:end], weights[at + 1 : end], pos[at:end], doc[at:end] = t, w[1:], self.positions(rng, t), n
            at = end
        return tokens[:-1], tokens[1:], weights[1:], pos[:-1], doc[:-1]


def attention_mask(doc):
    """True where a token may look: backwards, inside its own dialogue."""
    causal = torch.ones(doc.shape[1], doc.shape[1], dtype=torch.bool).tril()
    return ((doc[:, :, None] == doc[:, None, :]) & causal)[:, None]


def loss_of(model, shape, tokens, targets, weights, pos, doc):
    cos, sin = angles(pos, shape)
    logits = model(tokens, cos, sin, attention_mask(doc))
    each = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return (each * weights.flatten()).sum() / weights.sum()


def rate_at(step, steps):
    """Warm-up, then constant, then a straight line down. Until the descent nothing depends on `steps`, so a run may be
    shortened or prolonged by `--resume` with another number and is still the run that this number gives."""
    descent = int(DESCENT * steps)
    if step >= steps - descent:
        return PEAK_RATE * (steps - step) / descent
    return PEAK_RATE * min(1, (step + 1) / WARM_UP)


def encode_all(tokenizer, dialogues):
    """Token ids and loss weights of each dialogue; the assistant's words and the end of its turn weigh one."""
    pieces = [corpus.pieces(d) for d in dialogues]
    flat = tokenizer.encode_batch([text for ps in pieces for text, _ in ps], add_special_tokens=False)
    done, at = [], 0
    for ps in pieces:
        ids, weights = [], []
        for (_, spoken), enc in zip(ps, flat[at : at + len(ps)]):
            ids += enc.ids
            weights += [1.0 if spoken else OTHER_WEIGHT] * len(enc.ids)
        at += len(ps)
        done.append((np.array(ids, np.int64), np.array(weights, np.float32)))
    return done


def prepare(size):
    """Corpus, tokenizer and encoded dialogues, made once for a given corpus script and kept in the work folder."""
    train, held = corpus.dialogues(size)
    tokenizer = export.train_tokenizer(("".join(t for t, _ in corpus.pieces(d)) for d in train[:20000]), SHAPE["vocab"])
    WORK.mkdir(exist_ok=True)
    tokenizer.save(str(WORK / "tokenizer.json"))
    return tokenizer, encode_all(tokenizer, train), encode_all(tokenizer, held)


def perplexity(model, shape, documents, start_token, batches=40):
    """Held-out perplexity over all tokens and over the assistant's alone, without position gaps."""
    windows = Windows(documents, start_token, 0)
    sums = {"all": [0.0, 0], "assistant": [0.0, 0]}
    with torch.no_grad():
        for n, (tokens, targets, weights, pos, doc) in enumerate(windows.batches(SEED, 512, 8)):
            if n == batches:
                break
            cos, sin = angles(pos, shape)
            logits = model(tokens, cos, sin, attention_mask(doc)).float()
            each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            for name, chosen in (("all", weights > 0), ("assistant", weights == 1)):
                sums[name][0] += float(each[chosen.flatten()].sum())
                sums[name][1] += int(chosen.sum())
    return {name: math.exp(total / count) for name, (total, count) in sums.items()}


def write_model(model, tokenizer, out):
    tensors = {k: v.detach().float().numpy() for k, v in model.state_dict().items()}
    export.write_gguf(tensors, SHAPE, tokenizer, out)
    print(f"wrote {out} {out.stat().st_size} bytes sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}", flush=True)


class Run:
    """The state of a training run that a checkpoint keeps."""

    def __init__(self, model):
        self.model = model
        matrices = [p for p in model.parameters() if p.dim() == 2]
        norms = [p for p in model.parameters() if p.dim() == 1]
        groups = [dict(params=matrices, weight_decay=0.05), dict(params=norms, weight_decay=0.0)]
        self.opt = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)
        self.step, self.seen, self.before = 0, 0, 0.0
        self.began = time.monotonic()

    def seconds(self):
        return self.before + time.monotonic() - self.began

    def save(self, path):
        state = dict(model=self.model.state_dict(), opt=self.opt.state_dict(), step=self.step, seen=self.seen, seconds=self.seconds())
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def load(self, path):
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.opt.load_state_dict(state["opt"])
        self.step, self.seen, self.before = state["step"], state["seen"], state["seconds"]


def stream(windows, steps):
    """Batches for the whole run: each phase passes over the dialogues in its own orders."""
    step = 0
    for phase, (share, window, batch) in enumerate(PHASES):
        epoch = 0
        while step < int(share * steps):
            for made in windows.batches(SEED + 1000 * phase + epoch, window, batch):
                if step == int(share * steps):
                    break
                yield made
                step += 1
            epoch += 1


def one_step(run, forward, batch, args):
    for group in run.opt.param_groups:
        group["lr"] = rate_at(run.step, args.steps)
    with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        loss = loss_of(forward, SHAPE, *batch)
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.opt.step()
    run.opt.zero_grad()
    run.step += 1
    run.seen += int((batch[4] > 0).sum())
    return loss.item()


def train(args):
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    tokenizer, train_docs, held_docs = prepare(args.dialogues)
    start = tokenizer.token_to_id("<|im_start|>")
    tokens_an_epoch = sum(len(t) for t, _ in train_docs)
    run = Run(Pilot(**SHAPE))
    parameters = sum(p.numel() for p in run.model.parameters())
    print(f"{len(train_docs)} dialogues, {tokens_an_epoch} tokens an epoch, {len(held_docs)} held out, {parameters} parameters", flush=True)
    latest = WORK / "latest.pt"
    if args.resume and latest.exists():
        run.load(latest)
    forward = torch.compile(run.model, dynamic=False) if args.compile else run.model
    skip = run.step
    for at, batch in enumerate(stream(Windows(train_docs, start, SHAPE["context"]), args.steps)):
        if at < skip:
            continue
        loss = one_step(run, forward, batch, args)
        if run.step % 50 == 0:
            print(f"step {run.step}/{args.steps} loss {loss:.4f} tokens {run.seen} seconds {run.seconds():.0f}", flush=True)
        if run.step % 250 == 0:
            run.save(latest)
            print(f"held-out perplexity {perplexity(run.model, SHAPE, held_docs, start, 12)}", flush=True)
            write_model(run.model, tokenizer, WORK / "latest.gguf")
    run.save(latest)
    facts = dict(steps=run.step, tokens_seen=run.seen, seconds=round(run.seconds()), tokens_an_epoch=tokens_an_epoch,
                 dialogues=len(train_docs), held_out=len(held_docs), parameters=parameters)
    (WORK / "facts.json").write_text(json.dumps(facts, indent=1))
    write_model(run.model, tokenizer, args.out)


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--steps", type=int, default=2600)
    p.add_argument("--dialogues", type=int, default=140000)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--out", type=Path, default=HERE / "pilot.gguf")
    p.add_argument("--resume", action="store_true", help="continue from the latest checkpoint")
    p.add_argument("--no-compile", dest="compile", action="store_false", help="for machines without a C++ compiler; slower")
    p.add_argument("--no-bf16", dest="bf16", action="store_false", help="compute in float32 throughout; slower")
    return p.parse_args()


if __name__ == "__main__":
    train(arguments())
