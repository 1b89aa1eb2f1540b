"""The official `ollama` package, unmodified, as applications use it."""

import asyncio
import json

import httpx
import ollama
from harness import (
    ANYWHERE,
    BASE,
    KEY,
    MODEL,
    ONLY_SIM,
    PNG,
    SIM,
    TIME_SCHEMA,
    WEATHER_SCHEMA,
    case,
    left_early,
    needs_sim,
    prompt,
    received_body,
    recover,
    same_dialect,
)

HEADERS = {"authorization": f"Bearer {KEY}", **ONLY_SIM}
client = ollama.Client(host=BASE, headers=HEADERS, timeout=60)


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def tool(name: str, parameters: dict) -> dict:
    return {"type": "function", "function": {"name": name, "description": f"Tells the {name}.", "parameters": parameters}}


TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)]


def chat(text: str, **more):
    return client.chat(model=MODEL, messages=user(text), **more)


def refused(call) -> ollama.ResponseError:
    try:
        call()
    except ollama.ResponseError as error:
        assert error.error
        return error
    raise AssertionError("it was answered")


@case("ollama-python")
def models_are_listed_and_shown():
    names = [model.model for model in client.list().models]
    assert names
    shown = client.show(names[0])
    assert shown.modelinfo and "completion" in shown.capabilities


@case("ollama-python")
def chatting():
    answer = chat(prompt())
    assert answer.message.role == "assistant" and answer.message.content
    assert answer.done and answer.done_reason == "stop" and answer.model and answer.created_at
    assert answer.prompt_eval_count > 0 and answer.eval_count > 0


@case("ollama-python")
def streaming():
    text = prompt()
    chunks = list(chat(text, stream=True))
    told = "".join(chunk.message.content or "" for chunk in chunks)
    assert told and len(chunks) > 2
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].done_reason == "stop" and chunks[-1].eval_count > 0
    if SIM:
        assert chat(text).message.content == told, "streamed and whole answers differ"


@case("ollama-python")
def the_async_client_streams_many_at_once():
    async def one(connection: ollama.AsyncClient) -> str:
        chunks = await connection.chat(model=MODEL, messages=user(prompt()), stream=True)
        return "".join([chunk.message.content or "" async for chunk in chunks])

    async def all_of_them() -> list[str]:
        connection = ollama.AsyncClient(host=BASE, headers=HEADERS, timeout=60)
        return await asyncio.gather(*(one(connection) for _ in range(8)))

    told = asyncio.run(all_of_them())
    assert all(told) and (not SIM or len(set(told)) == 8), "an answer went to the wrong caller"


@case("ollama-python")
def text_is_generated_streamed_and_whole():
    text = prompt()
    whole = client.generate(model=MODEL, prompt=text, system="You are a lighthouse.")
    assert whole.response and whole.done and whole.eval_count > 0
    chunks = list(client.generate(model=MODEL, prompt=text, system="You are a lighthouse.", stream=True))
    told = "".join(chunk.response for chunk in chunks)
    assert told and chunks[-1].done and (not SIM or told == whole.response), "streamed and whole texts differ"


@case("ollama-python")
def options_arrive():
    needs_sim()
    text = prompt()
    whole = chat(text).message.content
    word = whole.split()[6]
    cut = chat(text, options={"stop": [word, "never said"], "temperature": 0.25})
    assert cut.message.content == whole[: whole.index(word)]
    short = chat(prompt(), options={"num_predict": 5})
    assert short.done_reason == "length" and short.eval_count <= 5


@case("ollama-python")
def system_prompts_arrive():
    needs_sim()
    text = prompt()
    messages = [{"role": "system", "content": "Answer in the voice of a lighthouse."}, *user(text)]
    assert client.chat(model=MODEL, messages=messages).message.content
    assert "voice of a lighthouse" in json.dumps(received_body(text))


@case("ollama-python")
def tools_are_called_in_parallel_and_streamed():
    needs_sim()
    text = prompt("answer tool_calls=2")
    calls = [call.function for call in chat(text, tools=TOOLS).message.tool_calls]
    assert [call.name for call in calls] == ["weather", "time"]
    assert isinstance(calls[0].arguments["city"], str) and isinstance(calls[0].arguments["days"], int)
    chunks = chat(text, tools=TOOLS, stream=True)
    streamed = [call.function for chunk in chunks for call in chunk.message.tool_calls or []]
    assert [(call.name, call.arguments) for call in streamed] == [(call.name, call.arguments) for call in calls]


@case("ollama-python")
def a_tool_loop_ends_in_an_answer():
    needs_sim()
    messages = user(prompt("answer tool_calls=2"))
    asked = client.chat(model=MODEL, messages=messages, tools=TOOLS).message
    messages.append(asked)
    for call in asked.tool_calls:
        messages.append({"role": "tool", "tool_name": call.function.name, "content": "ok"})
    answer = client.chat(model=MODEL, messages=messages, tools=TOOLS).message
    assert answer.content and not answer.tool_calls


@case("ollama-python")
def an_answer_follows_a_json_schema():
    needs_sim()
    parsed = json.loads(chat(prompt(), format=WEATHER_SCHEMA).message.content)
    assert isinstance(parsed["city"], str) and isinstance(parsed["days"], int)
    text = prompt()
    content = chat(text, format="json").message.content
    # Anthropic has no word for "some JSON".
    assert same_dialect(text, "/v1/messages") or isinstance(json.loads(content), dict)


@case("ollama-python")
def an_image_is_passed_through():
    needs_sim()
    text = prompt()
    assert client.chat(model=MODEL, messages=[{"role": "user", "content": text, "images": [PNG]}]).message.content
    assert PNG in json.dumps(received_body(text)), "the provider saw another image"


@case("ollama-python")
def thinking_is_told_apart_from_the_answer():
    needs_sim()
    text = prompt()
    # Providers of OpenAI's dialect know how much to think, and not whether.
    message = chat(text, think="high").message
    assert message.thinking and message.content and message.thinking not in message.content
    chunks = list(chat(text, think="high", stream=True))
    assert "".join(chunk.message.thinking or "" for chunk in chunks) == message.thinking


@case("ollama-python")
def texts_become_vectors():
    anyone = ollama.Client(host=BASE, headers=HEADERS | ANYWHERE, timeout=60)
    answer = anyone.embed(model=MODEL, input=["the old well", "a night train"])
    first, second = answer.embeddings
    assert len(first) == len(second) > 2 and first != second and answer.prompt_eval_count > 0


@case("ollama-python")
def a_wrong_key_is_refused():
    stranger = ollama.Client(host=BASE, headers={"authorization": "Bearer cw-wrong"})
    assert refused(lambda: stranger.chat(model=MODEL, messages=user(prompt()))).status_code == 401


@case("ollama-python")
def an_unknown_model_is_not_found():
    error = refused(lambda: client.chat(model="no-such-model", messages=user(prompt())))
    assert error.status_code == 404 and "no-such-model" in error.error
    assert refused(lambda: client.show("no-such-model")).status_code == 404


@case("ollama-python")
def what_the_provider_refuses_is_an_error():
    needs_sim()
    for status in (400, 429, 500):
        try:
            assert refused(lambda status=status: chat(prompt(f"status={status}"))).status_code in (status, 502, 503)
        finally:
            recover()


@case("ollama-python")
def an_answer_that_breaks_off_is_an_error():
    needs_sim()
    try:
        refused(lambda: list(chat(prompt("error after=2"), stream=True)))
    finally:
        recover()


@case("ollama-python")
def leaving_a_stream_ends_the_call_upstream():
    text = prompt("answer characters=100000; drip bytes=400 gap_ms=5")
    chunks = chat(text, stream=True)
    next(chunks)
    chunks.close()
    left_early(text)


@case("ollama-python")
def a_timeout_of_the_client_ends_the_call_upstream():
    needs_sim()
    text = prompt("stall after=start")
    try:
        ollama.Client(host=BASE, headers=HEADERS, timeout=1).chat(model=MODEL, messages=user(text))
    except httpx.TimeoutException:
        left_early(text)
    else:
        raise AssertionError("it was answered")
