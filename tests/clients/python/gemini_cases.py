"""The official `google-genai` package, unmodified, as applications use it."""

import asyncio
import base64
import json

from google import genai
from google.genai import errors, types
from harness import (
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
    needs_daemon,
    needs_sim,
    prompt,
    received_body,
    recover,
)
from pydantic import BaseModel


def connect(key: str = KEY, version: str | None = "v1beta") -> genai.Client:
    options = types.HttpOptions(base_url=BASE, api_version=version, headers=ONLY_SIM, timeout=60_000)
    return genai.Client(api_key=key, vertexai=False, http_options=options)


client = connect()


def tool(name: str, schema: dict) -> types.FunctionDeclaration:
    return types.FunctionDeclaration(name=name, description=f"Tells the {name}.", parameters_json_schema=schema)


TOOLS = [types.Tool(function_declarations=[tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)])]


class Forecast(BaseModel):
    city: str
    days: int
    rain: bool


def config(**more) -> types.GenerateContentConfig:
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(automatic_function_calling=off, **more)


def ask(contents, **more):
    return client.models.generate_content(model=MODEL, contents=contents, config=config(**more))


def stream(contents, **more):
    return client.models.generate_content_stream(model=MODEL, contents=contents, config=config(**more))


def refused(kind: type[errors.APIError], call) -> errors.APIError:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it was answered")


@case("gemini-python")
def models_are_listed():
    assert [model.name for model in client.models.list()]


@case("gemini-python")
def content_is_generated():
    answer = ask(prompt())
    assert answer.text and answer.response_id and answer.model_version
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.candidates[0].content.role == "model"
    usage = answer.usage_metadata
    assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0
    assert usage.total_token_count >= usage.prompt_token_count + usage.candidates_token_count


@case("gemini-python")
def the_version_that_the_sdk_asks_for_by_itself_is_answered():
    # From 3.0 on it says `/v1/models/…` where it used to say `/v1beta/models/…`; the simulated provider has only the
    # latter.
    needs_daemon()
    by_itself = connect(version=None)
    assert by_itself.models.generate_content(model=MODEL, contents=prompt()).text
    assert [chunk.text for chunk in by_itself.models.generate_content_stream(model=MODEL, contents=prompt())]


@case("gemini-python")
def headers_say_who_answered():
    needs_daemon()
    assert ask(prompt()).sdk_http_response.headers["x-commonwatt-deployment"]


@case("gemini-python")
def streaming():
    text = prompt()
    chunks = list(stream(text))
    told = "".join(chunk.text or "" for chunk in chunks)
    assert told and len(chunks) > 1
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.candidates_token_count > 0
    if SIM:
        assert ask(text).text == told, "streamed and whole answers differ"


@case("gemini-python")
def the_async_client_streams_many_at_once():
    async def one(connection) -> str:
        chunks = await connection.models.generate_content_stream(model=MODEL, contents=prompt())
        return "".join([chunk.text or "" async for chunk in chunks])

    async def all_of_them() -> list[str]:
        async with connect().aio as connection:
            return await asyncio.gather(*(one(connection) for _ in range(8)))

    told = asyncio.run(all_of_them())
    assert all(told) and (not SIM or len(set(told)) == 8), "an answer went to the wrong caller"


@case("gemini-python")
def a_chat_remembers_what_was_said():
    needs_sim()
    text = prompt()
    chat = client.chats.create(model=MODEL, config=config())
    first = chat.send_message("Good evening.").text
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream(text))
    assert first[:40] in json.dumps(received_body(text), ensure_ascii=False)
    assert [content.role for content in chat.get_history()][:4] == ["user", "model", "user", "model"]


@case("gemini-python")
def system_instructions_and_limits_arrive():
    needs_sim()
    text = prompt()
    answer = ask(text, system_instruction="Answer in the voice of a lighthouse.", max_output_tokens=5, temperature=0.25)
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert "voice of a lighthouse" in json.dumps(received_body(text))


@case("gemini-python")
def a_stop_sequence_ends_the_answer():
    needs_sim()
    text = prompt()
    whole = ask(text).text
    word = whole.split()[6]
    assert ask(text, stop_sequences=[word, "never said"]).text == whole[: whole.index(word)]


@case("gemini-python")
def functions_are_called_in_parallel_and_streamed():
    needs_sim()
    text = prompt("answer tool_calls=2")
    calls = ask(text, tools=TOOLS).function_calls
    assert [call.name for call in calls] == ["weather", "time"]
    assert isinstance(calls[0].args["city"], str) and isinstance(calls[0].args["days"], int)
    streamed = [call for chunk in stream(text, tools=TOOLS) for call in chunk.function_calls or []]
    assert [(call.name, call.args) for call in streamed] == [(call.name, call.args) for call in calls]


@case("gemini-python")
def a_function_can_be_demanded():
    needs_sim()
    calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=["time"])
    answer = ask(prompt(), tools=TOOLS, tool_config=types.ToolConfig(function_calling_config=calling))
    assert [call.name for call in answer.function_calls] == ["time"]


@case("gemini-python")
def a_function_loop_ends_in_an_answer():
    needs_sim()
    history = [types.Content(role="user", parts=[types.Part(text=prompt("answer tool_calls=2"))])]
    asked = ask(history, tools=TOOLS)
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"ok": True}))
        for call in asked.function_calls
    ]
    history += [asked.candidates[0].content, types.Content(role="user", parts=results)]
    answer = ask(history, tools=TOOLS)
    assert answer.text and not answer.function_calls


@case("gemini-python")
def the_sdk_calls_a_python_function_by_itself():
    needs_sim()
    asked: list[str] = []

    def weather(city: str) -> str:
        """Tells the weather."""
        asked.append(city)
        return "rain"

    settings = types.GenerateContentConfig(tools=[weather])
    answer = client.models.generate_content(model=MODEL, contents=prompt("answer tool_calls=1"), config=settings)
    assert answer.text and len(asked) == 1


@case("gemini-python")
def an_answer_follows_a_json_schema():
    needs_sim()
    answer = ask(prompt(), response_mime_type="application/json", response_schema=Forecast)
    assert isinstance(answer.parsed, Forecast)
    answer = ask(prompt(), response_mime_type="application/json", response_json_schema=WEATHER_SCHEMA)
    assert isinstance(json.loads(answer.text)["days"], int)


@case("gemini-python")
def an_image_is_passed_through():
    needs_sim()
    text = prompt()
    image = types.Part(inline_data=types.Blob(mime_type="image/png", data=base64.b64decode(PNG)))
    assert ask([types.Part(text=text), image]).text
    assert PNG in json.dumps(received_body(text)), "the provider saw another image"


@case("gemini-python")
def thoughts_are_parts_of_their_own():
    needs_sim()
    text = prompt()
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH")
    answer = ask(text, thinking_config=thinking)
    parts = answer.candidates[0].content.parts
    thoughts = "".join(part.text for part in parts if part.thought)
    assert thoughts and answer.text and thoughts not in answer.text
    streamed = [part for chunk in stream(text, thinking_config=thinking) for part in chunk.candidates[0].content.parts or []]
    assert "".join(part.text or "" for part in streamed if part.thought) == thoughts
    history = [
        types.Content(role="user", parts=[types.Part(text=text)]),
        answer.candidates[0].content,
        types.Content(role="user", parts=[types.Part(text="And what else?")]),
    ]
    assert ask(history, thinking_config=thinking).text


@case("gemini-python")
def tokens_are_counted():
    short = client.models.count_tokens(model=MODEL, contents="Hello").total_tokens
    long = client.models.count_tokens(model=MODEL, contents="Hello " * 500).total_tokens
    assert 0 < short < long


@case("gemini-python")
def a_wrong_key_is_a_client_error():
    # Google itself says 400 to a wrong key.
    wrong = connect("cw-wrong")
    error = refused(errors.ClientError, lambda: wrong.models.generate_content(model=MODEL, contents=prompt()))
    assert error.code in (400, 401, 403) and error.status and error.message


@case("gemini-python")
def an_unknown_model_is_a_not_found_error():
    error = refused(
        errors.ClientError, lambda: client.models.generate_content(model="no-such-model", contents=prompt())
    )
    assert error.code == 404 and error.status == "NOT_FOUND" and "no-such-model" in error.message


@case("gemini-python")
def a_wrong_request_is_an_invalid_argument():
    wrong = types.Content(role="wizard", parts=[types.Part(text="abracadabra")])
    error = refused(errors.ClientError, lambda: ask([wrong]))
    assert error.code == 400 and error.status == "INVALID_ARGUMENT"


@case("gemini-python")
def too_many_calls_are_an_exhausted_resource():
    needs_sim()
    try:
        error = refused(errors.ClientError, lambda: ask(prompt("status=429 retry_after_s=3")))
        assert error.code == 429 and error.status == "RESOURCE_EXHAUSTED"
    finally:
        recover()


@case("gemini-python")
def a_failing_provider_is_a_server_error():
    needs_sim()
    try:
        assert refused(errors.ServerError, lambda: ask(prompt("status=500"))).code >= 500
    finally:
        recover()


@case("gemini-python")
def leaving_a_stream_ends_the_call_upstream():
    text = prompt("answer characters=100000; drip bytes=400 gap_ms=5")

    async def leave() -> None:
        async with connect().aio as connection:
            chunks = await connection.models.generate_content_stream(model=MODEL, contents=text)
            async for _ in chunks:
                break
            await chunks.aclose()

    asyncio.run(leave())
    left_early(text)
