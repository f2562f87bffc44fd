"""A reader of pickles without the power to import.

It is a stack machine for the opcodes that data needs, and a closed table of names. Python's own unpickler, even with
`find_class` overridden, can be made to end the process: ten bytes ask its memo for gigabytes, and the hash of a deeply
nested tuple overflows the C stack. This one keeps its memo in a dict, takes only text as keys, and counts. What a name
of the table stands for is one of our functions of the argument tuple; nothing else is ever called. Such a function, and
a `build`, takes no longer for a larger argument, which a file can give again and again in two bytes.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Refused
from .budget import Budget

MAX_MARKS = 64  # containers open at the same time
MAX_NAME = 200
MAX_INTEGER = 9  # bytes of a whole number of 64 bits and its sign
MARK = object()


@dataclass(frozen=True)
class Name:
    """A name of the table, on the stack: `make` takes the place of what it names in Python."""

    full: str
    make: Callable[[tuple], Any]


@dataclass
class Machine:
    """One pickle at the start of `data`.

    table: what each allowed global, "module.name", becomes. budget: one for all pickles of a file. storage: what a
    persistent id becomes, None where there are none. forbidden: called with every name that is not in the table, to say
    more than that it is unknown.
    """

    data: memoryview
    table: Mapping[str, Callable[[tuple], Any]]
    budget: Budget
    storage: Callable[[Any], Any] | None = None
    forbidden: Callable[[str], None] = lambda name: None
    position: int = 0
    stack: list[Any] = field(default_factory=list)
    memo: dict[str, Any] = field(default_factory=dict)
    marks: int = 0

    def load(self) -> Any:
        """The pickled object; `position` is then behind it. Raises Refused."""
        while (code := self.take(1)[0]) != STOP:
            self.budget.spend_opcode()
            if code not in OPERATIONS:
                raise Refused(f"it uses the pickle opcode {_opcode_name(code)}, which no generator's file needs")
            OPERATIONS[code](self)
        return self.pop()

    def take(self, count: int) -> memoryview:
        """The next bytes, not copied."""
        end = self.position + count
        if end > len(self.data):
            raise Refused("it is cut off in the middle of its pickle")
        taken, self.position = self.data[self.position : end], end
        return taken

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def words(self, count: int) -> str:
        """The next bytes as text."""
        self.budget.spend_text(count)
        try:
            return str(self.take(count), "utf-8")
        except UnicodeDecodeError as error:
            raise Refused("its pickle has text that is not UTF-8") from error

    def integer(self, count: int) -> int:
        if count > MAX_INTEGER:
            raise Refused("its pickle has a whole number of more than 64 bits")
        return int.from_bytes(self.take(count), "little", signed=True)

    def line(self) -> str:
        length = bytes(self.data[self.position : self.position + 256]).find(b"\n")
        if length < 0:
            raise Refused("its pickle is cut off, or has a name of more than 255 characters")
        return self.words(length + 1)[:-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, kind: type | tuple[type, ...] = object) -> Any:
        if not self.stack or self.stack[-1] is MARK or not isinstance(self.stack[-1], kind):
            raise Refused("its pickle is malformed: an operand is missing or of another kind")
        return self.stack.pop()

    def top(self, *kinds: type) -> Any:
        if not self.stack or type(self.stack[-1]) not in kinds:
            raise Refused("its pickle fills something that is not a list, dict or set")
        return self.stack[-1]

    def push_mark(self) -> None:
        self.marks += 1
        if self.marks > MAX_MARKS:
            raise Refused(f"its pickle nests deeper than {MAX_MARKS} levels")
        self.push(MARK)

    def pop_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                self.marks -= 1
                return values
        raise Refused("its pickle is malformed: a mark is missing")

    def remember(self, index: int) -> None:
        if not self.stack or self.stack[-1] is MARK:
            raise Refused("its pickle is malformed: there is nothing to remember")
        self.memo[_plain(index)] = self.stack[-1]

    def recall(self, index: int) -> None:
        name = _plain(index)
        if name not in self.memo:
            raise Refused("its pickle refers to an object that is not there")
        self.push(self.memo[name])

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise Refused("its pickle is malformed: a dict has a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2]):
            target[_plain(key)] = value

    def push_name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("its pickle names a global by something that is not text")
        full = f"{module}.{name}"
        if full not in self.table:
            self.forbidden(full)
            raise Refused(f"its pickle asks for '{_printable(full)}', which no generator's weights need")
        self.push(Name(full, self.table[full]))

    def call(self) -> None:
        arguments, name = self.pop(tuple), self.pop(Name)
        self.push(name.make(arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if type(target) is dict:  # attributes of an OrderedDict, such as a state dict's versions: nothing reads them
            return
        if target is None or not hasattr(type(target), "build"):
            raise Refused("its pickle sets the state of something that has none")
        target.build(state)

    def push_stored(self) -> None:
        identity = self.pop()
        if self.storage is None:
            raise Refused("its pickle refers to data outside of itself")
        self.push(self.storage(identity))


def plain_name(name: Any) -> str:
    """A name that a message can show. Raises Refused for anything else."""
    if type(name) is not str or len(name) > MAX_NAME or not name.isprintable():
        raise Refused(
            f"its pickle has a key that is neither a name of at most {MAX_NAME} characters nor a plain number"
        )
    return name


def _plain(key: Any) -> str:
    # Whole numbers become text: they can be chosen so that a dict is as slow as a list, for text that takes the
    # process' secret.
    return str(key) if type(key) is int else plain_name(key)


def _printable(text: str) -> str:
    return text[:100].encode("ascii", "backslashreplace").decode().replace("\n", "\\n")


def _opcode_name(code: int) -> str:
    names = (known.name for known in pickletools.opcodes if known.code == chr(code))
    return next(names, f"0x{code:02x}")


def _take_sized(m: Machine, form: str) -> memoryview:
    return m.take(m.number(form))


def _add_items(m: Machine) -> None:
    values = [_plain(value) for value in m.pop_to_mark()]
    m.top(set).update(values)


def _append(m: Machine) -> None:
    value = m.pop()
    m.top(list).append(value)


def _appends(m: Machine) -> None:
    values = m.pop_to_mark()
    m.top(list).extend(values)


def _set_item(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.set_items([key, value])


def _set_items(m: Machine) -> None:
    pairs = m.pop_to_mark()
    m.set_items(pairs)


def _tuple_of(count: int) -> Callable[[Machine], None]:
    return lambda m: m.push(tuple(reversed([m.pop() for _ in range(count)])))


def _stack_global(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    m.push_name(module, name)


def _check_protocol(m: Machine) -> None:
    protocol = m.number("<B")
    if not 2 <= protocol <= 5:
        raise Refused(f"its pickle is of protocol {protocol}, expected 2 to 5")


STOP = ord(".")
# By the opcodes' names in Python's pickletools; text opcodes (protocols 0 and 1), extensions and class instances are
# left out.
_BY_NAME: dict[str, Callable[[Machine], Any]] = {
    "PROTO": _check_protocol,
    "FRAME": lambda m: m.take(8),
    "MARK": Machine.push_mark,
    "POP": Machine.pop,
    "POP_MARK": Machine.pop_to_mark,
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "BININT": lambda m: m.push(m.number("<i")),
    "BININT1": lambda m: m.push(m.number("<B")),
    "BININT2": lambda m: m.push(m.number("<H")),
    "LONG1": lambda m: m.push(m.integer(m.number("<B"))),
    "BINFLOAT": lambda m: m.push(m.number(">d")),
    "SHORT_BINUNICODE": lambda m: m.push(m.words(m.number("<B"))),
    "BINUNICODE": lambda m: m.push(m.words(m.number("<I"))),
    "BINUNICODE8": lambda m: m.push(m.words(m.number("<Q"))),
    "SHORT_BINBYTES": lambda m: m.push(_take_sized(m, "<B")),
    "BINBYTES": lambda m: m.push(_take_sized(m, "<I")),
    "BINBYTES8": lambda m: m.push(_take_sized(m, "<Q")),
    "BYTEARRAY8": lambda m: m.push(_take_sized(m, "<Q")),
    "EMPTY_LIST": lambda m: m.push([]),
    "APPEND": _append,
    "APPENDS": _appends,
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE": lambda m: m.push(tuple(m.pop_to_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "EMPTY_DICT": lambda m: m.push({}),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "EMPTY_SET": lambda m: m.push(set()),
    "ADDITEMS": _add_items,
    "BINPUT": lambda m: m.remember(m.number("<B")),
    "LONG_BINPUT": lambda m: m.remember(m.number("<I")),
    "MEMOIZE": lambda m: m.remember(len(m.memo)),
    "BINGET": lambda m: m.recall(m.number("<B")),
    "LONG_BINGET": lambda m: m.recall(m.number("<I")),
    "GLOBAL": lambda m: m.push_name(m.line(), m.line()),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": Machine.call,
    "NEWOBJ": Machine.call,
    "BUILD": Machine.build,
    "BINPERSID": Machine.push_stored,
}
OPERATIONS = {ord(op.code): _BY_NAME[op.name] for op in pickletools.opcodes if op.name in _BY_NAME}
