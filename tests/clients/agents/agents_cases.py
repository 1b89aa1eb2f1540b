"""Coding agents and a chat program, unmodified, each at a small task in a folder of its own, without a terminal.

AGENTS is the folder that they are installed in. They see an environment made here and nothing of the caller's: a home
that is thrown away, no telemetry, and a proxy that refuses everything but this machine.
"""

import json
import os
import subprocess
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from harness import BASE, KEY, MODEL, ONLY_SIM, SIM, case, needs_sim, prompt, received, recover, script

AGENTS = Path(os.environ["AGENTS"])
NOWHERE = "http://127.0.0.1:9"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LANG": "C.UTF-8",
    "NO_COLOR": "1",
    "DO_NOT_TRACK": "1",
    **{name: NOWHERE for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")},
    **{name: "127.0.0.1,localhost" for name in ("NO_PROXY", "no_proxy")},
}


@contextmanager
def folders():
    """A home and a folder to work in; both are gone afterwards."""
    with tempfile.TemporaryDirectory() as root:
        home, work = Path(root, "home"), Path(root, "work")
        home.mkdir()
        work.mkdir()
        yield home, work


def run(command: list[str], home: Path, work: Path, fails: bool = False, **variables: str) -> str:
    environment = {**ENVIRONMENT, "HOME": str(home), "TMPDIR": str(home), **variables}
    done = subprocess.run(
        command, cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    told = f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (done.returncode != 0) == fails, told
    return done.stdout + done.stderr if fails else done.stdout


@contextmanager
def calls(*wanted: tuple[str, dict]):
    """The next answers each call one tool; the answers after them are text."""
    steps = [{"answer": {"calls": [{"name": name, "arguments": arguments}]}} for name, arguments in wanted]
    script(json.dumps({"steps": steps}))
    try:
        yield
    finally:
        recover()


def codex(text: str, home: Path, work: Path, key: str = KEY, fails: bool = False) -> str:
    headers = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in ONLY_SIM.items())
    Path(home, "config.toml").write_text(f"""
        model = "{MODEL}"
        model_provider = "commonwatt"
        check_for_update_on_startup = false
        analytics.enabled = false
        feedback.enabled = false
        [model_providers.commonwatt]
        name = "Commonwatt"
        base_url = "{BASE}/v1"
        env_key = "KEY"
        wire_api = "responses"
        http_headers = {{ {headers} }}
        request_max_retries = 0
        stream_max_retries = 0
    """)
    # Whatever it runs comes from these cases: a sandbox would only need rights that a container lacks.
    options = ["--skip-git-repo-check", "--ephemeral", "--sandbox", "danger-full-access"]
    command = [str(AGENTS / "node_modules/.bin/codex"), "exec", *options, text]
    return run(command, home, work, fails, KEY=key, CODEX_HOME=str(home))


def named() -> str:
    """A model that is not called `auto`, which to gemini-cli means two models of Google's."""
    if MODEL != "auto":
        return MODEL
    request = urllib.request.Request(f"{BASE}/v1/models", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return next(one["id"] for one in json.load(answer)["data"] if "/" in one["id"] and "engine" not in one["id"])


def gemini(text: str, home: Path, work: Path, key: str = KEY, fails: bool = False) -> str:
    settings = {
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False, "maxAttempts": 1},
        "security": {"auth": {"selectedType": "gemini-api-key"}},
    }
    Path(home, ".gemini").mkdir(exist_ok=True)
    Path(home, ".gemini/settings.json").write_text(json.dumps(settings))
    command = [str(AGENTS / "node_modules/.bin/gemini"), "-m", named(), "--approval-mode", "yolo", "-p", text]
    variables = {
        "GEMINI_API_KEY": key,
        "GOOGLE_GEMINI_BASE_URL": BASE,
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_TELEMETRY_ENABLED": "false",
        "GEMINI_CLI_CUSTOM_HEADERS": ",".join(f"{name}:{value}" for name, value in ONLY_SIM.items()),
    }
    return run(command, home, work, fails, **variables)


def llm(text: str, home: Path, work: Path, *options: str, key: str = KEY, fails: bool = False) -> str:
    model = {"model_id": "commonwatt", "model_name": MODEL, "api_base": f"{BASE}/v1", "api_key_name": "commonwatt"}
    model |= {"headers": ONLY_SIM, "supports_tools": True, "supports_schema": True}
    # JSON is YAML.
    Path(home, "extra-openai-models.yaml").write_text(json.dumps([model]))
    command = [str(AGENTS / "python/bin/llm"), "-m", "commonwatt", "--key", key, *options, text]
    return run(command, home, work, fails, LLM_USER_PATH=str(home))


def answers(program) -> None:
    text = prompt()
    with folders() as (home, work):
        assert program(text, home, work).strip()
    assert not SIM or received(text)


def is_refused(program) -> None:
    with folders() as (home, work):
        assert program(prompt(), home, work, key="cw-wrong", fails=True)


@case("codex")
def it_answers():
    answers(codex)


@case("codex")
def it_writes_a_file_with_its_own_tool_and_changes_it():
    needs_sim()
    text = prompt()
    write = {"cmd": "printf 'one lamp\\n' > lamps.txt"}
    change = {"cmd": "sed -i s/one/two/ lamps.txt && cat lamps.txt"}
    with folders() as (home, work), calls(("exec_command", write), ("exec_command", change)):
        assert codex(text, home, work).strip()
        assert Path(work, "lamps.txt").read_text() == "two lamp\n"
    requests = received(text)
    assert len(requests) == 3 and "two lamp" in requests[-1]["body"]["text"], "the result was not handed back"


@case("codex")
def a_wrong_key_ends_it():
    is_refused(codex)


@case("gemini-cli")
def it_answers_too():
    answers(gemini)


@case("gemini-cli")
def it_writes_a_file_and_edits_it_with_its_own_tools():
    needs_sim()
    text = prompt()
    with folders() as (home, work):
        file = Path(work, "lamps.txt")
        write = {"file_path": str(file), "content": "one lamp\n"}
        edit = {"file_path": str(file), "instruction": "count again", "old_string": "one", "new_string": "two"}
        with calls(("write_file", write), ("replace", edit)):
            assert gemini(text, home, work).strip()
        assert file.read_text() == "two lamp\n"
    assert len(received(text)) >= 3, "the results were not handed back"


@case("gemini-cli")
def a_wrong_key_ends_it_too():
    is_refused(gemini)


@case("llm")
def it_answers_streamed_and_whole():
    text = prompt()
    with folders() as (home, work):
        streamed, whole = llm(text, home, work), llm(text, home, work, "--no-stream")
        assert streamed.strip() and (not SIM or streamed == whole), f"{streamed!r} differs from {whole!r}"


@case("llm")
def a_conversation_goes_on():
    needs_sim()
    first, second = prompt(), prompt()
    with folders() as (home, work):
        told = llm(first, home, work)
        assert llm(second, home, work, "-c").strip()
    body = json.loads(received(second)[-1]["body"]["text"])
    assert told.strip() in json.dumps(body, ensure_ascii=False) and first in json.dumps(body)


@case("llm")
def it_calls_a_python_function():
    needs_sim()
    text = prompt("answer tool_calls=1")
    with folders() as (home, work):
        lamps = "def lamps(room: str) -> str:\n    'Counts lamps.'\n    open('asked', 'w').write(room)\n    return '7'\n"
        assert llm(text, home, work, "--functions", lamps).strip()
        assert Path(work, "asked").exists()
    assert len(received(text)) == 2, "the result was not handed back"


@case("llm")
def its_answer_follows_a_schema():
    needs_sim()
    with folders() as (home, work):
        assert isinstance(json.loads(llm(prompt(), home, work, "--schema", "city, days int"))["days"], int)


@case("llm")
def a_wrong_key_is_told():
    is_refused(llm)


@case("llm")
def a_failing_provider_is_told():
    needs_sim()
    try:
        with folders() as (home, work):
            assert llm(prompt("status=400 message=lamps-only"), home, work, fails=True)
    finally:
        recover()
