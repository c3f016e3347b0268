"""The native code around the basic blocks: how translated code is entered and left, and how it goes from region to region.

A region is one function. It loads the registers from an array, jumps to the basic block at pc, and stores them back when it leaves. `run`
calls one region after the other. Both exchange the machine with Python through that array.
"""

from opml_min.machine.translator.basic_blocks import block_ir, instructions_of
from opml_min.machine.translator.control_flow import Region
from opml_min.machine.translator.loops import Loop, call_ir, declaration_ir, function_ir, loop_at
from opml_min.memory_map import ENTRY, MEMORY_BYTES, PAGE_BYTES, PROGRAM_BYTES

# Elements of the array through which native code and Python exchange a machine: x0 … x31, then these.
PC, BUDGET, RECORD_WRITE, CONTROL, STATE_WORDS = 32, 33, 34, 35, 36
LEAVE, INTERPRET = 0, 1  # what a region returns: go on at pc, wherever that is; or let the interpreter take at least one step there
LOCALS = [*(f"x{i}" for i in range(1, 32)), "pc", "budget"]
HOME = {f"x{i}": i for i in range(32)} | {"pc": PC, "budget": BUDGET}


def loops_of(region: Region) -> list[Loop]:
    """The basic blocks of which many iterations can be executed at once."""
    found = (loop_at(region, first, instructions_of(region, first)) for first in sorted(region.leaders))
    return [loop for loop in found if loop is not None]


def region_ir(region: Region) -> str:
    """The module with `i64 region(state, memory, flags)`, which returns LEAVE or INTERPRET."""
    loops = {loop.first: loop for loop in loops_of(region)}
    variables = "\n".join(f"  %{name} = alloca i64" for name in LOCALS)
    homes = "\n".join(f"  %{name}.home = getelementptr i64, ptr %state, i64 {HOME[name]}" for name in LOCALS)
    fill = "\n".join(f"  %{name}.in = load i64, ptr %{name}.home\n  store i64 %{name}.in, ptr %{name}" for name in LOCALS)
    spill = "\n".join(f"  %{name}.out = load i64, ptr %{name}\n  store i64 %{name}.out, ptr %{name}.home" for name in LOCALS)
    cases = " ".join(f"i64 {index}, label %block{index}" for index in sorted(region.entries))
    blocks: list[str] = []
    for first in sorted(region.leaders):
        if first in loops:
            blocks += call_ir(loops[first])
        blocks += block_ir(region, first, instructions_of(region, first), f"checked{first}" if first in loops else f"block{first}")
    functions = "\n".join(function_ir(loop) if loop.counter is None else declaration_ir(loop) for loop in loops.values())
    text = "\n".join(blocks)
    return f"""
{functions}
declare i64 @llvm.fshr.i64(i64, i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
define i64 @region(ptr noalias %state, ptr noalias %memory, ptr noalias %flags) "no-builtins" {{
{variables}
  %results = alloca [{len(LOCALS)} x i64]
{homes}
  %record_write.home = getelementptr i64, ptr %state, i64 {RECORD_WRITE}
  %record_write = load ptr, ptr %record_write.home
  %control.home = getelementptr i64, ptr %state, i64 {CONTROL}
  %control = load ptr, ptr %control.home
{fill}
  br label %dispatch
dispatch:
  %target = load i64, ptr %pc
  %offset = sub i64 %target, {region.start}
  %index = call i64 @llvm.fshr.i64(i64 %offset, i64 %offset, i64 2)
  switch i64 %index, label %leave [ {cases} ]
leave:
  br label %out
interpret:
  br label %out
out:
  %result = phi i64 [ {LEAVE}, %leave ], [ {INTERPRET}, %interpret ]
{spill}
  ret i64 %result
{text}
}}
!0 = !{{!"branch_weights", i32 1, i32 100000}}
!1 = !{{!"branch_weights", i32 100000, i32 1}}
"""


def loops_ir(region: Region) -> str:
    """The module of the loops' functions that get LLVM's whole pipeline: of the loops whose number of iterations is known beforehand."""
    return "\n".join(function_ir(loop) for loop in loops_of(region) if loop.counter is not None)


def run_ir() -> str:
    """The module with `record_write`, the slow path of a store, and `run`, which goes from region to region.

    `run(state, memory, flags, entry_points)` returns LEAVE when there is no entry at pc, and INTERPRET when a region does.
    `entry_points[i]` is the code of the region that has an entry at ENTRY + 4i, or null.
    """
    return f"""
declare i64 @llvm.fshr.i64(i64, i64, i64)
define internal void @flag(ptr %control, ptr %flags, i64 %page) noinline {{
  %place = getelementptr i8, ptr %flags, i64 %page
  %flag = load i8, ptr %place
  %new = icmp eq i8 %flag, 0
  br i1 %new, label %append, label %done
append:
  store i8 1, ptr %place
  %length = load i64, ptr %control
  %list.home = getelementptr i64, ptr %control, i64 1
  %list = load ptr, ptr %list.home
  %end = getelementptr i64, ptr %list, i64 %length
  store i64 %page, ptr %end
  %more = add i64 %length, 1
  store i64 %more, ptr %control
  br label %done
done:
  ret void
}}
define preserve_mostcc i1 @record_write(ptr %control, ptr %flags, i64 %address, i64 %size) {{
  %most = sub i64 {MEMORY_BYTES}, %size
  %outside = icmp ugt i64 %address, %most
  %end = add i64 %address, %size
  %after = icmp ugt i64 %end, {ENTRY}
  %before = icmp ult i64 %address, {2 * ENTRY}
  %model = and i1 %after, %before
  %bad = or i1 %outside, %model
  br i1 %bad, label %refuse, label %accept
refuse:
  ret i1 false
accept:
  %first = lshr i64 %address, {PAGE_BYTES.bit_length() - 1}
  %last = sub i64 %end, 1
  %second = lshr i64 %last, {PAGE_BYTES.bit_length() - 1}
  call void @flag(ptr %control, ptr %flags, i64 %first)
  call void @flag(ptr %control, ptr %flags, i64 %second)
  ret i1 true
}}
define i64 @record_write_address() {{
  %address = ptrtoint ptr @record_write to i64
  ret i64 %address
}}
define i64 @run(ptr %state, ptr %memory, ptr %flags, ptr %entry_points) {{
entry:
  %pc.home = getelementptr i64, ptr %state, i64 {PC}
  br label %next
next:
  %pc = load i64, ptr %pc.home
  %offset = sub i64 %pc, {ENTRY}
  %index = call i64 @llvm.fshr.i64(i64 %offset, i64 %offset, i64 2)
  %in_text = icmp ult i64 %index, {PROGRAM_BYTES // 4}
  br i1 %in_text, label %look, label %done
look:
  %place = getelementptr ptr, ptr %entry_points, i64 %index
  %region = load ptr, ptr %place
  %missing = icmp eq ptr %region, null
  br i1 %missing, label %done, label %call
call:
  %result = call i64 %region(ptr %state, ptr %memory, ptr %flags)
  %go_on = icmp eq i64 %result, {LEAVE}
  br i1 %go_on, label %next, label %done
done:
  %reason = phi i64 [ {LEAVE}, %next ], [ {LEAVE}, %look ], [ {INTERPRET}, %call ]
  ret i64 %reason
}}
"""
