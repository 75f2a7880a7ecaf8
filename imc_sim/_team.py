"""Compiled work on the threads of torch's own OpenMP team, without the interpreter; numba must be there.

A thread that Python starts has to wait for the interpreter's lock, and for a processor that torch's threads leave: they
turn in a loop after each operation, so as to be there at once for the next. So this work is given to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE, _INT, _LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = _BYTE.as_pointer()
_BODY = ir.FunctionType(ir.VoidType(), [_POINTER])
_START = ir.FunctionType(ir.VoidType(), [_BODY.as_pointer(), _POINTER, _INT, _INT])
_ASK = ir.FunctionType(_INT, [])
#: count of what is shared out, how many make a part, threads; addresses of GOMP_parallel, omp_get_thread_num and
#: omp_get_num_threads
ORDER = types.UniTuple(types.int64, 6)


@intrinsic
def by_team(typing: Any, work: Any, arguments: Any, order: Any) -> tuple[Any, Callable[..., Any]]:
    """work(*arguments, begin, end) for every part of 0 … count, each on a thread of the team; whether one failed.

    work is compiled and gives nothing back; arguments is a tuple, order as `ORDER`.
    """
    signature = work.get_call_type(typing, (*arguments.types, types.int64, types.int64), {})
    compiled = work.dispatcher.get_compile_result(signature)

    def write(context: Any, builder: Any, _: Any, values: Any) -> Any:
        context.active_code_library.add_linking_library(compiled.library)
        given, (count, part, threads, *addresses) = values[1], cgutils.unpack_tuple(builder, values[2], 6)
        kinds = [given.type, _LONG, _LONG, _LONG, _LONG, _INT]
        held = cgutils.alloca_once(builder, ir.LiteralStructType(kinds))
        for place, value in enumerate((given, count, part, *addresses[1:], _INT(0))):
            builder.store(value, cgutils.gep_inbounds(builder, held, 0, place))
        body = _body(context, builder.module, held.type, compiled.fndesc, signature)
        start = builder.inttoptr(addresses[0], _START.as_pointer())
        team = builder.trunc(threads, _INT)
        builder.call(start, [body, builder.bitcast(held, _POINTER), team, _INT(0)])
        failed = builder.load(cgutils.gep_inbounds(builder, held, 0, len(kinds) - 1))
        return builder.icmp_unsigned("!=", failed, _INT(0))

    return types.boolean(work, arguments, ORDER), write


def _body(context: Any, module: Any, held_type: Any, work: Any, signature: Any) -> Any:
    """What each thread does: its parts, one team's size after the other."""
    body = ir.Function(module, _BODY, name=module.get_unique_name("share"))
    body.linkage = "internal"
    b = ir.IRBuilder(body.append_basic_block("entry"))
    held = b.bitcast(body.args[0], held_type)
    places = [cgutils.gep_inbounds(b, held, 0, k) for k in range(6)]
    given, count, part, *ask = (b.load(place) for place in places[:5])
    number, size = (b.zext(b.call(b.inttoptr(a, _ASK.as_pointer()), []), _LONG) for a in ask)
    first, stride = b.mul(number, part), b.mul(size, part)
    with cgutils.for_range_slice(b, first, count, stride, _LONG) as (begin, _):
        end = b.add(begin, part)
        end = b.select(b.icmp_signed("<", end, count), end, count)
        arguments = [*cgutils.unpack_tuple(b, given), begin, end]
        status, _ = context.call_internal_no_propagate(b, work, signature, arguments)
        with cgutils.if_unlikely(b, status.is_error):
            b.store(_INT(1), places[5])
    b.ret_void()
    return body
