"""The official `anthropic` package, unmodified, as applications use it."""

import json

import anthropic
import httpx2
from anthropic import Anthropic
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
    received_body,
    received_once,
    recover,
    same_dialect,
    script,
)
from pydantic import BaseModel

PATH = "/v1/messages"
client = Anthropic(base_url=BASE, api_key=KEY, default_headers=ONLY_SIM, max_retries=0, timeout=60)


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def tool(name: str, schema: dict) -> dict:
    return {"name": name, "description": f"Tells the {name}.", "input_schema": schema}


TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)]


def text_of(message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message) -> list:
    return [block for block in message.content if block.type == "tool_use"]


@case("anthropic-python")
def models_are_listed():
    assert [model.id for model in client.models.list()]


@case("anthropic-python")
def a_model_is_retrieved():
    needs_daemon()
    first = next(iter(client.models.list())).id
    assert client.models.retrieve(first).id == first


@case("anthropic-python")
def chat():
    message = client.messages.create(model=MODEL, max_tokens=500, messages=user(prompt()))
    assert message.type == "message" and message.role == "assistant" and message.id and message.model
    assert text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


@case("anthropic-python")
def a_bearer_token_is_a_key_too():
    bearer = Anthropic(base_url=BASE, auth_token=KEY, api_key=None, default_headers=ONLY_SIM, max_retries=0)
    assert text_of(bearer.messages.create(model=MODEL, max_tokens=500, messages=user(prompt())))


@case("anthropic-python")
def headers_say_who_answered():
    needs_daemon()
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=500, messages=user(prompt()))
    assert raw.headers["x-commonwatt-deployment"]
    assert raw.headers["x-commonwatt-tier"] in ("frontier", "free", "local")
    assert raw.headers["x-commonwatt-attempts"] == "1"


@case("anthropic-python")
def streaming():
    text = prompt()
    with client.messages.create(model=MODEL, max_tokens=500, messages=user(text), stream=True) as stream:
        events = list(stream)
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    assert kinds[1] == "content_block_start" and "content_block_stop" in kinds
    assert events[0].message.usage.input_tokens >= 0
    told = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert told
    if SIM:
        assert told == text_of(client.messages.create(model=MODEL, max_tokens=500, messages=user(text)))


@case("anthropic-python")
def the_stream_helper_gathers_the_answer_and_its_usage():
    with client.messages.stream(model=MODEL, max_tokens=500, messages=user(prompt())) as stream:
        told = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert told and text_of(final) == told
    assert final.stop_reason == "end_turn"
    assert final.usage.input_tokens > 0 and final.usage.output_tokens > 0


@case("anthropic-python")
def system_prompts_arrive():
    needs_sim()
    voice = "Answer in the voice of a lighthouse."
    for system in (voice, [{"type": "text", "text": voice, "cache_control": {"type": "ephemeral"}}]):
        text = prompt()
        assert text_of(client.messages.create(model=MODEL, max_tokens=500, system=system, messages=user(text)))
        assert voice in json.dumps(received_body(text))


@case("anthropic-python")
def sampling_parameters_and_what_is_new_tomorrow_arrive():
    needs_sim()
    text = prompt()
    sent = {"temperature": 0.25, "top_k": 40}
    raw = client.messages.with_raw_response.create(
        model=MODEL,
        max_tokens=500,
        messages=user(text),
        metadata={"user_id": "a-user"},
        extra_body={"a_field_of_tomorrow": {"b": [1, 2.50]}, **sent},
        extra_headers={"anthropic-beta": "tomorrow-2027-01-01"},
    )
    body = received_body(text)
    arrived_or_named(body, sent, raw.headers)
    if same_dialect(text, PATH):
        assert body["a_field_of_tomorrow"] == {"b": [1, 2.5]} and body["metadata"] == {"user_id": "a-user"}
        headers = dict(received_once(text)["headers"])
        assert headers["anthropic-beta"] == "tomorrow-2027-01-01" and headers["anthropic-version"]


@case("anthropic-python")
def a_stop_sequence_ends_the_answer():
    needs_sim()
    text = prompt()
    whole = text_of(client.messages.create(model=MODEL, max_tokens=500, messages=user(text)))
    word = whole.split()[6]
    same = same_dialect(text, PATH)
    cut = client.messages.create(
        model=MODEL, max_tokens=500, messages=user(text), stop_sequences=[word, "never said"]
    )
    assert text_of(cut) == whole[: whole.index(word)]
    if same:
        assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word)
    else:
        assert cut.stop_reason in ("stop_sequence", "end_turn"), "the other dialect does not say which"


@case("anthropic-python")
def a_token_limit_ends_the_answer():
    needs_sim()
    message = client.messages.create(model=MODEL, max_tokens=5, messages=user(prompt()))
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens <= 5


@case("anthropic-python")
def a_tool_is_called():
    needs_sim()
    message = client.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=user(prompt()),
        tools=TOOLS,
        tool_choice={"type": "tool", "name": "weather"},
    )
    assert message.stop_reason == "tool_use"
    (call,) = calls_of(message)
    assert call.id and call.name == "weather"
    assert isinstance(call.input["city"], str) and isinstance(call.input["days"], int)


@case("anthropic-python")
def tools_are_called_in_parallel_and_streamed():
    needs_sim()
    messages = user(prompt("answer tool_calls=2"))
    calls = calls_of(client.messages.create(model=MODEL, max_tokens=500, messages=messages, tools=TOOLS))
    assert [call.name for call in calls] == ["weather", "time"] and calls[0].id != calls[1].id

    with client.messages.stream(model=MODEL, max_tokens=500, messages=messages, tools=TOOLS) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    streamed = calls_of(final)
    assert [(call.name, call.input) for call in streamed] == [(call.name, call.input) for call in calls]
    assert len({call.id for call in streamed}) == 2


@case("anthropic-python")
def parallel_tool_calls_can_be_forbidden():
    needs_sim()
    message = client.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=user(prompt("answer tool_calls=2")),
        tools=TOOLS,
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    assert len(calls_of(message)) == 1


@case("anthropic-python")
def a_tool_loop_ends_in_an_answer():
    needs_sim()
    messages = user(prompt("answer tool_calls=2"))
    asked = client.messages.create(model=MODEL, max_tokens=500, messages=messages, tools=TOOLS)
    messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]})
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": f"ok {call.name}"}]}
        for call in calls_of(asked)
    ]
    messages.append({"role": "user", "content": results})
    answer = client.messages.create(model=MODEL, max_tokens=500, messages=messages, tools=TOOLS)
    assert answer.stop_reason == "end_turn" and text_of(answer)


@case("anthropic-python")
def an_answer_follows_a_json_schema():
    needs_sim()

    class Forecast(BaseModel):
        city: str
        days: int
        rain: bool

    message = client.messages.parse(model=MODEL, max_tokens=500, messages=user(prompt()), output_format=Forecast)
    assert isinstance(message.parsed_output, Forecast)


@case("anthropic-python")
def an_image_is_passed_through():
    needs_sim()
    text = prompt()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    content = [image, {"type": "text", "text": text}]
    assert text_of(client.messages.create(model=MODEL, max_tokens=500, messages=[{"role": "user", "content": content}]))
    assert PNG in json.dumps(received_body(text)), "the provider saw another image"


@case("anthropic-python")
def thinking_is_a_block_of_its_own_and_can_be_handed_back():
    needs_sim()
    text = prompt()
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = client.messages.create(model=MODEL, max_tokens=2000, messages=user(text), thinking=thinking)
    same = same_dialect(text, PATH)
    blocks = [block for block in message.content if block.type == "thinking"]
    assert len(blocks) == 1 and blocks[0].thinking and text_of(message)
    assert blocks[0].signature or not same

    with client.messages.stream(model=MODEL, max_tokens=2000, messages=user(text), thinking=thinking) as stream:
        streamed = stream.get_final_message()
    told = [block for block in streamed.content if block.type == "thinking"][0]
    assert told.thinking == blocks[0].thinking
    assert not same or told.signature == blocks[0].signature

    # Anthropic refuses a thinking block that was changed by a single character.
    history = [
        *user(text),
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {"role": "user", "content": "And what else?"},
    ]
    assert text_of(client.messages.create(model=MODEL, max_tokens=2000, messages=history, thinking=thinking))


@case("anthropic-python")
def tokens_are_counted():
    short = client.messages.count_tokens(model=MODEL, messages=user("Hello")).input_tokens
    long = client.messages.count_tokens(model=MODEL, messages=user("Hello " * 500)).input_tokens
    assert 0 < short < long


@case("anthropic-python")
def a_wrong_key_is_an_authentication_error():
    try:
        client.with_options(api_key="cw-wrong").messages.create(model=MODEL, max_tokens=9, messages=user(prompt()))
    except anthropic.AuthenticationError as error:
        assert error.status_code == 401 and error.body["error"]["type"] == "authentication_error"
        return
    raise AssertionError("it was let in")


@case("anthropic-python")
def an_unknown_model_is_a_not_found_error():
    try:
        client.messages.create(model="no-such-model", max_tokens=9, messages=user(prompt()))
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error"
        return
    raise AssertionError("there is no such model")


@case("anthropic-python")
def a_wrong_request_is_a_bad_request_error():
    wrongs = ({"messages": []}, {"messages": [{"role": "wizard", "content": "abracadabra"}]})
    for wrong in wrongs:
        try:
            client.messages.create(model=MODEL, max_tokens=9, **wrong)
        except anthropic.BadRequestError as error:
            assert error.body["type"] == "error" and error.body["error"]["type"] == "invalid_request_error", wrong
        else:
            raise AssertionError(f"{wrong} was accepted")


@case("anthropic-python")
def what_the_provider_calls_wrong_is_a_bad_request_error():
    needs_sim()
    text = prompt("status=400 message=lamps-only")
    try:
        client.messages.create(model=MODEL, max_tokens=9, messages=user(text))
    except anthropic.BadRequestError as error:
        assert "lamps-only" in str(error.body)
    else:
        raise AssertionError("it was accepted")


@case("anthropic-python")
def leaving_a_stream_ends_the_call_upstream():
    text = prompt("answer characters=100000; drip bytes=400 gap_ms=5")
    with client.messages.stream(model=MODEL, max_tokens=50000, messages=user(text)) as stream:
        next(iter(stream.text_stream))
    assert left_early(text)["chunks_sent"] > 0


@case("anthropic-python")
def leaving_a_silent_stream_ends_the_call_upstream():
    text = prompt("stall after=3")
    with client.messages.stream(model=MODEL, max_tokens=500, messages=user(text)) as stream:
        next(iter(stream.text_stream))
    left_early(text)


@case("anthropic-python")
def a_timeout_of_the_client_ends_the_call_upstream():
    text = prompt("stall after=start")
    needs_sim()
    try:
        client.with_options(timeout=1).messages.create(model=MODEL, max_tokens=9, messages=user(text))
    except anthropic.APITimeoutError:
        left_early(text)
    else:
        raise AssertionError("it was answered")


@case("anthropic-python")
def too_many_calls_are_a_rate_limit_error_with_the_wait():
    needs_sim()
    text = prompt("status=429 retry_after_s=3")
    try:
        client.messages.create(model=MODEL, max_tokens=9, messages=user(text))
    except anthropic.RateLimitError as error:
        assert 1 <= int(error.response.headers["retry-after"]) <= 4
        assert error.body["error"]["type"] == "rate_limit_error"
    else:
        raise AssertionError("it was answered")
    finally:
        recover()


@case("anthropic-python")
def the_sdk_retries_by_itself_after_the_wait():
    needs_sim()
    statuses: list[int] = []

    def note(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        script("pass")

    patient = client.with_options(max_retries=3, http_client=httpx2.Client(event_hooks={"response": [note]}))
    script("status=429 retry_after_s=3\ncycle")
    try:
        assert text_of(patient.messages.create(model=MODEL, max_tokens=500, messages=user(prompt())))
        assert len(statuses) >= 2 and statuses[0] == 429 and statuses[-1] == 200, statuses
    finally:
        recover()


@case("anthropic-python")
def a_failing_provider_is_a_server_error():
    needs_sim()
    try:
        client.messages.create(model=MODEL, max_tokens=9, messages=user(prompt("status=500")))
    except anthropic.InternalServerError as error:
        assert error.status_code >= 500 and error.body["error"]["type"]
    else:
        raise AssertionError("it was answered")
    finally:
        recover()


@case("anthropic-python")
def when_the_provider_fails_the_next_tier_answers():
    needs_engine([model.id for model in client.models.list()])
    everybody = Anthropic(base_url=BASE, api_key=KEY, max_retries=0, timeout=120)
    for fault in ("status=429", "status=529", "reset after=preamble", "malformed after=preamble"):
        try:
            with everybody.messages.stream(model="auto", max_tokens=16, messages=user(prompt(fault))) as stream:
                final = stream.get_final_message()
                headers = stream.response.headers
            assert text_of(final) and final.stop_reason in ("end_turn", "max_tokens"), fault
            assert headers["x-commonwatt-tier"] == "local", fault
            assert int(headers["x-commonwatt-attempts"]) >= 2, fault
        finally:
            recover()
