"""The official `openai` package, unmodified, where it does not chat: Responses, legacy Completions, Embeddings."""

import asyncio
import json

import openai
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
    needs_daemon,
    needs_sim,
    prompt,
    received,
    received_body,
    recover,
    same_dialect,
)
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

PATH = "/v1/responses"
client = OpenAI(base_url=f"{BASE}/v1", api_key=KEY, default_headers=ONLY_SIM, max_retries=0, timeout=60)


def tool(name: str, parameters: dict) -> dict:
    return {"type": "function", "name": name, "description": f"Tells the {name}.", "parameters": parameters, "strict": True}


TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)]


class Forecast(BaseModel):
    city: str
    days: int
    rain: bool


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def calls_of(response) -> list:
    return [item for item in response.output if item.type == "function_call"]


def create(text: str, **more):
    return client.responses.create(model=MODEL, input=text, **more)


@case("responses-python")
def a_response():
    response = create(prompt())
    assert response.id and response.model and response.object == "response"
    assert response.status == "completed" and response.error is None
    assert response.output_text and response.output[-1].role == "assistant"
    usage = response.usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


@case("responses-python")
def headers_say_who_answered():
    needs_daemon()
    raw = client.responses.with_raw_response.create(model=MODEL, input=prompt())
    assert raw.headers["x-commonwatt-deployment"] and raw.headers["x-commonwatt-attempts"] == "1"


@case("responses-python")
def streaming():
    text = prompt()
    events = list(create(text, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    told = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert told and events[-1].response.output_text == told
    assert events[-1].response.usage.output_tokens > 0
    if SIM:
        assert create(text).output_text == told, "streamed and whole answers differ"


@case("responses-python")
def the_stream_helper_gathers_the_answer():
    with client.responses.stream(model=MODEL, input=prompt()) as stream:
        told = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert told and final.output_text == told and final.status == "completed"


@case("responses-python")
def the_async_client_streams_many_at_once():
    async def one(connection: AsyncOpenAI) -> str:
        async with connection.responses.stream(model=MODEL, input=prompt()) as stream:
            return (await stream.get_final_response()).output_text

    async def all_of_them() -> list[str]:
        settings = {"default_headers": ONLY_SIM, "max_retries": 0, "timeout": 60}
        async with AsyncOpenAI(base_url=f"{BASE}/v1", api_key=KEY, **settings) as connection:
            return await asyncio.gather(*(one(connection) for _ in range(8)))

    told = asyncio.run(all_of_them())
    assert all(told) and (not SIM or len(set(told)) == 8), "an answer went to the wrong caller"


@case("responses-python")
def instructions_and_what_is_new_tomorrow_arrive():
    needs_sim()
    text = prompt()
    tomorrow = {"a_field_of_tomorrow": {"b": [1, 2.50]}}
    assert create(text, instructions="Answer in the voice of a lighthouse.", extra_body=tomorrow).output_text
    body = received_body(text)
    assert "voice of a lighthouse" in json.dumps(body)
    if same_dialect(text, PATH):
        assert body["a_field_of_tomorrow"] == {"b": [1, 2.5]}, "unknown fields survive"


@case("responses-python")
def a_conversation_is_told_again():
    needs_sim()
    text = prompt()
    first = create(text)
    history = [*user(text), *(item.model_dump(exclude_none=True) for item in first.output)]
    assert client.responses.create(model=MODEL, input=[*history, *user("And what else?")]).output_text
    assert first.output_text[:40] in json.dumps(json.loads(received(text)[-1]["body"]["text"]), ensure_ascii=False)


@case("responses-python")
def a_token_limit_ends_the_answer():
    needs_sim()
    response = create(prompt(), max_output_tokens=5)
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens <= 5


@case("responses-python")
def a_tool_is_called():
    needs_sim()
    response = create(prompt(), tools=TOOLS, tool_choice={"type": "function", "name": "weather"})
    (call,) = calls_of(response)
    assert call.call_id and call.name == "weather" and response.status == "completed"
    arguments = json.loads(call.arguments)
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)


@case("responses-python")
def tools_are_called_in_parallel_and_streamed():
    needs_sim()
    text = prompt("answer tool_calls=2")
    calls = calls_of(create(text, tools=TOOLS))
    assert [call.name for call in calls] == ["weather", "time"] and calls[0].call_id != calls[1].call_id
    with client.responses.stream(model=MODEL, input=text, tools=TOOLS) as stream:
        pieces = [event for event in stream if event.type == "response.function_call_arguments.delta"]
        streamed = calls_of(stream.get_final_response())
    assert [(call.name, call.arguments) for call in streamed] == [(call.name, call.arguments) for call in calls]
    assert "".join(piece.delta for piece in pieces) == "".join(call.arguments for call in streamed)


@case("responses-python")
def a_tool_loop_ends_in_an_answer():
    needs_sim()
    history = user(prompt("answer tool_calls=2"))
    asked = client.responses.create(model=MODEL, input=history, tools=TOOLS)
    history += [item.model_dump(exclude_none=True) for item in asked.output]
    for call in calls_of(asked):
        history.append({"type": "function_call_output", "call_id": call.call_id, "output": f"ok {call.name}"})
    answer = client.responses.create(model=MODEL, input=history, tools=TOOLS)
    assert answer.output_text and not calls_of(answer)


@case("responses-python")
def an_answer_follows_a_json_schema():
    needs_sim()
    response = client.responses.parse(model=MODEL, input=prompt(), text_format=Forecast)
    assert isinstance(response.output_parsed, Forecast)
    with client.responses.stream(model=MODEL, input=prompt(), text_format=Forecast) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Forecast)


@case("responses-python")
def an_image_is_passed_through():
    needs_sim()
    text = prompt()
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"}
    content = [{"type": "input_text", "text": text}, image]
    assert client.responses.create(model=MODEL, input=[{"role": "user", "content": content}]).output_text
    assert PNG in json.dumps(received_body(text)), "the provider saw another image"


@case("responses-python")
def reasoning_is_an_item_of_its_own_and_can_be_handed_back():
    needs_sim()
    text = prompt()
    wanted = {
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    response = create(text, **wanted)
    (thought,) = [item for item in response.output if item.type == "reasoning"]
    assert thought.summary[0].text and response.output_text
    assert thought.summary[0].text not in response.output_text
    assert response.usage.output_tokens_details.reasoning_tokens > 0 or not same_dialect(text, PATH)
    assert thought.encrypted_content or not same_dialect(text, PATH)

    events = list(create(text, stream=True, **wanted))
    told = "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta")
    assert told == thought.summary[0].text

    history = [*user(text), *(item.model_dump(exclude_none=True) for item in response.output)]
    assert client.responses.create(model=MODEL, input=[*history, *user("And what else?")], **wanted).output_text


@case("responses-python")
def a_wrong_key_is_an_authentication_error():
    try:
        client.with_options(api_key="cw-wrong").responses.create(model=MODEL, input=prompt())
    except openai.AuthenticationError as error:
        assert error.status_code == 401 and error.code == "invalid_api_key"
        return
    raise AssertionError("it was let in")


@case("responses-python")
def an_unknown_model_is_a_not_found_error():
    try:
        client.responses.create(model="no-such-model", input=prompt())
    except openai.NotFoundError as error:
        assert error.code == "model_not_found" and "no-such-model" in error.message
        return
    raise AssertionError("there is no such model")


@case("responses-python")
def a_wrong_request_is_a_bad_request_error():
    for wrong in ([], [{"role": "wizard", "content": "abracadabra"}]):
        try:
            client.responses.create(model=MODEL, input=wrong)
        except openai.BadRequestError as error:
            assert error.type == "invalid_request_error" and error.message, wrong
        else:
            raise AssertionError(f"{wrong} was accepted")


@case("responses-python")
def an_answer_that_breaks_off_is_an_error():
    needs_sim()
    for fault in ("error after=2", "failed after=2"):
        try:
            events = list(create(prompt(fault), stream=True))
            assert events[-1].type in ("error", "response.failed"), f"{fault}: {events[-1].type}"
        except openai.APIError:
            pass
        finally:
            recover()


@case("responses-python")
def too_many_calls_are_a_rate_limit_error_with_the_wait():
    needs_sim()
    try:
        create(prompt("status=429 retry_after_s=3"))
    except openai.RateLimitError as error:
        assert 1 <= int(error.response.headers["retry-after"]) <= 4
    else:
        raise AssertionError("it was answered")
    finally:
        recover()


@case("responses-python")
def leaving_a_stream_ends_the_call_upstream():
    text = prompt("answer characters=100000; drip bytes=400 gap_ms=5")
    with client.responses.stream(model=MODEL, input=text) as stream:
        for count, _ in enumerate(stream):
            if count == 5:
                break
    left_early(text)


@case("responses-python")
def a_timeout_of_the_client_ends_the_call_upstream():
    needs_sim()
    text = prompt("stall after=start")
    try:
        client.with_options(timeout=1).responses.create(model=MODEL, input=text)
    except openai.APITimeoutError:
        left_early(text)
    else:
        raise AssertionError("it was answered")


@case("completions-python")
def a_text_goes_on():
    text = prompt()
    whole = client.completions.create(model=MODEL, prompt=text, max_tokens=500)
    assert whole.object == "text_completion" and whole.choices[0].finish_reason == "stop"
    assert whole.choices[0].text and whole.usage.completion_tokens > 0
    chunks = list(client.completions.create(model=MODEL, prompt=text, max_tokens=500, stream=True))
    told = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert told and (not SIM or told == whole.choices[0].text), "streamed and whole texts differ"


@case("completions-python")
def a_token_limit_ends_the_text():
    needs_sim()
    assert client.completions.create(model=MODEL, prompt=prompt(), max_tokens=5).choices[0].finish_reason == "length"


@case("embeddings-python")
def texts_become_vectors():
    # The SDK asks for base64 by itself; asked for numbers, it must get the same.
    packed = client.embeddings.create(model=MODEL, input=["the old well", "a night train"], extra_headers=ANYWHERE)
    plain = client.embeddings.create(model=MODEL, input=["the old well", "a night train"], encoding_format="float", extra_headers=ANYWHERE)
    assert [one.index for one in packed.data] == [0, 1] and packed.usage.prompt_tokens > 0
    for one, other in zip(packed.data, plain.data, strict=True):
        assert len(one.embedding) > 2 and max(abs(a - b) for a, b in zip(one.embedding, other.embedding)) < 1e-6
    assert packed.data[0].embedding != packed.data[1].embedding


@case("embeddings-python")
def nothing_to_embed_is_a_bad_request_error():
    try:
        client.embeddings.create(model=MODEL, input=[])
    except openai.BadRequestError:
        return
    raise AssertionError("it was accepted")
