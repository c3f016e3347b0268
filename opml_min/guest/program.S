# Start of a program that is linked with program.ld: main(a0) on a stack in scratch; what it returns is the exit code.
    .section .text.start, "ax"
    .globl _start
_start:
    la      sp, stack_top
    call    main
    li      a7, 93
    ecall
