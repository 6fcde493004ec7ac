; ---
; about = "an exception with a good gate, and a stack pointer that leads nowhere"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "pushing the frame of #UD on the stack at 0xffff800000010000 failed: the PML4E at 0x9800 is not present (P=0)",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: RSP is set to a stack in the upper half before that is mapped. Nothing is pushed until
; the first exception, and so nobody notices.
;
; What the processor does: before a handler begins, five words go to the stack (SDM 3A 7.14.2). The push
; is #PF; pushing the frame of that is #PF again: double fault. Its gate has the same stack: triple fault.
; The way out is a stack of its own for #DF, by the interrupt stack table: guests/double_fault_stack.asm.

%include "include/idt64.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        mov     rsp, 0xffff800000010000
        AT      0x100080
        ud2

on_exception:
        hlt                             ; never comes here

        GDT64
        AT      0x101000
        IDT64_BEGIN
        VECTOR  VECTOR_UD, on_exception
        VECTOR  VECTOR_DF, on_exception
        VECTOR  VECTOR_PF, on_exception
        IDT64_END

        section .bss
        resb    512
stack_top:
