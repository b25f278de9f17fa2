"""One to three changes of a model's bytes, its protobuf structure or its meaning."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import onnx
from fuzzing.meaning import change_meaning
from fuzzing.values import other_value

__all__ = ["mutated"]


def mutated(rng: random.Random, files: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The name of the base and the changed model."""
    name, data = rng.choice(files)
    kind = rng.choice(("bytes", "structure", "structure", "meaning", "meaning", "meaning"))
    for _ in range(rng.choice((1, 1, 2, 3))):
        if kind == "bytes":
            changed = bytearray(data)
            change_bytes(rng, changed)
            data = bytes(changed) or b"\0"
            continue
        model = onnx.load_from_string(data)
        change = change_structure if kind == "structure" else change_meaning
        try:
            change(rng, model)
            data = model.SerializeToString()
        except (ValueError, TypeError, IndexError, OverflowError, AttributeError, KeyError):
            continue  # a change that cannot be written down changes nothing
    return f"{kind}:{name}", data


def change_bytes(rng: random.Random, data: bytearray) -> None:
    """Flip, take out, repeat or add bytes."""
    at = rng.randrange(len(data))
    length = min(rng.choice((1, 1, 2, 4, 16, 200)), len(data) - at)
    kind = rng.randrange(5)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at : at + length]
    elif kind == 2:
        data[at:at] = data[at : at + length]
    elif kind == 3:
        data[at : at + length] = rng.randbytes(length)
    else:
        del data[at:]


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and those in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if is_repeated(field) else [value]:
                yield from messages(inner)


def is_repeated(field: Any) -> bool:
    """Whether a field is a list."""
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED) if repeated is None else bool(repeated)


def change_structure(rng: random.Random, model: Any) -> None:
    """Take out, repeat, move or replace a field of a message anywhere in the model."""
    message = rng.choice(list(messages(model)))
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    if is_repeated(field) and len(value):
        change_list(rng, field, value)
    elif field.message_type is not None or rng.random() < 0.3:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, other_value(rng, value))


def change_list(rng: random.Random, field: Any, value: Any) -> None:
    at, to = rng.randrange(len(value)), rng.randrange(len(value))
    kind = rng.randrange(4)
    if kind == 0:
        del value[at]
    elif kind == 1 and field.message_type is not None:
        value.add().CopyFrom(value[at])
    elif kind == 1:
        value.append(value[at])
    elif kind == 2 and field.message_type is None:
        value[at] = other_value(rng, value[at])
    elif field.message_type is None:
        value[at], value[to] = value[to], value[at]
    else:
        kept = type(value[at])()
        kept.CopyFrom(value[at])
        value[at].CopyFrom(value[to])
        value[to].CopyFrom(kept)
