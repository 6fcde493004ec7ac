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
;   "IDT entry 11 at 0x1010b0 is not present (P=0)",
;   "IDT entry 8 at 0x101080 is not present (P=0): triple fault",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: the IDT has a gate for the timer, and none for exceptions.
;
; What the processor does: a gate that is not present is #NP, and its error code names the gate (SDM 3A
; 7.15 "Interrupt 11"). #UD is benign, so that is not yet a double fault: #NP is delivered as any other
; exception. That its gate is not present either makes it #DF (SDM 3A table 7-5), and the third gate that
; is not present is the end. So four vectors have a say: 6, 11, 11 again, and 8.

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
