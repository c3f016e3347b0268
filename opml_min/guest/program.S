# Start of a program that is linked with program.ld: main(a0) on a stack in scratch; what it returns is the exit code.
# A stack that the environment provides is kept: user-mode emulators then run the same file.
    .section .text.start, "ax"
    .globl _start
_start:
    bnez    sp, 1f
    la      sp, stack_top
1:  call    main
    li      a7, 93
    ecall
