"""Look through an ONNX file before onnxruntime sees it: what it declares must fit into what it holds.

A file of 200 bytes can declare a constant of 800 GB. The walk below knows the few fields of ONNX's protobuf messages
that say how large tensors are and skips their content, so 10 MB take 5 ms; the package `onnx` takes 0.3 s to import and
reads everything. What only running a graph would tell (two small tensors whose sum is huge) is bounded by
`limited_memory`, within which model_files.py opens the session and runs it once.
"""

import mmap
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

MAX_GRAPH_BYTES = 2 * 2**30 - 1  # what one protobuf message can hold
MAX_FIELDS = 2_000_000  # the largest of our graphs has 12,000
MAX_DEPTH = 40  # graphs within nodes within graphs
MAX_DIMENSIONS = 32
MAX_NUMBERS_PER_BYTE = 8  # of a tensor's content: 4-bit numbers, and room for what is stored once
MEMORY = 4 * 2**30  # for opening a session and one run of it, beside MEMORY_PER_BYTE
MEMORY_PER_BYTE = 8  # of the file: weights, their copy in another layout, and room
UNBOUNDED_OPS = {"Loop", "Scan", "SequenceMap"}  # may run for ever

VARINT, BYTES = 0, 2  # protobuf's wire types
FIXED_LENGTHS = {1: 8, 5: 4}  # and bytes
# The fields that hold further messages of interest, by message.
CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}
NODE_OP_TYPE = 4
TENSOR_DIMS, TENSOR_NAME, TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 1, 8, 13, 14

_limiting = threading.Lock()


class GraphError(ValueError):
    """Why a graph is not opened, as the end of a sentence that begins with the file."""


def check_graph(path: Path) -> None:
    """Raises GraphError."""
    size = path.stat().st_size
    if not 0 < size <= MAX_GRAPH_BYTES:
        raise GraphError(f"has {size} bytes; a graph has 1 to {MAX_GRAPH_BYTES}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _Walk(data).message("model", 0, size, 0)


@contextmanager
def limited_memory(graph: Path) -> Iterator[None]:
    """Within it this process gets only so much more memory that a graph of this file's size can need.

    Above that an allocation fails, which onnxruntime reports as an exception. On Linux only.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    with _limiting:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + MEMORY + MEMORY_PER_BYTE * graph.stat().st_size
        if soft != resource.RLIM_INFINITY:
            limit = min(limit, soft)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Walk:
    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.fields_left = MAX_FIELDS

    def message(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise GraphError(f"is nested more than {MAX_DEPTH} deep")
        if kind == "sparse":
            raise GraphError("holds sparse tensors, whose size in memory nothing bounds; export it with dense ones")
        if kind == "tensor":
            self.tensor(start, end)
            return
        children = CHILDREN[kind]
        for number, wire, first, last in self.fields(start, end):
            if kind == "node" and number == NODE_OP_TYPE and wire == BYTES:
                op_type = self.data[first:last].decode("utf-8", "replace")
                if op_type in UNBOUNDED_OPS:
                    raise GraphError(f"uses {op_type}, which may run for ever; no image classifier needs it")
            elif number in children:
                if wire != BYTES:
                    raise GraphError("is damaged: it is not an ONNX model")
                self.message(children[number], first, last, depth + 1)

    def tensor(self, start: int, end: int) -> None:
        dims: list[int] = []
        name = ""
        for number, wire, first, last in self.fields(start, end):
            if number == TENSOR_DIMS and wire == VARINT:
                dims.append(first)
            elif number == TENSOR_DIMS and wire == BYTES:
                dims += self.packed(first, last)
            elif number == TENSOR_NAME and wire == BYTES:
                name = self.data[first : min(last, first + 60)].decode("utf-8", "replace")
            elif number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and first):
                raise GraphError(f"keeps the tensor {name!r} in another file; export it with everything inside")
        if len(dims) > MAX_DIMENSIONS:
            raise GraphError(f"declares a tensor {name!r} of {len(dims)} dimensions, at most {MAX_DIMENSIONS}")
        numbers = prod(dims)  # a negative dimension is a very large unsigned one
        if numbers > MAX_NUMBERS_PER_BYTE * (end - start):
            size = "x".join(map(str, dims[:6])) + (" …" if len(dims) > 6 else "")
            raise GraphError(f"declares a tensor {name!r} of {size[:80]} numbers, but holds {end - start} bytes of it")

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Each field's number and wire type, and where its content is; for a number its value, and 0."""
        data, position = self.data, start
        while position < end:
            self.fields_left -= 1
            if self.fields_left < 0:
                raise GraphError(f"has more than {MAX_FIELDS:,} fields")
            tag, position = data[position], position + 1  # nearly all tags and lengths are one byte long
            if tag >= 128:
                tag, position = self.varint(position - 1, end)
            number, wire = tag >> 3, tag & 7
            if wire == BYTES:
                if position < end and (length := data[position]) < 128:
                    position += 1
                else:
                    length, position = self.varint(position, end)
            elif wire == VARINT:
                value, position = self.varint(position, end)
                yield number, wire, value, 0
                continue
            elif wire in FIXED_LENGTHS:
                length = FIXED_LENGTHS[wire]
            else:
                raise GraphError("is damaged: it is not an ONNX model")
            if length > end - position:
                raise GraphError("is damaged: it is cut short, or it is not an ONNX model")
            yield number, wire, position, position + length
            position += length

    def packed(self, position: int, end: int) -> list[int]:
        values: list[int] = []
        while position < end:
            value, position = self.varint(position, end)
            values.append(value)
            self.fields_left -= 1
            if self.fields_left < 0:
                raise GraphError(f"has more than {MAX_FIELDS:,} fields")
        return values

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """The number at a position, and the position behind it."""
        if position < end and (value := self.data[position]) < 128:  # nearly always
            return value, position + 1
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise GraphError("is damaged: it is cut short, or it is not an ONNX model")
            byte = self.data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
        raise GraphError("is damaged: it is not an ONNX model")
