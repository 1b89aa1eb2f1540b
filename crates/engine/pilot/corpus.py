"""The dialogues that the pilot learns from: generated here, from a fixed seed, with no outside data.

`subjects.txt` and `talk.txt` hold what was written by hand, `chatter.py` and `toolcalls.py` make the rest by rule.
Held out is every exchange whose (intent, question) hashes to the chosen residue, before noise is added: such a wording
is not drawn for training, while other wordings of the same intent are. Follow-up questions and recall are not split.
"""

import json
import random
import zlib
from pathlib import Path

import chatter
import toolcalls
from words import expand, sentence

SEED = 4600
HELD_OUT_OF = 25
HELD_OUT_DIALOGUES = 1500
HERE = Path(__file__).parent

SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant.", "You are a friendly assistant.", "You are a helpful AI assistant.",
           "Be brief.", "Answer briefly.", "Answer in one sentence.", "You are the pilot of Commonwatt.", "You are a support agent for Commonwatt.",
           "You help people with Commonwatt.", "You are an assistant. Be honest and short.", "Be polite.", "You are a chatbot.",
           "You are a helpful coding assistant.", "Use plain language.", "Keep your answers short and clear.", "You answer questions of users.",
           "You are a careful assistant. If you do not know something, say so."]
REFUSALS = [
    "{I am the pilot, a very small model inside Commonwatt|I am only the pilot, a very small model|That is beyond me: I am a very small model inside Commonwatt}, and {that is too hard for me|I cannot do that well|I do not know that}. {Add a provider or pull a larger model|You could add a provider, or pull a larger model}{ for that|}.",
    "{That is too much for me|This is more than I can do}. {I am a tiny model and know Commonwatt and small talk|I only know Commonwatt and a little small talk}. {A larger model can help: add a provider key, or use `commonwatt models pull`|Add a provider or pull a larger model, and ask again}.",
    "I {am too small|do not know enough} {to answer that well|for that}. {With a provider key such as `OPENAI_API_KEY` a larger model would answer|If you export a provider key, a larger model answers here}{, or pull one with `commonwatt models pull`|}.",
    "{I would only guess|I would make something up}, so I {rather do not answer|had better say no}. I am the pilot, {a very small model|the small model inside Commonwatt}; {please ask a larger one|a larger model, from a provider or pulled, can do this}.",
]
TYPO_KEYS = dict(zip("abcdefghijklmnopqrstuvwxyz", "svxswdfujklk,bmipkwrtuyiveczxx"))
TOOLS_BEFORE = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>"
TOOLS_AFTER = "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"


def read_intents(path):
    """Intents of one text file: name -> dict of Q, A and a list of (F lines, G lines)."""
    intents, current = {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        mark, _, text = line.partition(" ")
        if mark == "@":
            current = intents.setdefault(text, {"Q:": [], "A:": [], "after": []})
        elif mark in ("Q:", "A:"):
            current[mark].append(text)
        elif mark == "F:":
            if not current["after"] or current["after"][-1][1]:
                current["after"].append(([], []))
            current["after"][-1][0].append(text)
        elif mark == "G:":
            current["after"][-1][1].append(text)
    return intents


SUBJECTS = read_intents(HERE / "subjects.txt")
TALK = read_intents(HERE / "talk.txt")


def is_held(key):
    return zlib.crc32(key.encode()) % HELD_OUT_OF == 0


def draw(rng, held, make):
    """Draws exchanges until one is on the wanted side of the split; small intents may have none held out."""
    for _ in range(400):
        key, messages = make(rng)
        if is_held(key) == held:
            return messages
    return messages if not held else draw(rng, False, make)


def answer_text(rng, template):
    return sentence(expand(rng, template.replace("!refuse", rng.choice(REFUSALS))))


def noisy(rng, text):
    """What users do to a question: lower case, no full stop, a typo, a word before it."""
    if rng.random() < 0.08:
        text = rng.choice(["Hi, ", "Hello, ", "Please, ", "Quick question: ", "Hey, ", "So, ", "And ", "Tell me, ", "Sorry, "]) + text[:1].lower() + text[1:]
    if rng.random() < 0.25:
        text = text[:1].lower() + text[1:] if rng.random() < 0.4 else text.lower()
    if rng.random() < 0.2:
        text = text.rstrip("?.!")
    if rng.random() < 0.07 and len(text) > 6:
        i = rng.randrange(1, len(text) - 1)
        swapped = text[:i] + text[i + 1] + text[i] + text[i + 2 :]
        missed = text[:i] + text[i + 1 :]
        wrong = text[:i] + TYPO_KEYS.get(text[i], text[i]) + text[i + 1 :]
        text = rng.choice([swapped, missed, wrong])
    return text


def turn(rng, question, answer):
    return [{"role": "user", "content": noisy(rng, question)}, {"role": "assistant", "content": answer}]


def written(intents):
    """A maker of exchanges from a text file, with the follow-ups that the intent has."""
    names = list(intents)
    weights = [(1 + len(intents[n]["Q:"])) ** 0.7 for n in names]

    def make(rng):
        name = rng.choices(names, weights)[0]
        intent = intents[name]
        question = expand(rng, rng.choice(intent["Q:"]))
        messages = turn(rng, question, answer_text(rng, rng.choice(intent["A:"])))
        after = intent["after"]
        while after and rng.random() < 0.55:
            ask, say = rng.choice(after)
            messages += turn(rng, expand(rng, rng.choice(ask)), answer_text(rng, rng.choice(say)))
            after = [pair for pair in after if pair[0] is not ask]
        return f"{name}:{question}", messages

    return make


def ruled(rng):
    maker = rng.choices(list(chatter.MAKERS), chatter.MAKERS.values())[0]
    question, answer = maker(rng)
    messages = [{"role": "user", "content": question}] if maker in (chatter.repeat, chatter.spelling) else turn(rng, question, answer)[:1]
    return f"{maker.__name__}:{question}", messages + [{"role": "assistant", "content": answer}]


TOUR = ["what-is", "name", "tiers", "routes", "failover", "breakers", "add-provider", "pull-model", "keys", "bus", "record", "privacy", "offline", "licence", "pilot-what"]


def tour(rng):
    """A long answer that walks through several subjects in their order."""
    question = expand(rng, "{Tell me everything about|Explain|Describe|Tell me more about|Write a long text about|Give me a long explanation of|Explain in detail:} Commonwatt{ in detail| at length| in many sentences|}{.|, please.|}")
    stops = sorted(rng.sample(range(1, len(TOUR)), rng.randint(3, 7)))
    names = [TOUR[0]] + [TOUR[i] for i in stops]
    parts = [answer_text(rng, rng.choice([a for a in SUBJECTS[n]["A:"] if not a.startswith(("{Yes", "No", "Use", "Yes"))])) for n in names]
    return f"tour:{question}", turn(rng, question, rng.choice([" ", "\n\n"]).join(parts))


MAKERS = [(written(SUBJECTS), 5), (written(TALK), 3), (ruled, 3), (tour, 0.15)]


def some_exchange(rng, held):
    make = rng.choices([m for m, _ in MAKERS], [w for _, w in MAKERS])[0]
    return draw(rng, held, make)


def plain_dialogue(rng, held):
    messages = []
    for _ in range(rng.choices([1, 2, 3, 4, 5], [40, 25, 18, 10, 7])[0]):
        messages += some_exchange(rng, held)
    return messages


def recall_dialogue(rng, held):
    """Facts told by the user, other talk between, and questions for what was told or was not."""
    known, messages = {}, []
    if rng.random() < 0.4:
        messages += some_exchange(rng, held)
    for topic in rng.sample(list(chatter.RECALL), rng.choices([0, 1, 2, 3], [10, 55, 25, 10])[0]):
        known[topic], statement, ack = chatter.told(rng, topic)
        messages += [{"role": "user", "content": statement if rng.random() < 0.8 else statement.rstrip(".!")}, {"role": "assistant", "content": ack}]
    for _ in range(rng.choices([0, 1, 2, 3, 8], [40, 28, 15, 11, 6])[0]):
        messages += some_exchange(rng, held)
    topics = list(known) if known and rng.random() < 0.85 else list(chatter.RECALL)
    for topic in rng.sample(topics, min(len(topics), rng.choice([1, 1, 2]))):
        question, answer = chatter.asked(rng, topic, known.get(topic))
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


def tool_dialogue(rng, held):
    """(tools, messages): a call, two at once, none possible, or plain talk although tools are offered."""
    kind = rng.choices(["single", "parallel", "missing", "plain"], [68, 7, 9, 16])[0]
    if kind == "plain":
        return toolcalls.offered(rng, [rng.choice(toolcalls.FAMILIES)(rng)[0]]), plain_dialogue(rng, held)[:4]
    tools, messages = draw(rng, held, lambda r: split_key(getattr(toolcalls, kind)(r)))
    if rng.random() < 0.15:
        messages = some_exchange(rng, held) + messages
    if rng.random() < 0.2:
        messages = messages + some_exchange(rng, held)
    return tools, messages


def split_key(made):
    tools, key, messages = made
    return key, (tools, messages)


def dialogue(rng, held):
    """(tools, messages), a system prompt before four in ten."""
    kind = rng.choices(["plain", "recall", "tool"], [68, 14, 18])[0]
    tools, messages = [], []
    if kind == "tool":
        tools, messages = tool_dialogue(rng, held)
    else:
        messages = plain_dialogue(rng, held) if kind == "plain" else recall_dialogue(rng, held)
    if rng.random() < 0.4:
        messages = [{"role": "system", "content": rng.choice(SYSTEMS)}] + messages
    return tools, messages


def dialogues(size):
    """The training dialogues and the held-out ones; the same for the same size."""
    rng = random.Random(SEED)
    train = [dialogue(rng, False) for _ in range(size)]
    rng = random.Random(SEED + 1)
    return train, [dialogue(rng, True) for _ in range(HELD_OUT_DIALOGUES)]


def pieces(dialogue):
    """The text of a dialogue as (text, spoken by the assistant) pieces, cut only at special tokens and line ends."""
    tools, messages = dialogue
    out, text = [], ""
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    if tools:
        text = "<|im_start|>system\n" + (system + "\n\n" if system else "") + TOOLS_BEFORE
        text += "".join("\n" + json.dumps(t, ensure_ascii=False) for t in tools) + TOOLS_AFTER + "<|im_end|>\n"
    elif system:
        text = f"<|im_start|>system\n{system}<|im_end|>\n"
    for i, message in enumerate(messages):
        if message["role"] == "user":
            text += f"<|im_start|>user\n{message['content']}<|im_end|>\n"
        elif message["role"] == "tool":
            text += "<|im_start|>user" if messages[i - 1]["role"] != "tool" else ""
            text += f"\n<tool_response>\n{message['content']}\n</tool_response>"
            text += "<|im_end|>\n" if messages[i + 1]["role"] != "tool" else ""
        elif message["role"] == "assistant":
            out.append((text + "<|im_start|>assistant\n", False))
            out.append((spoken(message) + "<|im_end|>", True))
            text = "\n"
    return out


def spoken(message):
    calls = [c["function"] for c in message.get("tool_calls") or []]
    parts = [message["content"]] if message["content"] else []
    parts += ['<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>' % (c["name"], json.dumps(c["arguments"], ensure_ascii=False)) for c in calls]
    return "\n".join(parts)


if __name__ == "__main__":
    for example in dialogues(30)[0]:
        print("".join(text for text, _ in pieces(example)), "\n" + "-" * 60)
