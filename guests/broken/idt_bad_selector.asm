; ---
; about = "a gate that names a selector beyond the GDT's limit"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IDT entry 6 names selector 0x38, which lies beyond the GDT's limit 0x17",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: the gates are taken from a system whose code segment is 0x38, as UEFI's is. This GDT has
; three entries.
;
; What the processor does: it loads CS from the gate before it calls the handler. A selector beyond the
; GDT's limit is #GP with that selector as error code (SDM 3A 7.15 "Interrupt 13"). The #GP has a gate
; of the same kind.

%include "include/idt64.inc"

UEFI_CODE equ   0x38

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
        GATE    VECTOR_UD, on_exception, UEFI_CODE, 0
        GATE    VECTOR_DF, on_exception, UEFI_CODE, 0
        GATE    VECTOR_GP, on_exception, UEFI_CODE, 0
        IDT64_END

        section .bss
        resb    512
stack_top:
