"""Run compiled functions on torch's own thread pool (GNU OpenMP), without the Python interpreter; numba must be there.

Threads started from Python wait for the interpreter's lock and for a free processor: torch's OpenMP threads keep
theirs busy for a while after each operation, ready for the next one. Running on those threads avoids both waits.
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
_QUERY = ir.FunctionType(_INT, [])
#: number of items, items per part, number of threads; addresses of GOMP_parallel, omp_get_thread_num and
#: omp_get_num_threads
SCHEDULE = types.UniTuple(types.int64, 6)


@intrinsic
def in_thread_pool(typing: Any, work: Any, arguments: Any, schedule: Any) -> tuple[Any, Callable[..., Any]]:
    """Call work(*arguments, begin, end) for every part of 0 … count on the thread pool; return whether a call failed.

    work: a compiled function without a result. arguments: a tuple. schedule: see `SCHEDULE`.
    """
    signature = work.get_call_type(typing, (*arguments.types, types.int64, types.int64), {})
    compiled = work.dispatcher.get_compile_result(signature)

    def write(context: Any, builder: Any, _: Any, values: Any) -> Any:
        """Write the call of GOMP_parallel, and return the flag of a failure."""
        context.active_code_library.add_linking_library(compiled.library)
        given, (count, part, threads, *addresses) = values[1], cgutils.unpack_tuple(builder, values[2], 6)
        kinds = [given.type, _LONG, _LONG, _LONG, _LONG, _INT]
        held = cgutils.alloca_once(builder, ir.LiteralStructType(kinds))
        for place, value in enumerate((given, count, part, *addresses[1:], _INT(0))):
            builder.store(value, cgutils.gep_inbounds(builder, held, 0, place))
        body = _body(context, builder.module, held.type, compiled.fndesc, signature)
        start = builder.inttoptr(addresses[0], _START.as_pointer())
        builder.call(start, [body, builder.bitcast(held, _POINTER), builder.trunc(threads, _INT), _INT(0)])
        failed = builder.load(cgutils.gep_inbounds(builder, held, 0, len(kinds) - 1))
        return builder.icmp_unsigned("!=", failed, _INT(0))

    return types.boolean(work, arguments, SCHEDULE), write


def _body(context: Any, module: Any, held_type: Any, work: Any, signature: Any) -> Any:
    """Build the function of each thread: part `thread`, then every `threads`-th part after it."""
    body = ir.Function(module, _BODY, name=module.get_unique_name("parallel_for"))
    body.linkage = "internal"
    b = ir.IRBuilder(body.append_basic_block("entry"))
    held = b.bitcast(body.args[0], held_type)
    places = [cgutils.gep_inbounds(b, held, 0, k) for k in range(6)]
    given, count, part, *queries = (b.load(place) for place in places[:5])
    thread, threads = (b.zext(b.call(b.inttoptr(q, _QUERY.as_pointer()), []), _LONG) for q in queries)
    first, stride = b.mul(thread, part), b.mul(threads, part)
    with cgutils.for_range_slice(b, first, count, stride, _LONG) as (begin, _):
        end = b.add(begin, part)
        end = b.select(b.icmp_signed("<", end, count), end, count)
        arguments = [*cgutils.unpack_tuple(b, given), begin, end]
        status, _ = context.call_internal_no_propagate(b, work, signature, arguments)
        with cgutils.if_unlikely(b, status.is_error):
            b.store(_INT(1), places[5])
    b.ret_void()
    return body
