"""LangChain's four packages, unmodified: four ways to say the same, so the same cases for each."""

import asyncio
import json
from collections.abc import Callable

from harness import (
    ANYWHERE,
    BASE,
    CASES,
    KEY,
    MODEL,
    ONLY_SIM,
    PNG,
    SIM,
    Case,
    left_early,
    needs_sim,
    prompt,
    received,
    recover,
)
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field


class Forecast(BaseModel):
    """A weather forecast."""

    city: str = Field(description="where")
    days: int = Field(description="how many days")


@tool
def weather(city: str, days: int) -> str:
    """Tells the weather."""
    return f"rain in {city} for {days} days"


@tool
def time(zone: str) -> str:
    """Tells the time."""
    return f"noon in {zone}"


# One for all cases: LangChain keeps the connections of its asynchronous clients.
LOOP = asyncio.new_event_loop()


def openai(model: str = MODEL, key: str = KEY, **more):
    settings = {"default_headers": ONLY_SIM, "max_retries": 0, "stream_usage": True, **more}
    return ChatOpenAI(model=model, api_key=key, base_url=f"{BASE}/v1", **settings)


def responses(model: str = MODEL, key: str = KEY):
    return openai(model, key, use_responses_api=True)


def anthropic(model: str = MODEL, key: str = KEY):
    settings = {"default_headers": ONLY_SIM, "max_retries": 0, "max_tokens": 2000}
    return ChatAnthropic(model=model, api_key=key, base_url=BASE, **settings)


def google(model: str = MODEL, key: str = KEY):
    # Its retries count the first try.
    settings = {"additional_headers": ONLY_SIM, "max_retries": 1, "vertexai": False}
    return ChatGoogleGenerativeAI(model=model, api_key=key, base_url=BASE, **settings)


def ollama(model: str = MODEL, key: str = KEY):
    headers = {"authorization": f"Bearer {key}", **ONLY_SIM}
    return ChatOllama(model=model, base_url=BASE, client_kwargs={"headers": headers})


WAYS = {"openai": openai, "responses": responses, "anthropic": anthropic, "google": google, "ollama": ollama}


def each(run: Callable) -> Callable:
    """Registers a case for each way."""
    for name, connect in WAYS.items():
        CASES.append(Case(f"langchain {name}", run.__name__.replace("_", " "), lambda connect=connect: run(connect)))
    return run


def alone(run: Callable[[], None]) -> Callable[[], None]:
    CASES.append(Case("langchain", run.__name__.replace("_", " "), run))
    return run


@each
def an_invocation(connect):
    answer = connect().invoke(prompt())
    assert isinstance(answer, AIMessage) and answer.text
    assert answer.usage_metadata["input_tokens"] > 0 and answer.usage_metadata["output_tokens"] > 0


@each
def streaming(connect):
    text = prompt()
    chunks = list(connect().stream(text))
    told = "".join(chunk.text for chunk in chunks)
    assert told and len(chunks) > 2
    assert sum((chunk.usage_metadata or {}).get("output_tokens", 0) for chunk in chunks) > 0
    if SIM:
        assert connect().invoke(text).text == told, "streamed and whole answers differ"


@each
def many_at_once(connect):
    async def all_of_them() -> list[str]:
        model = connect()
        return [answer.text for answer in await asyncio.gather(*(model.ainvoke(prompt()) for _ in range(8)))]

    told = LOOP.run_until_complete(all_of_them())
    assert all(told) and (not SIM or len(set(told)) == 8), "an answer went to the wrong caller"


@each
def system_prompts_arrive(connect):
    needs_sim()
    text = prompt()
    assert connect().invoke([SystemMessage("Answer in the voice of a lighthouse."), HumanMessage(text)]).text
    assert "voice of a lighthouse" in received(text)[0]["body"]["text"]


@each
def a_tool_loop_ends_in_an_answer(connect):
    needs_sim()
    model = connect().bind_tools([weather, time])
    messages = [HumanMessage(prompt("answer tool_calls=2"))]
    asked = model.invoke(messages)
    assert [call["name"] for call in asked.tool_calls] == ["weather", "time"]
    assert isinstance(asked.tool_calls[0]["args"]["days"], int)

    gathered = None
    for chunk in model.stream(messages):
        gathered = chunk if gathered is None else gathered + chunk
    told = [(call["name"], call["args"]) for call in gathered.tool_calls]
    assert told == [(call["name"], call["args"]) for call in asked.tool_calls]

    tools = {"weather": weather, "time": time}
    messages += [asked, *(tools[call["name"]].invoke(call) for call in asked.tool_calls)]
    assert isinstance(messages[-1], ToolMessage)
    answer = model.invoke(messages)
    assert answer.text and not answer.tool_calls


@each
def an_answer_has_a_structure(connect):
    needs_sim()
    # Ollama cannot be told that a tool must be called.
    for method, directive in (("json_schema", ""), ("function_calling", "answer tool_calls=1")):
        answer = connect().with_structured_output(Forecast, method=method).invoke(prompt(directive))
        assert isinstance(answer, Forecast), method


@each
def an_image_is_passed_through(connect):
    needs_sim()
    text = prompt()
    image = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    assert connect().invoke([HumanMessage([{"type": "text", "text": text}, image])]).text
    assert PNG in json.dumps(received(text)[0]["body"]["text"]), "the provider saw another image"


@each
def errors_are_raised(connect):
    needs_sim()
    asked = {
        "a wrong key": lambda: connect(key="cw-wrong").invoke(prompt()),
        "no such model": lambda: connect("no-such-model").invoke(prompt()),
        "too many calls": lambda: connect().invoke(prompt("status=429 retry_after_s=1")),
    }
    try:
        for name, call in asked.items():
            try:
                call()
            except AssertionError:
                raise
            except Exception as error:
                assert str(error), name
            else:
                raise AssertionError(f"{name}: it was answered")
    finally:
        recover()


@each
def leaving_a_stream_ends_the_call_upstream(connect):
    text = prompt("answer characters=100000; drip bytes=400 gap_ms=5")

    async def leave() -> None:
        chunks = connect().astream(text)
        async for _ in chunks:
            break
        await chunks.aclose()
        # The loop goes on meanwhile: some clients close their connections in its spare time.
        await asyncio.to_thread(left_early, text)

    LOOP.run_until_complete(leave())


@alone
def texts_become_vectors():
    headers = {"authorization": f"Bearer {KEY}", **ANYWHERE}
    # Without this it sends numbers of OpenAI's own tokens, and loads their table from the internet.
    settings = {"default_headers": ANYWHERE, "check_embedding_ctx_length": False}
    ways = (
        OpenAIEmbeddings(model=MODEL, api_key=KEY, base_url=f"{BASE}/v1", **settings),
        OllamaEmbeddings(model=MODEL, base_url=BASE, client_kwargs={"headers": headers}),
    )
    for way in ways:
        first, second = way.embed_documents(["the old well", "a night train"])
        assert len(first) == len(second) > 2 and first != second
