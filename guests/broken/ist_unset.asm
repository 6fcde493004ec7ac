; ---
; about = "a gate with a stack of its own, which the TSS has not"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IST1 in the TSS at 0x102038 is 0x0",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: the gate asks for entry 1 of the interrupt stack table, but nobody has put a stack there.
;
; What the processor does: it takes RSP from IST1 in the TSS without a look (SDM 3A 7.14.5), that is 0,
; and pushes the frame below it, at the very end of the address space. That is not mapped: #PF, for
; which there is no gate.

%include "include/idt64.inc"
%include "include/ring3.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, kernel_stack
        LOAD_GDT64
        LOAD_IDT64
        LOAD_TSS
        AT      0x100080
        ud2

on_invalid_opcode:
        hlt                             ; never comes here

        AT      0x101000
        IDT64_BEGIN
        GATE    VECTOR_UD, on_invalid_opcode, CODE64, 1
        IDT64_END

        AT      0x102000
        GDT64_WITH_RING3                ; the TSS follows at 0x102038, IST1 is 36 bytes into it

        section .bss
        resb    512
kernel_stack:
