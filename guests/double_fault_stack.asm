; ---
; about = "a stack overflow becomes #DF, which has a stack of its own by the interrupt stack table, and can tell"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x0
; size = "2M"
; page = "2M"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0x201000                # the stack; the page below it is not mapped
; phys = 0x201000
; size = "4K"
; page = "4K"
; access = "rw"
; [expect]
; exits = ["out 0x3f8/1 <- \"#DF error 0x0000, the stack was at 0x00201000\\n\"", "hlt"]
; output = "#DF error 0x0000, the stack was at 0x00201000\n"
; stop = "halted"
; exit_code = 10
; ---
;
; The stack is used up to its last byte, and the next call is #PF. That can't be delivered: its frame
; would have to be pushed to the same stack. A #PF while a #PF is delivered is a double fault (SDM 3A
; 7.15 "Interrupt 8", table 7-5), whose gate names entry 1 of the interrupt stack table in the TSS: its
; frame goes to a good stack (SDM 3A 7.14.5). A system that has this can say what happened, where
; guests/broken/stack_overflow.asm ends in a triple fault.

%include "include/idt64.inc"
%include "include/ring3.inc"
%include "include/serial.inc"

STACK_TOP equ   0x202000
IST1    equ     36                      ; its place in the TSS (SDM 3A 9.7, figure 9-11)

        bits    64
        IMAGE_AT 0x100000

        mov     esp, STACK_TOP
        LOAD_GDT64
        LOAD_IDT64
        mov     qword [tss + IST1], emergency_stack
        LOAD_TSS
recurse:
        call    recurse

; On entry: [rsp] error code, which is always 0, +8 RIP, +16 CS, +24 RFLAGS, +32 RSP.
on_double_fault:
        PRINT   "#DF error 0x"
        mov     eax, [rsp]
        PRINT_HEX 4
        PRINT   ", the stack was at 0x"
        mov     eax, [rsp + 32]
        PRINT_HEX 8
        PRINT   10
        hlt

        USES_PRINT_HEX

        GDT64_WITH_RING3
        IDT64_BEGIN
        GATE    VECTOR_DF, on_double_fault, CODE64, 1
        VECTOR  VECTOR_PF, on_double_fault      ; never gets its frame onto the stack
        IDT64_END

kernel_stack equ STACK_TOP

        section .bss
        resb    512
emergency_stack:
