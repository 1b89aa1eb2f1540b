"""The official `openai` package, unmodified, where the daemon keeps what was said: responses, conversations, background."""

import time

import openai
from harness import BASE, KEY, MODEL, ONLY_SIM, case, is_daemon, left_early, needs_daemon, needs_sim, prompt, received
from openai import OpenAI

client = OpenAI(base_url=f"{BASE}/v1", api_key=KEY, default_headers=ONLY_SIM, max_retries=0, timeout=60)

# An answer that takes about a second.
SLOW = "answer characters=400; drip bytes=400 gap_ms=20"


def create(text: str, **more):
    needs_daemon()
    return client.responses.create(model=MODEL, input=text, **more)


def is_not_found(fetch) -> None:
    try:
        fetch()
    except openai.NotFoundError as error:
        assert error.type == "invalid_request_error" and "not found" in error.message
        return
    raise AssertionError("it is still there")


def ended(response):
    deadline = time.monotonic() + 30
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


@case("stateful-python")
def a_response_is_retrieved_listed_followed_and_deleted():
    text = prompt()
    first = create(text, store=True)
    assert first.store and first.previous_response_id is None and first.conversation is None
    kept = client.responses.retrieve(first.id, include=["message.output_text.logprobs"])
    assert kept.model_dump() == first.model_dump()
    (item,) = client.responses.input_items.list(first.id)
    assert item.type == "message" and item.role == "user" and item.content[0].text == text

    second = create("And what else?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    items = list(client.responses.input_items.list(second.id, limit=1, order="asc"))
    assert [item.role for item in items] == ["user", "assistant", "user"], "the pages hold everything"
    assert items[1].content[0].text == first.output_text

    assert client.responses.delete(first.id) is None
    is_not_found(lambda: client.responses.retrieve(first.id))
    is_not_found(lambda: client.responses.input_items.list(first.id))
    assert client.responses.retrieve(second.id).output_text == second.output_text


@case("stateful-python")
def the_history_reaches_the_provider_without_being_sent_again():
    needs_sim()
    text = prompt()
    first = create(text)
    create("And what else?", previous_response_id=first.id)
    body = received(text)[-1]["body"]["text"]
    assert "And what else?" in body and first.id not in body


@case("stateful-python")
def what_is_not_there_cannot_be_followed():
    needs_daemon()
    try:
        create(prompt(), previous_response_id="resp_nobody")
    except openai.BadRequestError as error:
        assert error.code == "previous_response_not_found" and error.param == "previous_response_id"
    else:
        raise AssertionError("it was answered")
    unkept = create(prompt(), store=False)
    assert unkept.store is False
    is_not_found(lambda: client.responses.retrieve(unkept.id))


@case("stateful-python")
def a_conversation_holds_what_is_said_in_it():
    needs_daemon()
    text = prompt()
    begun = client.conversations.create(metadata={"topic": "lamps"}, items=[{"role": "user", "content": text}])
    assert begun.object == "conversation" and begun.metadata == {"topic": "lamps"} and begun.created_at > 0
    told = create("Go on.", conversation=begun.id)
    assert told.conversation.id == begun.id
    (added,) = client.conversations.items.create(begun.id, items=[{"role": "user", "content": "A note."}]).data
    listed = list(client.conversations.items.list(begun.id, order="asc", limit=2))
    assert [item.content[0].text for item in listed] == [text, "Go on.", told.output_text, "A note."]
    assert client.conversations.items.retrieve(added.id, conversation_id=begun.id).content[0].text == "A note."
    assert client.conversations.items.delete(added.id, conversation_id=begun.id).id == begun.id
    assert len(list(client.conversations.items.list(begun.id))) == 3
    assert client.conversations.update(begun.id, metadata={"topic": "wells"}).metadata == {"topic": "wells"}
    assert client.conversations.retrieve(begun.id).metadata == {"topic": "wells"}
    deleted = client.conversations.delete(begun.id)
    assert deleted.deleted and deleted.object == "conversation.deleted"
    is_not_found(lambda: client.conversations.retrieve(begun.id))


@case("stateful-python")
def a_response_in_the_background_is_polled_until_it_is_there():
    promised = create(prompt(), background=True)
    assert promised.status in ("queued", "in_progress") and promised.background and not promised.output
    response = ended(promised)
    assert response.status == "completed" and response.id == promised.id and response.output_text
    assert response.usage.output_tokens > 0


@case("stateful-python")
def a_response_in_the_background_is_cancelled():
    needs_sim()
    text = prompt("answer characters=100000; drip bytes=400 gap_ms=20")
    promised = create(text, background=True)
    while not received(text):
        time.sleep(0.05)
    cancelled = client.responses.cancel(promised.id)
    assert cancelled.status == "cancelled" and cancelled.id == promised.id
    left_early(text)
    assert client.responses.cancel(promised.id).status == "cancelled"
    assert client.responses.retrieve(promised.id).status == "cancelled"
    try:
        client.responses.cancel(create(prompt()).id)
    except openai.BadRequestError:
        return
    raise AssertionError("whoever waits for an answer leaves instead")


@case("stateful-python")
def a_dropped_stream_in_the_background_is_resumed_where_it_stopped():
    needs_sim()
    text = prompt(SLOW)
    heard = []
    with create(text, background=True, stream=True) as stream:
        for event in stream:
            heard.append(event)
            if len(heard) == 9:
                break
    promised = heard[0].response
    assert heard[0].type == "response.created" and heard[1].type == "response.queued"
    heard += client.responses.retrieve(promised.id, stream=True, starting_after=heard[-1].sequence_number)
    assert [event.sequence_number for event in heard] == list(range(len(heard)))
    assert heard[-1].type == "response.completed"
    told = "".join(event.delta for event in heard if event.type == "response.output_text.delta")
    assert told == heard[-1].response.output_text == client.responses.retrieve(promised.id).output_text
    assert len(received(text)) == 1, "there was a second inference"
    client.responses.delete(promised.id)
    is_not_found(lambda: client.responses.retrieve(promised.id, stream=True))


@case("stateful-python")
def what_fails_in_the_background_is_told_by_the_response():
    needs_sim()
    response = ended(create(prompt("status=400"), background=True))
    assert response.status == "failed" and response.error.code == "invalid_prompt" and response.error.message


@case("stateful-python")
def a_detached_stream_has_ids_and_is_read_as_any_other():
    needs_daemon()
    assert is_daemon()
    headers = {"x-commonwatt-detached": "true"}
    messages = [{"role": "user", "content": prompt()}]
    whole = client.chat.completions.create(model=MODEL, messages=messages)
    chunks = list(client.chat.completions.create(model=MODEL, messages=messages, stream=True, extra_headers=headers))
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert told == whole.choices[0].message.content
