; ---
; about = "a gate that names a data segment"
; needs = ["delivery-checks"]
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IDT entry 6 names selector 0x10, which is not a code segment",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: code and data selector of the GDT are mixed up in the gates.
;
; What the processor does: the selector in a gate becomes CS. A descriptor that is not code is #GP with
; that selector as error code (SDM 3A 7.15 "Interrupt 13"), and that #GP has a gate of the same kind.

%include "include/idt64.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        AT      0x100080
        ud2

on_exception:
        hlt                             ; never comes here

        GDT64
        AT      0x101000
        IDT64_BEGIN
        GATE    VECTOR_UD, on_exception, DATA64, 0
        GATE    VECTOR_DF, on_exception, DATA64, 0
        GATE    VECTOR_GP, on_exception, DATA64, 0
        IDT64_END

        section .bss
        resb    512
stack_top:
