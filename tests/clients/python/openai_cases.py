"""The official `openai` package, unmodified, as applications use it."""

import asyncio
import json

import httpx2
import openai
from harness import (
    BASE,
    KEY,
    MODEL,
    ONLY_SIM,
    PNG,
    SIM,
    TIME_SCHEMA,
    WEATHER_SCHEMA,
    arrived_or_named,
    case,
    left_early,
    needs_daemon,
    needs_engine,
    needs_sim,
    prompt,
    received,
    received_body,
    recover,
    same_dialect,
    script,
)
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

PATH = "/v1/chat/completions"
client = OpenAI(base_url=f"{BASE}/v1", api_key=KEY, default_headers=ONLY_SIM, max_retries=0, timeout=60)


def async_client() -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{BASE}/v1", api_key=KEY, default_headers=ONLY_SIM, max_retries=0, timeout=60)


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def tool(name: str, parameters: dict) -> dict:
    return {"type": "function", "function": {"name": name, "description": f"Tells the {name}.", "parameters": parameters}}


TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)]


@case("openai-python")
def models_are_listed():
    assert [model.id for model in client.models.list()]


@case("openai-python")
def a_model_is_retrieved():
    needs_daemon()
    first = next(iter(client.models.list())).id
    assert client.models.retrieve(first).id == first


@case("openai-python")
def chat():
    answer = client.chat.completions.create(model=MODEL, messages=user(prompt()))
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert answer.id and answer.model and answer.object == "chat.completion"
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@case("openai-python")
def headers_say_who_answered():
    needs_daemon()
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=user(prompt()))
    assert raw.headers["x-commonwatt-deployment"]
    assert raw.headers["x-commonwatt-tier"] in ("frontier", "free", "local")
    assert raw.headers["x-commonwatt-attempts"] == "1"
    assert raw.parse().choices[0].message.content


@case("openai-python")
def streaming():
    text = prompt()
    chunks = list(client.chat.completions.create(model=MODEL, messages=user(text), stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert all(chunk.usage is None for chunk in chunks), "usage was not asked for"
    assert len({chunk.id for chunk in chunks}) == 1
    told = "".join(delta.content or "" for delta in deltas)
    assert told
    if SIM:
        whole = client.chat.completions.create(model=MODEL, messages=user(text))
        assert told == whole.choices[0].message.content, "streamed and whole answers differ"


@case("openai-python")
def usage_comes_in_the_last_chunk():
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=user(prompt()), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@case("openai-python")
def the_stream_helper_gathers_the_answer():
    with client.chat.completions.stream(model=MODEL, messages=user(prompt())) as stream:
        told = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert told and final.choices[0].message.content == told


@case("openai-python")
def the_async_client_streams_many_at_once():
    async def one(connection: AsyncOpenAI) -> str:
        stream = await connection.chat.completions.create(model=MODEL, messages=user(prompt()), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def all_of_them() -> list[str]:
        async with async_client() as connection:
            return await asyncio.gather(*(one(connection) for _ in range(8)))

    told = asyncio.run(all_of_them())
    assert all(told)
    assert not SIM or len(set(told)) == 8, "an answer went to the wrong caller"


@case("openai-python")
def system_and_developer_prompts_arrive():
    needs_sim()
    for role in ("system", "developer"):
        text = prompt()
        messages = [{"role": role, "content": "Answer in the voice of a lighthouse."}, *user(text)]
        assert client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content
        assert "voice of a lighthouse" in json.dumps(received_body(text))


@case("openai-python")
def sampling_parameters_arrive():
    needs_sim()
    text = prompt()
    sent = {"temperature": 0.25, "top_p": 0.75, "seed": 11, "user": "a-user"}
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user(text), extra_body={"a_field_of_tomorrow": {"b": [1, 2.50]}}, **sent
    )
    body = received_body(text)
    arrived_or_named(body, sent, raw.headers)
    if same_dialect(text, PATH):
        assert body["a_field_of_tomorrow"] == {"b": [1, 2.5]}, "unknown fields survive"


@case("openai-python")
def a_stop_sequence_ends_the_answer():
    needs_sim()
    text = prompt()
    whole = client.chat.completions.create(model=MODEL, messages=user(text)).choices[0].message.content
    word = whole.split()[6]
    cut = client.chat.completions.create(model=MODEL, messages=user(text), stop=[word, "never said"])
    assert cut.choices[0].message.content == whole[: whole.index(word)]
    assert cut.choices[0].finish_reason == "stop"


@case("openai-python")
def a_token_limit_ends_the_answer():
    needs_sim()
    for limit in ({"max_tokens": 5}, {"max_completion_tokens": 5}):
        answer = client.chat.completions.create(model=MODEL, messages=user(prompt()), **limit)
        assert answer.choices[0].finish_reason == "length", limit
        assert answer.usage.completion_tokens <= 5


@case("openai-python")
def a_tool_is_called():
    needs_sim()
    answer = client.chat.completions.create(
        model=MODEL,
        messages=user(prompt()),
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    choice = answer.choices[0]
    assert choice.finish_reason in ("tool_calls", "stop")
    (call,) = choice.message.tool_calls
    assert call.id and call.type == "function" and call.function.name == "weather"
    arguments = json.loads(call.function.arguments)
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)


@case("openai-python")
def tools_are_called_in_parallel_and_streamed():
    needs_sim()
    messages = user(prompt("answer tool_calls=2"))
    calls = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS).choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "time"]
    assert calls[0].id != calls[1].id

    with client.chat.completions.stream(model=MODEL, messages=messages, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    streamed = final.choices[0].message.tool_calls
    told = [(call.function.name, json.loads(call.function.arguments)) for call in streamed]
    assert told == [(call.function.name, json.loads(call.function.arguments)) for call in calls]
    assert len({call.id for call in streamed}) == 2


@case("openai-python")
def parallel_tool_calls_can_be_forbidden():
    needs_sim()
    messages = user(prompt("answer tool_calls=2"))
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, parallel_tool_calls=False)
    assert len(answer.choices[0].message.tool_calls) == 1


@case("openai-python")
def a_tool_loop_ends_in_an_answer():
    needs_sim()
    messages = user(prompt("answer tool_calls=2"))
    asked = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS).choices[0].message
    messages.append(asked.model_dump(exclude_none=True))
    for call in asked.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps({"ok": call.function.name})})
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS).choices[0]
    assert answer.finish_reason == "stop" and answer.message.content


@case("openai-python")
def an_answer_follows_a_json_schema():
    needs_sim()

    class Forecast(BaseModel):
        city: str
        days: int
        rain: bool

    answer = client.chat.completions.parse(model=MODEL, messages=user(prompt()), response_format=Forecast)
    assert isinstance(answer.choices[0].message.parsed, Forecast)


@case("openai-python")
def an_image_is_passed_through():
    needs_sim()
    text = prompt()
    content = [
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content
    assert PNG in json.dumps(received_body(text)), "the provider saw another image"


@case("openai-python")
def a_large_prompt_arrives_whole():
    needs_sim()
    text = prompt()
    padding = "All work and no play makes a dull lamp. " * 60_000  # 2.4 MB
    answer = client.chat.completions.create(model=MODEL, messages=user(text + padding))
    assert answer.choices[0].message.content
    assert padding in json.dumps(received_body(text))


@case("openai-python")
def reasoning_is_told_apart_from_the_answer():
    needs_sim()
    text = prompt()
    message = client.chat.completions.create(model=MODEL, messages=user(text), reasoning_effort="high").choices[0].message
    assert message.content and message.reasoning_content
    assert message.reasoning_content not in message.content

    stream = client.chat.completions.create(model=MODEL, messages=user(text), reasoning_effort="high", stream=True)
    deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas) == message.content


@case("openai-python")
def a_wrong_key_is_an_authentication_error():
    try:
        client.with_options(api_key="cw-wrong").chat.completions.create(model=MODEL, messages=user(prompt()))
    except openai.AuthenticationError as error:
        assert error.status_code == 401 and error.code == "invalid_api_key"
        return
    raise AssertionError("it was let in")


@case("openai-python")
def an_unknown_model_is_a_not_found_error():
    try:
        client.chat.completions.create(model="no-such-model", messages=user(prompt()))
    except openai.NotFoundError as error:
        assert error.code == "model_not_found" and "no-such-model" in error.message
        return
    raise AssertionError("there is no such model")


@case("openai-python")
def a_wrong_request_is_a_bad_request_error():
    for wrong in ({"messages": []}, {"messages": [{"role": "wizard", "content": "abracadabra"}]}):
        try:
            client.chat.completions.create(model=MODEL, **wrong)
        except openai.BadRequestError as error:
            assert error.type == "invalid_request_error" and error.message, wrong
        else:
            raise AssertionError(f"{wrong} was accepted")


@case("openai-python")
def what_the_provider_calls_wrong_is_a_bad_request_error():
    needs_sim()
    try:
        client.chat.completions.create(model=MODEL, messages=user(prompt("status=400 message=lamps-only")))
    except openai.BadRequestError as error:
        assert "lamps-only" in error.message
    else:
        raise AssertionError("it was accepted")


@case("openai-python")
def leaving_a_stream_ends_the_call_upstream():
    text = prompt("answer characters=100000; drip bytes=400 gap_ms=5")
    stream = client.chat.completions.create(model=MODEL, messages=user(text), stream=True)
    for count, _ in enumerate(stream):
        if count == 5:
            break
    stream.close()
    assert left_early(text)["chunks_sent"] > 0


@case("openai-python")
def leaving_a_silent_stream_ends_the_call_upstream():
    text = prompt("stall after=3")
    stream = client.chat.completions.create(model=MODEL, messages=user(text), stream=True)
    next(iter(stream))
    stream.close()
    left_early(text)


@case("openai-python")
def a_cancelled_task_ends_the_call_upstream():
    text = prompt("stall after=start")

    async def cancelled() -> None:
        async with async_client() as connection:
            task = asyncio.create_task(connection.chat.completions.create(model=MODEL, messages=user(text)))
            while not received(text):
                await asyncio.sleep(0.05)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                return
        raise AssertionError("it was answered")

    asyncio.run(cancelled())
    left_early(text)


@case("openai-python")
def a_timeout_of_the_client_ends_the_call_upstream():
    text = prompt("stall after=start")
    needs_sim()
    try:
        client.with_options(timeout=1).chat.completions.create(model=MODEL, messages=user(text))
    except openai.APITimeoutError:
        left_early(text)
    else:
        raise AssertionError("it was answered")


@case("openai-python")
def too_many_calls_are_a_rate_limit_error_with_the_wait():
    needs_sim()
    try:
        client.chat.completions.create(model=MODEL, messages=user(prompt("status=429 retry_after_s=3")))
    except openai.RateLimitError as error:
        assert 1 <= int(error.response.headers["retry-after"]) <= 4
    else:
        raise AssertionError("it was answered")
    finally:
        recover()


@case("openai-python")
def the_sdk_retries_by_itself_after_the_wait():
    needs_sim()
    statuses: list[int] = []

    def note(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        script("pass")

    patient = client.with_options(max_retries=3, http_client=httpx2.Client(event_hooks={"response": [note]}))
    script("status=429 retry_after_s=3\ncycle")
    try:
        assert patient.chat.completions.create(model=MODEL, messages=user(prompt())).choices[0].message.content
        assert len(statuses) >= 2 and statuses[0] == 429 and statuses[-1] == 200, statuses
    finally:
        recover()


@case("openai-python")
def a_failing_provider_is_a_server_error():
    needs_sim()
    try:
        client.chat.completions.create(model=MODEL, messages=user(prompt("status=500")))
    except openai.InternalServerError as error:
        assert error.status_code >= 500 and error.message
    else:
        raise AssertionError("it was answered")
    finally:
        recover()


@case("openai-python")
def when_the_provider_fails_the_next_tier_answers():
    needs_engine([model.id for model in client.models.list()])
    everybody = OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0, timeout=120)
    for fault in ("status=429", "status=500", "status=529", "reset after=start", "garbage after=headers", "empty"):
        try:
            raw = everybody.chat.completions.with_raw_response.create(
                model="auto", messages=user(prompt(fault)), max_tokens=16
            )
            assert raw.parse().choices[0].message.content, fault
            assert raw.headers["x-commonwatt-tier"] == "local", fault
            assert int(raw.headers["x-commonwatt-attempts"]) >= 2, fault
        finally:
            recover()
