// Fibers: threads that hand the processor to one another when they say so, each on a stack of its own.
#pragma once
#include <stdlib.h>

extern "C" void switch_stack(void **save, void *load);

#if defined(__x86_64__)
asm(R"(
.text
.globl switch_stack
.type switch_stack, @function
switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
const int SAVED_WORDS = 6, RETURN_WORD = 6, FRAME_WORDS = 8;
#elif defined(__aarch64__)
asm(R"(
.text
.globl switch_stack
.type switch_stack, %function
switch_stack:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
const int SAVED_WORDS = 20, RETURN_WORD = 11, FRAME_WORDS = 20;
#else
#error "the emulator switches stacks on x86-64 and AArch64 only"
#endif

const size_t STACK_BYTES = 1 << 16;

// The stack pointer of a fiber that begins in `entry`, which must not return.
inline void *new_fiber(char *stack, void (*entry)()) {
  void **frame = (void **)(stack + STACK_BYTES) - FRAME_WORDS;
  for (int k = 0; k < FRAME_WORDS; ++k) frame[k] = nullptr;
  frame[RETURN_WORD] = (void *)entry;
  return frame;
}
