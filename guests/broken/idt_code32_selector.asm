; ---
; about = "a gate that names a 32-bit code segment, left over from the climb to long mode"
; needs = ["delivery-checks"]
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IDT entry 6 names selector 0x18, which is not a 64-bit code segment",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: the GDT still has the code segment that protected mode needed on the way, and the gates
; name that one.
;
; What the processor does: a handler in long mode is 64-bit code, always. A code segment without the L
; bit is #GP with that selector as error code (SDM 3A 7.14.1, 7.15 "Interrupt 13").

%include "include/idt64.inc"

CODE32  equ     0x18

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        AT      0x100080
        ud2

on_exception:
        hlt                             ; never comes here

        align   8
gdt:    dq      0
        dq      DESCRIPTOR_CODE64
        dq      DESCRIPTOR_DATA64
        dq      0x00cf9b000000ffff      ; present, ring 0, execute/read, D and not L: 32-bit
gdt_end:

        AT      0x101000
        IDT64_BEGIN
        GATE    VECTOR_UD, on_exception, CODE32, 0
        GATE    VECTOR_DF, on_exception, CODE32, 0
        GATE    VECTOR_GP, on_exception, CODE32, 0
        IDT64_END

        section .bss
        resb    512
stack_top:
