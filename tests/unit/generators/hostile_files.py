"""Files made to harm: pickles written opcode by opcode, archives written by hand.

`hostile(canary)` gives name, bytes and what the refusal must say. Whatever they run would remove `canary`.
"""

import io
import pickle
import struct
import zipfile

import torch

STOP = b"."
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + pickle.dumps(1001, 2)
SYSTEM = pickle.dumps(
    {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2
)


def proto(version):
    return b"\x80" + bytes([version])


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def integer(value):
    return b"J" + struct.pack("<i", value)


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def on_stack(module, name):
    return text(module) + text(name) + b"\x93"


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def call(function, *arguments):
    return function + tuple_of(*arguments) + b"R"


def pickled(*parts, version=4):
    """Long enough to count as a file."""
    return proto(version) + text("x" * 64) + b"0" + b"".join(parts) + STOP


def meta(**values):
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


RECONSTRUCT = named("torch_utils.persistence", "_reconstruct_persistent_obj")
TENSOR = named("torch._utils", "_rebuild_tensor_v2")
NETWORK = named("dnnlib.tflib.network", "Network")
OSG_DECODER = named("training.triplane", "OSGDecoder")
FROM_BYTES = named("torch.storage", "_load_from_bytes")
DTYPE = (
    call(named("numpy", "dtype"), text("f4"), b"\x89", b"\x88")
    + tuple_of(integer(3), text("<"), b"NNN", integer(-1), integer(-1), integer(0))
    + b"b"
)


def long_integer(value):
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def data_bytes(value):
    return b"B" + struct.pack("<I", len(value)) + value


def legacy(*parts, keys=("0",), data=struct.pack("<q", 2) + bytes(8)):
    return LEGACY + SYSTEM + proto(2) + b"".join(parts) + STOP + pickle.dumps(list(keys), 2) + data


def stored(count=2, kind="FloatStorage", key="0", module="torch"):
    return tuple_of(text("storage"), named(module, kind), text(key), text("cpu"), integer(count), b"N") + b"Q"


def tensor(storage, offset, shape, stride):
    axes = [b"(" + b"".join(map(integer, sizes)) + b"t" for sizes in (shape, stride)]
    return call(TENSOR, storage, integer(offset), *axes, b"\x89", call(named("collections", "OrderedDict")))


def in_g_ema(part):
    return b"}" + text("g_ema") + b"}" + text("style.1.weight") + part + b"ss"


def archive(pickle_bytes, compression=zipfile.ZIP_STORED, records=(("data/0", bytes(8)),), root="archive"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        zipped.writestr(f"{root}/data.pkl", pickle_bytes)
        for name, content in records:
            zipped.writestr(f"{root}/{name}", content)
    return file.getvalue()


def lying_offset(zipped):
    entry = zipped.index(b"PK\x01\x02")
    return zipped[: entry + 42] + struct.pack("<I", len(zipped) - 20) + zipped[entry + 46 :]


def zip_storage(count=2, key="0"):
    return tuple_of(text("storage"), named("torch", "FloatStorage"), text(key), text("cpu"), integer(count)) + b"Q"


def torch_saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def laughs(levels):
    """Each list holds the one before it ten times: ten to the power of `levels` once it is walked."""
    parts = [b"]q\x00"]
    for level in range(levels):
        parts.append(b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"eq" + bytes([level + 1]))
    return b"".join(parts)


def remembered(part, memo=100):
    return part + b"q" + bytes([memo]) + b"0"


def again(count, made):
    """What was remembered, used in the making of `count` things that all stay."""
    return b"](" + made(b"h\x64") * count + b"e"


def many(count, item):
    """`count` parts, each after a name of its own."""
    return b"(" + b"".join(text(f"{number}") + item for number in range(count))


def module_of(**state):
    return call(RECONSTRUCT, meta(type=text("class"), class_name=text("Layer"), state=meta(**state)))


def many_modules():
    """A network whose every layer is a deeper one ten times, through five levels."""
    parts = [module_of(_modules=meta()) + b"q\x000"]
    for level in range(5):
        again = {f"layer{number}": b"h" + bytes([level]) for number in range(10)}
        parts.append(module_of(_modules=meta(**again)) + b"q" + bytes([level + 1]) + b"0")
    return b"}" + text("G_ema") + b"".join(parts) + b"h\x05s"


def one_dict_in_many_layers():
    """A network of 100 layers that all have the same 300 tensors."""
    shared = remembered(b"}" + many(300, b"N") + b"u")
    layers = b"}(" + b"".join(text(f"{number}") + module_of(_parameters=b"h\x64") for number in range(100)) + b"u"
    return shared + b"}" + text("G_ema") + module_of(_modules=layers) + b"s"


def layers_of_long_names():
    network = module_of(_parameters=meta(weight=b"N"))
    for _ in range(2):
        network = module_of(_modules=meta(**{"a" * 150: network}))
    return b"}" + text("G_ema") + network + b"s"


def far_apart():
    """Each tensor has two numbers, from both ends of the same storage."""
    count = 10_000
    parts = b"".join(
        text(f"style.{number}.weight") + tensor(stored(count), 0, (2,), (count - 1,)) for number in range(1, 20)
    )
    return legacy(b"}" + text("g_ema") + b"}(" + parts + b"us", data=struct.pack("<q", count) + bytes(4 * count))


def network_of(variables):
    return NETWORK + b")\x81" + meta(variables=variables) + b"b"


def hostile(canary):
    remove = text(str(canary))
    plain = torch_saved({"g_ema": {"style.1.weight": torch.ones(4, 4)}})
    nested = io.BytesIO()
    torch.save(torch.ones(10).untyped_storage(), nested)
    twenty_thousand = struct.pack("<4s", b"PK\x01\x02") * 20_001
    return {
        # --- code, by every way that a pickle has to it
        "os-remove-2.pkl": (pickled(call(named("os", "remove"), remove), version=2), "'os.remove'"),
        "os-remove-4.pkl": (pickled(call(on_stack("os", "remove"), remove)), "'os.remove'"),
        "os-remove-5.pkl": (pickled(call(on_stack("os", "remove"), remove), version=5), "'os.remove'"),
        "posix-system.pkl": (pickled(call(named("posix", "system"), text("rm " + str(canary)))), "'posix.system'"),
        "eval.pkl": (pickled(call(named("builtins", "eval"), text("__import__('os')"))), "'builtins.eval'"),
        "getattr.pkl": (pickled(call(named("builtins", "getattr"), text("a"), text("b"))), "'builtins.getattr'"),
        "dotted-name.pkl": (
            pickled(call(on_stack("collections", "OrderedDict.__class__"), remove)),
            "'collections.OrderedDict.__class__'",
        ),
        "dotted-module.pkl": (
            pickled(call(on_stack("torch", "serialization.os.remove"), remove)),
            "'torch.serialization.os.remove'",
        ),
        "split-elsewhere.pkl": (
            pickled(call(on_stack("collections.OrderedDict", "fromkeys"), remove)),
            "'collections.OrderedDict.fromkeys'",
        ),
        "name-is-no-text.pkl": (pickled(text("os"), integer(3), b"\x93"), "that is not text"),
        "line-break-in-name.pkl": (pickled(on_stack("os\nremove", "x\ny")), r"os\\nremove.x\\ny"),
        "protocol-0.pkl": (
            b"cos\nremove\n(S'" + str(canary).encode() + b"'\ntR." + b" " * 64,
            "neither a PyTorch file nor a pickle",
        ),
        "protocol-0-inside.pkl": (
            pickled(b"cos\nremove\n(S'" + str(canary).encode() + b"'\ntR", version=2),
            "'os.remove'",
        ),
        "says-protocol-0.pkl": (pickled(b"N", version=0), "protocol 0"),
        "says-protocol-6.pkl": (pickled(b"N", version=6), "protocol 6"),
        "text-opcode.pkl": (pickled(b"S'a'\n"), "opcode STRING"),
        "inst.pkl": (pickled(b"(" + remove + b"ios\nremove\n"), "opcode INST"),
        "obj.pkl": (pickled(b"(" + named("collections", "OrderedDict") + b"o"), "opcode OBJ"),
        "extension.pkl": (pickled(b"\x82\x01"), "opcode EXT1"),
        "newobj-ex.pkl": (pickled(named("collections", "OrderedDict") + b")}\x92"), "opcode NEWOBJ_EX"),
        "text-persistent-id.pkl": (pickled(b"Pos.remove\n"), "opcode PERSID"),
        "persistent-id.pkl": (pickled(remove + b"Q"), "outside of itself"),
        "persistent-id-text.pt": (legacy(in_g_ema(text("storage") + b"Q")), "in a way that PyTorch does not"),
        "buffer.pkl": (pickled(b"\x97", version=5), "opcode NEXT_BUFFER"),
        "unknown-opcode.pkl": (pickled(b"\xfe"), "opcode 0xfe"),
        "calls-a-text.pkl": (pickled(text("os.remove"), tuple_of(remove), b"R"), "malformed"),
        "calls-a-dict.pkl": (pickled(b"}", tuple_of(remove), b"R"), "malformed"),
        "newobj-remove.pkl": (pickled(named("os", "remove"), tuple_of(remove), b"\x81"), "'os.remove'"),
        "builds-a-name.pkl": (
            pickled(RECONSTRUCT, meta(make=named("collections", "OrderedDict")), b"b"),
            "sets the state",
        ),
        "builds-a-tuple.pkl": (pickled(b")", b"}b"), "sets the state"),
        "builds-a-module.pkl": (pickled(module_of(), meta(__class__=text("x")), b"b"), "sets the state"),
        "appends-to-a-name.pkl": (
            pickled(named("collections", "OrderedDict"), remove, b"a"),
            "not a list, dict or set",
        ),
        "os-in-nested-storage.pkl": (
            pickled(call(FROM_BYTES, data_bytes(legacy(call(named("os", "remove"), remove))))),
            "'os.remove'",
        ),
        "plain-pickle-in-nested-storage.pkl": (
            pickled(call(FROM_BYTES, data_bytes(pickled(call(named("os", "remove"), remove))))),
            "not of the form",
        ),
        "os-in-checkpoint.pt": (archive(pickled(call(named("os", "remove"), remove), version=2)), "'os.remove'"),
        "os-in-old-checkpoint.pt": (legacy(call(named("os", "remove"), remove)), "'os.remove'"),
        "os-in-keys-of-old-checkpoint.pt": (
            LEGACY + SYSTEM + pickle.dumps({}, 2) + pickled(call(named("os", "remove"), remove)),
            "'os.remove'",
        ),
        "persistence-in-checkpoint.pt": (archive(pickled(module_of(), version=2)), "'torch_utils.persistence"),
        # --- memory and time
        "huge-memo-index.pkl": (pickled(b"Nr\xff\xff\xff\x7f"), "no averaged generator"),
        "missing-memo.pkl": (pickled(b"j\xff\xff\xff\x7f"), "not there"),
        "billion-laughs.pkl": (pickled(laughs(60)), "no averaged generator"),
        "deep-tuple-as-key.pkl": (pickled(b"})" + b"\x85" * 200_000 + b"Ns"), "nor a plain number"),
        "deep-tuple.pkl": (pickled(b")" + b"\x85" * 200_000), "no averaged generator"),
        "open-marks.pkl": (pickled(b"(" * 1000), "nests deeper"),
        "endless.pkl": (pickled(b"N0" * 300_000), "opcodes"),
        "colliding-keys.pkl": (pickled(b"}", long_integer(2**61 - 1) + b"Ns"), "no averaged generator"),
        "key-of-two-lines.pkl": (pickled(b"}" + text("a\nb") + b"Ns"), "neither a name"),
        "key-of-a-megabyte.pkl": (pickled(b"}" + text("a" * 2**20) + b"Ns"), "neither a name"),
        "much-text.pkl": (pickled((text("a" * 2**20) + b"0") * 33), "MiB of text"),
        "weights-twice.pt": (
            torch_saved({"g_ema": {f"{name}.bias": torch.ones(8) for name in ("conv1", "conv1.activate")}}),
            "appears twice",
        ),
        "text-without-end.pkl": (pickled(b"\x8d" + struct.pack("<Q", 2**62)), "text"),
        "bytes-without-end.pkl": (pickled(b"\x8e" + struct.pack("<Q", 2**62)), "cut off"),
        "many-nested-storages.pkl": (
            pickled(
                remembered(data_bytes(legacy(b"N0" * 50_000 + stored()))), again(8, lambda data: call(FROM_BYTES, data))
            ),
            "opcodes",
        ),
        "text-in-nested-storages.pkl": (
            pickled(
                remembered(data_bytes(legacy(text("a" * 2**20) + b"0" + stored()))),
                again(40, lambda data: call(FROM_BYTES, data)),
            ),
            "MiB of text",
        ),
        "one-list-in-many-sets.pkl": (
            pickled(
                remembered(b"]" + many(20_000, b"") + b"e"),
                again(2_000, lambda names: call(named("builtins", "set"), names)),
            ),
            "no averaged generator",
        ),
        "one-state-in-many-layers.pkl": (
            pickled(
                remembered(b"}" + many(20_000, b"N") + b"u"),
                again(4_000, lambda state: OSG_DECODER + b")\x81" + state + b"b"),
            ),
            "no averaged generator",
        ),
        "one-list-in-many-networks.pkl": (
            pickled(
                remembered(array((2,), bytes(8)), memo=99),
                remembered(b"]" + many(20_000, b"h\x63\x86") + b"e"),
                again(4_000, network_of),
            ),
            "no averaged generator",
        ),
        "layers-of-long-names.pkl": (pickled(layers_of_long_names()), "at most 200 characters"),
        "one-dict-in-many-layers.pkl": (pickled(one_dict_in_many_layers()), "more than 20,000 tensors"),
        "bytearray-without-end.pkl": (pickled(b"\x96" + struct.pack("<Q", 2**40), version=5), "cut off"),
        "module-in-itself.pkl": (
            pickled(b"}" + text("G_ema") + module_of(_modules=b"}q\x00") + b"q\x01h\x00" + text("a") + b"h\x01s0s"),
            "8 levels",
        ),
        "modules-of-modules.pkl": (pickled(many_modules()), "2,000 layers"),
        "integer-of-255-bytes.pkl": (pickled(long_integer(2**2030)), "64 bits"),
        "array-of-300-axes.pkl": (pickled(array((2,) * 300, bytes(8))), "without a shape"),
        "array-of-nothing.pkl": (
            pickled(
                tuple_of(b"N", b"N", network_of(b"](" + text("dlatent_avg") + array((2**39, 2**39, 0), b"") + b"\x86e"))
            ),
            "empty",
        ),
        "array-of-2-to-40.pkl": (pickled(array((2**39,), bytes(8))), "beyond the 2 numbers"),
        "tensor-beyond-storage.pt": (legacy(in_g_ema(tensor(stored(), 0, (3,), (1,)))), "beyond"),
        "offset-beyond-storage.pt": (legacy(in_g_ema(tensor(stored(), 1, (2,), (1,)))), "beyond"),
        "stride-beyond-storage.pt": (legacy(in_g_ema(tensor(stored(), 0, (2,), (2,)))), "beyond"),
        "negative-offset.pt": (legacy(in_g_ema(tensor(stored(), -1, (2,), (1,)))), "beyond"),
        "negative-stride.pt": (legacy(in_g_ema(tensor(stored(), 1, (2,), (-1,)))), "no tensor has"),
        "offset-is-text.pt": (
            legacy(
                in_g_ema(call(TENSOR, stored(), text("1"), tuple_of(integer(1)), tuple_of(integer(1)), b"\x89", b"N"))
            ),
            "beyond",
        ),
        "far-apart.pt": (far_apart(), "room for"),
        "stride-zero.pt": (legacy(in_g_ema(tensor(stored(), 0, (2**30,), (0,)))), "beyond"),
        "shape-stride-lengths.pt": (legacy(in_g_ema(tensor(stored(), 0, (2,), (1, 1)))), "beyond"),
        "storage-larger-than-file.pt": (legacy(in_g_ema(tensor(stored(2**30), 0, (2,), (1,)))), "cut off"),
        "storage-length-differs.pt": (
            legacy(in_g_ema(tensor(stored(), 0, (2,), (1,))), data=struct.pack("<q", 3) + bytes(12)),
            "cut off",
        ),
        "storage-without-data.pt": (legacy(in_g_ema(tensor(stored(), 0, (2,), (1,))), keys=()), "no data"),
        "storage-of-objects.pt": (
            legacy(in_g_ema(stored(kind="OrderedDict", module="collections"))),
            "something other than numbers",
        ),
        "zip-storage-larger.pt": (
            archive(pickled(in_g_ema(tensor(zip_storage(2**30), 0, (2,), (1,))), version=2)),
            "8 bytes where",
        ),
        "zip-storage-of-a-long-name.pt": (
            archive(
                pickled(in_g_ema(tensor(zip_storage(key="0" * 10_000), 0, (2,), (1,))), version=2),
                records=[("data/" + "0" * 10_000, bytes(8))],
            ),
            "would not write",
        ),
        "zip-storage-missing.pt": (
            archive(pickled(in_g_ema(tensor(zip_storage(), 0, (2,), (1,))), version=2), records=()),
            "missing",
        ),
        "zip-bomb.pt": (
            archive(pickled(b"}", version=2), zipfile.ZIP_DEFLATED, [("data/0", bytes(50_000_000))]),
            "packed",
        ),
        "zip-entry-bomb.pt": (plain + twenty_thousand, "entries"),
        "zip-in-nested-storage.pkl": (pickled(call(FROM_BYTES, data_bytes(nested.getvalue()))), "not of the form"),
        "zip-of-something-else.pt": (archive(b"hello", root="a/b"), "PyTorch did not write"),
        "zip-offset-lies.pt": (lying_offset(archive(pickled(b"}", version=2))), "damaged"),
        # --- forged stand-ins
        "scalar-of-no-dtype.pkl": (
            pickled(call(named("numpy.core.multiarray", "scalar"), text("f4"), data_bytes(bytes(4)))),
            "a NumPy scalar that is not a number",
        ),
        "scalar-of-objects.pkl": (
            pickled(call(named("numpy", "dtype"), text("O8"), b"\x89", b"\x88")),
            "other than plain numbers",
        ),
        "scalar-too-short.pkl": (
            pickled(call(named("numpy._core.multiarray", "scalar"), DTYPE, data_bytes(bytes(2)))),
            "has 2 bytes",
        ),
        "dtype-with-fields.pkl": (
            pickled(
                call(named("numpy", "dtype"), text("f4"), b"\x89", b"\x88"),
                tuple_of(integer(3), text("<"), b"N", text("a"), b"N"),
                b"b",
            ),
            "plain",
        ),
        "array-of-another-class.pkl": (
            pickled(
                call(
                    named("numpy.core.multiarray", "_reconstruct"),
                    named("collections", "OrderedDict"),
                    b")",
                    data_bytes(b"b"),
                )
            ),
            "other than an array",
        ),
        "array-directly.pkl": (pickled(call(named("numpy", "ndarray"), b")")), "a way that NumPy does not"),
        "array-shape-of-text.pkl": (pickled(array(None, bytes(8), shape_bytes=tuple_of(text("2")))), "without a shape"),
        "array-negative.pkl": (pickled(array((-2,), bytes(8))), "without a shape"),
        "module-without-state.pkl": (
            pickled(call(RECONSTRUCT, meta(class_name=text("G")))),
            "without class name and state",
        ),
        "module-of-nothing.pkl": (pickled(call(RECONSTRUCT)), "without class name and state"),
        "tensor-of-text.pkl": (pickled(call(TENSOR, text("a"), integer(0), b")", b")", b"\x89", b"N")), "no storage"),
        "parameter-of-text.pkl": (
            pickled(call(named("torch._utils", "_rebuild_parameter"), text("a"), b"\x89", b"N")),
            "no tensor",
        ),
        "bytes-of-text.pkl": (pickled(call(FROM_BYTES, text("a"))), "other than bytes"),
        "set-of-dicts.pkl": (pickled(call(named("builtins", "set"), b"]}a")), "no averaged generator"),
        "dict-from-arguments.pkl": (pickled(call(named("dnnlib.util", "EasyDict"), b"}")), "makes a dict"),
        "layer-is-text.pkl": (
            pickled(b"}" + text("G_ema") + module_of(_modules=meta(a=text("b"))) + b"s"),
            "layer 'a'",
        ),
        "parameter-is-text.pkl": (
            pickled(b"}" + text("G_ema") + module_of(_parameters=meta(a=text("b"))) + b"s"),
            "an entry 'a' among its tensors",
        ),
        "modules-are-text.pkl": (pickled(b"}" + text("G_ema") + module_of(_modules=text("a")) + b"s"), "not built as"),
        "network-state-is-text.pkl": (pickled(NETWORK + b")\x81" + text("a") + b"b"), "without a state"),
        "network-variables-are-text.pkl": (
            pickled(tuple_of(b"N", b"N", network_of(text("a")))),
            "no usable variables",
        ),
        # --- damaged
        "empty.pkl": (b"", "0 bytes"),
        "picture.pkl": (b"\x89PNG\r\n\x1a\n" + bytes(100), "neither a PyTorch file nor a pickle"),
        "page.pt": (b"<!DOCTYPE html><html>" + b" " * 100, "neither a PyTorch file nor a pickle"),
        "tar.pt": (b"storages" + bytes(249) + b"ustar" + bytes(300), "neither a PyTorch file nor a pickle"),
        "no-utf-8.pkl": (pickled(b"\x8c\x02\xff\xfe"), "UTF-8"),
        "no-stop.pkl": (pickled(b"N")[:-1], "cut off"),
        "empty-stack.pkl": (proto(4) + b"." + bytes(64), "malformed"),
        "mark-on-top.pkl": (pickled(b"("), "malformed"),
        "no-mark.pkl": (pickled(b"t"), "malformed"),
        "odd-items.pkl": (pickled(b"}(" + text("a") + b"u"), "without a value"),
        "nothing-to-remember.pkl": (proto(4) + b"\x94" + bytes(64), "nothing to remember"),
        "long-name.pkl": (pickled(named("a" * 300, "b")), "255"),
        "old-checkpoint-cut.pt": (legacy(in_g_ema(tensor(stored(), 0, (2,), (1,))))[:-3], "cut off"),
        "old-checkpoint-big-endian.pt": (
            LEGACY + pickle.dumps({"little_endian": False}, 2) + pickle.dumps({}, 2) + pickle.dumps([], 2) + bytes(64),
            "not of the form",
        ),
        "checkpoint-cut.pt": (plain[: len(plain) // 2], "damaged or cut off"),
        "checkpoint-start-cut.pt": (plain[:200], "damaged or cut off"),
        "checkpoint-of-a-list.pt": (torch_saved([1, 2]), "g_ema"),
    }


def array(shape, data, shape_bytes=None):
    shape_bytes = shape_bytes or b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", size) for size in shape) + b"t"
    empty = call(named("numpy.core.multiarray", "_reconstruct"), named("numpy", "ndarray"), b")", data_bytes(b"b"))
    return empty + tuple_of(integer(1), shape_bytes, DTYPE, b"\x89", data_bytes(data)) + b"b"
