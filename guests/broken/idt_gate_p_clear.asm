; ---
; about = "gates with all they need but the P bit"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "delivering #UD failed: IDT entry 6 at 0x101060 is not present (P=0)",
;   "IDT entry 11 at 0x1010b0 is not present (P=0)",
;   "IDT entry 8 at 0x101080 is not present (P=0)",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: the gates' attributes are 0x0e, the type of an interrupt gate, and not 0x8e.
;
; What the processor does: a gate of a right type whose P bit is clear is #NP, and its error code names the
; gate (SDM 3A 7.15 "Interrupt 11"). #UD is benign, so this is not yet a double fault: #NP is delivered as
; any other exception. Its own gate is not present either: #NP in a #NP is #DF (SDM 3A table 7-5), and the
; gate of that is the third of the kind. Four exceptions of two bytes: #UD, #NP, #NP, #DF.

%include "include/idt64.inc"

VECTOR_NP equ   11

%macro  ABSENT_GATE 2                   ; vector, handler
        times   (%1) * 16 - ($ - idt) db 0
        dw      ADDRESS(%2) & 0xffff
        dw      CODE64
        db      0
        db      0x0e                    ; 64-bit interrupt gate; 0x80 would say that it is present
        dw      (ADDRESS(%2) >> 16) & 0xffff
        dd      ADDRESS(%2) >> 32
        dd      0
%endmacro

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
        ABSENT_GATE VECTOR_UD, on_exception
        ABSENT_GATE VECTOR_DF, on_exception
        ABSENT_GATE VECTOR_NP, on_exception
        IDT64_END

        section .bss
        resb    512
stack_top:
