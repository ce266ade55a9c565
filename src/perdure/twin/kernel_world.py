"""How compiled code sees a `World`: as one address, behind which lie the addresses and sizes of its arrays.

Passing forty arrays by value to a hundred functions would take numba minutes to compile and every call
hundreds of stores. This is the one place that knows numba's inside.
"""

from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate
from numba.np.numpy_support import from_dtype

from perdure.twin.kernel_arrays import FIELDS, World

_extending = cast(Any, extending)


class WorldType(types.Type):
    """The type of a `World`; there is one."""

    def __init__(self) -> None:
        super().__init__(name="World")


WORLD = WorldType()
TYPES: dict[str, Any] = {
    name: types.Array(from_dtype(np.dtype(kind)), dimensions, "C")
    for name, (kind, dimensions) in FIELDS.items()
}


def _places() -> dict[str, int]:
    """Where the words of each array begin."""
    places: dict[str, int] = {}
    count = 0
    for name, (_, dimensions) in FIELDS.items():
        places[name] = count
        count += 1 + dimensions
    return places


PLACES = _places()


@_extending.register_model(WorldType)
class WorldModel(models.PrimitiveModel):
    """A number: the address of the table of addresses."""

    def __init__(self, manager: Any, kind: WorldType) -> None:
        super().__init__(manager, kind, ir.IntType(64))


@_extending.typeof_impl.register(World)
def type_of_world(value: World, context: Any) -> WorldType:
    """Every world is of the one type."""
    return WORLD


@_extending.unbox(WorldType)
def unbox_world(kind: WorldType, value: Any, context: Any) -> Any:
    """The address of its table of addresses. Whoever calls keeps the world alive meanwhile."""
    addresses = context.pyapi.object_getattr_string(value, "addresses")
    native = context.unbox(types.Array(types.int64, 1, "C"), addresses)
    array = context.context.make_array(types.Array(types.int64, 1, "C"))(
        context.context, context.builder, native.value
    )
    address = context.builder.ptrtoint(array.data, ir.IntType(64))
    context.pyapi.decref(addresses)
    return _extending.NativeValue(address, is_error=native.is_error, cleanup=native.cleanup)


@_extending.infer_getattr
class WorldAttributes(AttributeTemplate):
    """What a world has."""

    key = WorldType

    def generic_resolve(self, world: WorldType, name: str) -> Any:
        """The type of one of its arrays."""
        return TYPES.get(name)


@_extending.lower_getattr_generic(WorldType)
def get_array(context: Any, builder: Any, kind: WorldType, value: Any, name: str) -> Any:
    """One of its arrays, borrowed: nobody counts who holds it."""
    array_type = TYPES[name]
    word = ir.IntType(64)
    table = builder.inttoptr(value, word.as_pointer())

    def read(place: int) -> Any:
        return builder.load(cgutils.gep_inbounds(builder, table, PLACES[name] + place))

    array = context.make_array(array_type)(context, builder)
    item_bytes = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
    if isinstance(array_type.dtype, types.Record):
        item_bytes = array_type.dtype.size
    shape = [read(1 + axis) for axis in range(array_type.ndim)]
    strides = [ir.Constant(word, item_bytes)]
    for size in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], size))
    data = builder.inttoptr(read(0), context.get_data_type(array_type.dtype).as_pointer())
    context.populate_array(
        array,
        data=data,
        shape=shape,
        strides=strides,
        itemsize=ir.Constant(word, item_bytes),
        meminfo=None,
        parent=None,
    )
    return array._getvalue()
