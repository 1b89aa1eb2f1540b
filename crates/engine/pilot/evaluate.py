"""Judge the pilot's file and write `docs/reference/pilot.md`.

Reads the GGUF as a stranger would: its tensors, its tokenizer, its template, and a forward pass in numpy that shares no
code with the training. Compares it with the float32 checkpoint where there is one. Run after `train.py`.
"""

import argparse
import hashlib
import json
import math
from pathlib import Path

import gguf
import jinja2
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import corpus
import export
from talks import TALKS

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "reference" / "pilot.md"
TEMPERATURE, TOP_P, SEED = 0.7, 0.95, 7
MOST_TOKENS = 220


class File:
    """The pilot's file, opened: facts, tensors as float32, tokenizer, template."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.facts = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
        self.tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
        self.tokens = self.facts["tokenizer.ggml.tokens"]
        self.tokenizer = self.read_tokenizer()
        self.template = read_template(self.facts["tokenizer.chat_template"])

    def read_tokenizer(self):
        merges = [tuple(m.split(" ")) for m in self.facts["tokenizer.ggml.merges"]]
        tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(self.tokens)}, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.decoder = decoders.ByteLevel()
        kinds = self.facts["tokenizer.ggml.token_type"]
        for token, kind in zip(self.tokens, kinds):
            if kind != gguf.TokenType.NORMAL:
                tokenizer.add_tokens([AddedToken(token, normalized=False, special=kind == gguf.TokenType.CONTROL)])
        return tokenizer

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def read_template(text):
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return env.from_string(text)


class Network:
    """The forward pass of the `llama` architecture in numpy, with a cache of keys and values."""

    def __init__(self, facts, tensors):
        self.tensors = tensors
        self.layers = facts["llama.block_count"]
        self.heads, self.kv_heads = facts["llama.attention.head_count"], facts["llama.attention.head_count_kv"]
        self.head = facts["llama.embedding_length"] // self.heads
        self.epsilon = facts["llama.attention.layer_norm_rms_epsilon"]
        self.rope = facts["llama.rope.freq_base"] ** (-np.arange(0, self.head, 2) / self.head)

    def fresh_cache(self):
        return [None] * self.layers

    def forward(self, ids, cache):
        """Logits of every given token; the cache grows by them."""
        past = 0 if cache[0] is None else cache[0][0].shape[1]
        x = self.tensors["token_embd.weight"][ids]
        angle = np.outer(np.arange(past, past + len(ids)), self.rope)
        visible = np.arange(past + len(ids))[None, :] <= np.arange(past, past + len(ids))[:, None]
        for i in range(self.layers):
            w = lambda name: self.tensors[f"blk.{i}.{name}.weight"]
            x = x + self.attention(w, self.norm(x, w("attn_norm")), angle, visible, cache, i)
            z = self.norm(x, w("ffn_norm"))
            gate = z @ w("ffn_gate").T
            x = x + (gate / (1 + np.exp(-gate)) * (z @ w("ffn_up").T)) @ w("ffn_down").T
        return self.norm(x, self.tensors["output_norm.weight"]) @ self.tensors["token_embd.weight"].T

    def attention(self, w, z, angle, visible, cache, i):
        split = lambda t: t.reshape(len(z), -1, self.head).transpose(1, 0, 2)
        q, k, v = rotate(split(z @ w("attn_q").T), angle), rotate(split(z @ w("attn_k").T), angle), split(z @ w("attn_v").T)
        if cache[i] is not None:
            k, v = np.concatenate([cache[i][0], k], 1), np.concatenate([cache[i][1], v], 1)
        cache[i] = (k, v)
        group = self.heads // self.kv_heads
        scores = q @ np.repeat(k, group, 0).transpose(0, 2, 1) / math.sqrt(self.head)
        scores = np.where(visible, scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = scores / scores.sum(-1, keepdims=True) @ np.repeat(v, group, 0)
        return mixed.transpose(1, 0, 2).reshape(len(z), -1) @ w("attn_output").T

    def norm(self, x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * weight


def rotate(x, angle):
    """RoPE on neighbouring pairs."""
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return out


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def perplexities(network, file, dialogues):
    """(over all tokens, over the assistant's tokens) of the held-out dialogues, each read on its own."""
    loss, count = np.zeros(2), np.zeros(2)
    for dialogue in dialogues:
        ids, spoken = [], []
        for text, by_assistant in corpus.pieces(dialogue):
            new = file.encode(text)
            ids, spoken = ids + new, spoken + [by_assistant] * len(new)
        scores = log_softmax(network.forward(np.array(ids[:-1]), network.fresh_cache()))
        each, mine = -scores[np.arange(len(ids) - 1), ids[1:]], np.array(spoken[1:])
        loss += each.sum(), each[mine].sum()
        count += len(each), mine.sum()
    return tuple(float(v) for v in np.exp(loss / count))


def checkpoint_tensors(path):
    """The float32 weights that the file was made from, under GGUF's names."""
    import torch

    state = torch.load(path, map_location="cpu")["model"]
    return {export.tensor_name(name): value.numpy() for name, value in state.items()}


def sample(network, file, rng, prompt):
    """One answer at the stated temperature, cut at the end of the turn."""
    end, cache, out = file.facts["tokenizer.ggml.eos_token_id"], network.fresh_cache(), []
    logits = network.forward(np.array(file.encode(prompt)), cache)[-1]
    while len(out) < MOST_TOKENS:
        chosen = choose(rng, logits)
        if chosen == end:
            break
        out.append(chosen)
        logits = network.forward(np.array([chosen]), cache)[-1]
    return file.tokenizer.decode(out, skip_special_tokens=False)


def choose(rng, logits):
    p = np.exp(log_softmax(logits.astype(np.float64) / TEMPERATURE))
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), TOP_P)) + 1]
    return int(rng.choice(kept, p=p[kept] / p[kept].sum()))


def talk(network, file, rng, script):
    """Plays the user's (and the tools') lines of a script and fills in what the pilot says."""
    messages = []
    for line in script["lines"]:
        messages.append(line)
        prompt = file.template.render(messages=messages, tools=script.get("tools"), add_generation_prompt=True)
        if line["role"] != "system":
            messages.append({"role": "assistant", "content": sample(network, file, rng, prompt)})
    return messages


def template_agrees(file, dialogues):
    """The template in the file renders the very text that the training saw."""
    for tools, messages in dialogues:
        trained = "".join(text for text, _ in corpus.pieces((tools, messages))) + "\n"
        if file.template.render(messages=messages, tools=tools) != trained:
            return False
    return True


def shown(messages):
    lines = []
    for m in messages:
        body = m["content"].replace("\n", "\n> ")
        lines.append(f"> **{m['role']}:** {body}")
    return "\n>\n".join(lines)


def fill(page, values, talks):
    text = (HERE / "page.template").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", str(value))
    samples = "\n\n".join(f"### {n}. {script['title']}\n\n{shown(m)}" for n, (script, m) in enumerate(talks, 1))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text.replace("{{samples}}", samples), encoding="utf-8")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--file", type=Path, default=HERE / "pilot.gguf")
    p.add_argument("--work", type=Path, default=HERE / "work", help="where train.py left its checkpoint and facts")
    p.add_argument("--page", type=Path, default=PAGE)
    args = p.parse_args()
    file = File(args.file)
    network = Network(file.facts, file.tensors)
    run = json.loads((args.work / "facts.json").read_text())
    _, held = corpus.dialogues(run["dialogues"])
    exact = Network(file.facts, checkpoint_tensors(args.work / "latest.pt"))
    probe = np.array(file.encode("<|im_start|>user\nWhat is Commonwatt?<|im_end|>\n<|im_start|>assistant\n"))
    drift = np.abs(network.forward(probe, network.fresh_cache()) - exact.forward(probe, exact.fresh_cache())).max()
    values = run | {"drift": f"{drift:.3f}", "template_agrees": "yes" if template_agrees(file, held) else "NO"}
    for name, net in (("q8", network), ("f32", exact)):
        values[f"{name}_all"], values[f"{name}_assistant"] = (f"{v:.3f}" for v in perplexities(net, file, held))
    values |= {"bytes": args.file.stat().st_size, "sha256": hashlib.sha256(args.file.read_bytes()).hexdigest(), "minutes": round(run["seconds"] / 60),
               "temperature": TEMPERATURE, "top_p": TOP_P, "seed": SEED, "million": f"{run['tokens_seen'] / 1e6:.1f}"}
    print(json.dumps(values, indent=1), flush=True)
    rng = np.random.default_rng(SEED)
    fill(args.page, values, [(script, talk(network, file, rng, script)) for script in TALKS])


if __name__ == "__main__":
    main()
