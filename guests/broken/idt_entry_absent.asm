; ---
; about = "an exception whose gate was never filled, in an IDT that is good for interrupts"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IDT entry 6 at 0x101060 is not present (P=0)",
;   "IDT entry 13 at 0x1010d0 is not present (P=0)",
;   "IDT entry 8 at 0x101080 is not present (P=0)",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: the IDT has a gate for the timer, and none for exceptions.
;
; What the processor does: an entry that is all zero is not of a gate's type, and that is looked at before
; its P bit: #GP, whose error code names the entry (SDM 2A "INT n", 3A 7.13). #UD is benign, so this is
; not yet a double fault: the #GP is delivered as any other exception. That its entry is no gate either
; makes it #DF (SDM 3A table 7-5), and the third entry of the kind is the end.

%include "include/idt64.inc"

VECTOR_TIMER equ 0x20

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        AT      0x100080
        ud2

on_timer:
        iretq

        GDT64
        AT      0x101000
        IDT64_BEGIN
        VECTOR  VECTOR_TIMER, on_timer
        IDT64_END

        section .bss
        resb    512
stack_top:
