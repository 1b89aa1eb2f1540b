"""What the cases share: where everything is, what the simulated provider received, and how cases are run and told.

BASE   the daemon, such as http://127.0.0.1:4600
KEY    a key that it knows
MODEL  the model to ask for, served by the simulated provider
SIM    the simulated provider behind it, such as http://127.0.0.1:4650; without it the cases that look behind the daemon
       are skipped
STRICT set to anything: a case that is skipped counts as failed
"""

import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass

for variable in ("BASE", "KEY", "MODEL"):
    if variable not in os.environ:
        sys.exit(f"the variable {variable} is not set:\n\n{__doc__}")

BASE = os.environ["BASE"].rstrip("/")
KEY = os.environ["KEY"]
MODEL = os.environ["MODEL"]
SIM = os.environ.get("SIM", "").rstrip("/")

# Whoever answers must be the simulated provider, not the model that the daemon falls back to.
ONLY_SIM = {"x-commonwatt-tiers": "frontier"} if SIM else {}

# Nobody but the engine is known to make vectors when the model is `auto`.
ANYWHERE = {"x-commonwatt-tiers": "frontier,free,local"}

# A red square of 2 by 2 pixels.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg=="
)

WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TIME_SCHEMA = {
    "type": "object",
    "properties": {"zone": {"type": "string"}},
    "required": ["zone"],
    "additionalProperties": False,
}


class Skipped(Exception):
    """A case that cannot be run here."""


@dataclass
class Case:
    suite: str
    name: str
    run: Callable[[], None]


CASES: list[Case] = []


def case(suite: str):
    """Registers a function as a case; its name is the sentence that is told."""

    def register(run: Callable[[], None]) -> Callable[[], None]:
        CASES.append(Case(suite, run.__name__.replace("_", " "), run))
        return run

    return register


def prompt(directive: str = "") -> str:
    """A prompt that no other call has, so that it can be found again; the directive is for the simulated provider."""
    text = f"Tell me something about lamps. Number {uuid.uuid4().hex}."
    return f"{text} [[sim: {directive}]]" if directive else text


def _get(url: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, headers=headers, method="POST" if body is not None else "GET")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def is_daemon() -> bool:
    """Whether BASE is a daemon rather than the simulated provider itself (which these cases are developed against)."""
    return _get(f"{BASE}/healthz", {})[0] == 200


def needs_daemon() -> None:
    if not is_daemon():
        raise Skipped("BASE is not a daemon")


def needs_engine(models: list[str]) -> None:
    """There must be a local model that answers when the provider does not."""
    needs_sim()
    needs_daemon()
    if not any(model.startswith("engine/") for model in models):
        raise Skipped("the daemon was built without the engine")


def needs_sim() -> None:
    if not SIM:
        raise Skipped("no SIM")


def received(text: str) -> list[dict]:
    """The requests that reached the simulated provider with this prompt, oldest first."""
    needs_sim()
    # Up to the directive, whose quotes are escaped in JSON.
    mark = text.split(" [[", 1)[0]
    requests = json.loads(_get(f"{SIM}/sim/requests", {})[1])["requests"]
    return [request for request in requests if mark in request["body"].get("text", "")]


def received_once(text: str) -> dict:
    requests = received(text)
    assert len(requests) == 1, f"the provider received it {len(requests)} times"
    return requests[0]


def received_body(text: str) -> dict:
    return json.loads(received_once(text)["body"]["text"])


def arrived_or_named(body: dict, sent: dict, headers) -> None:
    """A model or the other dialect may not have a parameter; then the daemon leaves it out and says so."""
    lossy = headers.get("x-commonwatt-lossy", "")
    there = {**body, "user": body.get("user") or body.get("metadata", {}).get("user_id")}
    for name, value in sent.items():
        assert there.get(name) == value or name in lossy, f"`{name}` was lost, and x-commonwatt-lossy says: {lossy!r}"


def left_early(text: str, within_s: float = 5.0) -> dict:
    """Waits until the provider has noticed that nobody listens any more."""
    deadline = time.monotonic() + within_s
    while True:
        requests = received(text)
        if requests and requests[-1]["outcome"] != "playing":
            assert requests[-1]["outcome"] == "client_left", requests[-1]["outcome"]
            return requests[-1]
        assert time.monotonic() < deadline, f"after {within_s} s the provider is still sending"
        time.sleep(0.05)


def script(words: str) -> None:
    """What happens to the next calls; one line for each, such as `status=500` or `pass`."""
    needs_sim()
    status, answer = _get(f"{SIM}/sim/script", {}, words.encode())
    assert status == 200, answer


def recover() -> None:
    """After a fault the daemon skips the provider for a while: waits until it does no longer."""
    if not SIM:
        return
    script("pass")
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt()}], "max_tokens": 16}
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **ONLY_SIM}
    deadline = time.monotonic() + 60
    while True:
        status, answer = _get(f"{BASE}/v1/chat/completions", headers, json.dumps(body).encode())
        if status == 200:
            return
        assert time.monotonic() < deadline, f"the provider is still skipped after a minute: {answer!r}"
        time.sleep(0.2)


def same_dialect(text: str, path: str) -> bool:
    """Whether the provider was asked in the dialect that the client speaks."""
    return received_once(text)["path"].split("?")[0] == path


def main() -> None:
    wanted = sys.argv[1:]
    passed = failed = skipped = 0
    for one in CASES:
        title = f"{one.suite}: {one.name}"
        if wanted and not any(word in title for word in wanted):
            continue
        started = time.monotonic()
        try:
            one.run()
            passed += 1
            print(f"ok    {title} ({time.monotonic() - started:.2f} s)", flush=True)
        except Skipped as reason:
            skipped += 1
            print(f"skip  {title}: {reason}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL  {title}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed or not passed or (skipped and os.environ.get("STRICT")) else 0)
