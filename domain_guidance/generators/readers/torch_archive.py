"""What torch.save writes, in both of its forms, read without torch.load.

torch.load(weights_only=True) runs no code either, but it accepts tensors larger than their storage, inflates what is
packed, and before PyTorch 2.6 could be made to run code after all. Here a tensor is a view of bytes that the file
really has.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import Refused
from .budget import Budget
from .pickle_machine import MAX_NAME, Machine, Name
from .stored import DTYPES, Storage, is_count, rebuild_parameter, rebuild_tensor

ZIP_START, ZIP_ENTRY = b"PK\x03\x04", b"PK\x01\x02"
MAX_ENTRIES = 20_000
# The pickle of torch.save's magic number, with which its older form begins.
LEGACY_START = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

Table = Mapping[str, Callable[[tuple], Any]]


def plain_dict(arguments: tuple) -> dict:
    """For dict and its kin, which pickles make empty and fill afterwards."""
    if arguments:
        raise Refused("it makes a dict in a way that pickles of weights do not")
    return {}


def _storage_itself(arguments: tuple) -> None:
    raise Refused("it makes a storage out of nothing")


TENSORS: Table = {
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "collections.OrderedDict": plain_dict,
    **{f"torch.{kind}": _storage_itself for kind in DTYPES},
}


def read_zip(path: Path, data: memoryview, table: Table, budget: Budget, forbidden: Callable[[str], None]) -> Any:
    """The object in a file of the present form, a zip archive whose entries are stored as they are."""
    records = _records(path, data)
    root = next(
        (name.removesuffix("data.pkl") for name in records if name.count("/") == 1 and name.endswith("/data.pkl")), None
    )
    if root is None:
        raise Refused("it is a zip archive that PyTorch did not write: unpack it and give the generator's file itself")
    records = {name.removeprefix(root): record for name, record in records.items()}
    if records.get("byteorder", b"little") != b"little":
        raise Refused("its numbers are big-endian: save it again on a little-endian machine")

    def storage(identity: Any) -> Storage:
        found = _announced(identity, 5)
        record = records.get(f"data/{identity[2]}")
        if record is None:
            raise Refused("the data of one of its tensors are missing: copy or download it again")
        found.fill(record)
        return found

    return Machine(records["data.pkl"], table, budget, storage, forbidden).load()


def read_legacy(data: memoryview, table: Table, budget: Budget, forbidden: Callable[[str], None]) -> Any:
    """The object in a file of the older form: five pickles, then the storages' bytes."""
    storages: dict[str, Storage] = {}

    def storage(identity: Any) -> Storage:
        found = _announced(identity, 6)
        return storages.setdefault(identity[2], found)

    position = len(LEGACY_START)
    parts = []
    for _ in ("protocol", "system", "object", "keys"):
        machine = Machine(data, table, budget, storage, forbidden, position)
        parts.append(machine.load())
        position = machine.position
    protocol, system, whole, keys = parts
    if (
        protocol != 1001
        or not isinstance(system, dict)
        or system.get("little_endian") is not True
        or not isinstance(keys, list)
    ):
        raise Refused("it is not of the form that PyTorch writes: save it again with torch.save")
    _fill(storages, keys, data[position:])
    return whole


def load_from_bytes(budget: Budget, arguments: tuple) -> Storage:
    """For torch.storage._load_from_bytes: a file of the older form inside of a pickle, with one storage in it.

    budget: that of the whole file.
    """
    if len(arguments) != 1 or not isinstance(arguments[0], memoryview):
        raise Refused("it loads a storage from something other than bytes")
    data = arguments[0]
    if data[: len(LEGACY_START)] != LEGACY_START:
        raise Refused("a storage inside of it is not of the form that PyTorch puts there")
    storage = read_legacy(data, TENSORS, budget, lambda name: None)
    if not isinstance(storage, Storage):
        raise Refused("a storage inside of it is something else")
    return storage


def _announced(identity: Any, length: int) -> Storage:
    if (
        not isinstance(identity, tuple)
        or len(identity) != length
        or identity[0] != "storage"
        or identity[5:] not in ((), (None,))
    ):
        raise Refused("it refers to data in a way that PyTorch does not")
    _, kind, key, _, count = identity[:5]
    if not isinstance(kind, Name) or not isinstance(key, str) or len(key) > MAX_NAME or not is_count(count):
        raise Refused("it announces a storage that PyTorch would not write")
    dtype = DTYPES.get(kind.full.removeprefix("torch."))
    if dtype is None:
        raise Refused("it announces a storage of something other than numbers")
    return Storage(dtype, count)


def _fill(storages: Mapping[str, Storage], keys: list, data: memoryview) -> None:
    for key in keys:
        if not isinstance(key, str) or key not in storages or storages[key].data is not None:
            raise Refused("it holds data that nothing in it refers to")
        storage = storages[key]
        size = storage.count * storage.dtype.itemsize
        if len(data) < 8 + size or struct.unpack("<q", data[:8])[0] != storage.count:
            raise Refused("it is cut off, or its data are not as long as it says: copy or download it again")
        storage.fill(data[8 : 8 + size])
        data = data[8 + size :]


def _records(path: Path, data: memoryview) -> dict[str, memoryview]:
    if len(list(islice(re.finditer(re.escape(ZIP_ENTRY), data), MAX_ENTRIES + 1))) > MAX_ENTRIES:
        raise Refused(f"its archive has more than {MAX_ENTRIES:,} entries")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError) as error:
        raise Refused("its archive is damaged or cut off: copy or download it again") from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise Refused("it is a TorchScript program and not a file of weights: save its weights with torch.save")
    records = {entry.filename: _record(entry, data) for entry in entries}
    if len(records) != len(entries):
        raise Refused("its archive holds one name twice")
    return records


def _record(entry: zipfile.ZipInfo, data: memoryview) -> memoryview:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise Refused("its archive is packed, and PyTorch never packs: save it again with torch.save")
    start = entry.header_offset + 30
    if not 0 <= start <= len(data) or data[start - 30 : start - 26] != ZIP_START:
        raise Refused("its archive is damaged or cut off: copy or download it again")
    start += sum(struct.unpack("<HH", data[start - 4 : start]))
    if start + entry.file_size > len(data):
        raise Refused("its archive is damaged or cut off: copy or download it again")
    return data[start : start + entry.file_size]
