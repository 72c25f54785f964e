"""OpenAI's client against a node: openai_client.py BASE_URL MODEL. Ends with "ok"."""

import sys

import openai


def main(base_url: str, model: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0, timeout=60)
    messages = [{"role": "user", "content": "words 12"}]

    whole = client.chat.completions.create(model=model, messages=messages, max_tokens=12, temperature=0)
    assert whole.object == "chat.completion", whole
    assert whole.choices[0].message.role == "assistant", whole
    assert whole.choices[0].message.content, whole
    assert whole.choices[0].finish_reason in ("stop", "length"), whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole

    stream = client.chat.completions.create(
        model=model,
        messages=messages,
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content, (text, whole)
    last = [chunk for chunk in chunks if chunk.choices][-1]
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason, last
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1])

    unasked = client.chat.completions.create(model=model, messages=messages, max_tokens=12, stream=True)
    assert all(chunk.usage is None for chunk in unasked)

    # A stream that is left early must not keep the slot: the next requests are served.
    for _ in range(6):
        with client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "pace 500"}], max_tokens=500, stream=True
        ) as left:
            next(iter(left))

    assert model in [entry.id for entry in client.models.list()]
    assert client.models.retrieve(model).id == model

    try:
        client.chat.completions.create(model="no/such-model", messages=messages)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model was answered")
    try:
        client.chat.completions.create(model=model, messages=[])
    except openai.BadRequestError as error:
        assert error.param == "messages", error
    else:
        raise AssertionError("an empty conversation was answered")
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
