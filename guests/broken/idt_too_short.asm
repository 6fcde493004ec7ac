; ---
; about = "a division by zero, and an IDT whose limit covers no gate"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IDT entry 0 lies beyond the IDT's limit 0x1",
;   "#DE at 0x100080",
; ]
; ---
;
; The mistake: the limit of IDTR is given as the number of gates. It is the offset of the table's last
; byte: 16 times the number of gates, less one (SDM 3A 7.10).
;
; What the processor does: a gate that is not wholly within the limit is #GP, and its error code names
; the gate. #DE and #GP are both contributory: double fault at once (SDM 3A table 7-5), and gate 8 is
; beyond the limit too.

%include "include/idt64.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        lidt    [wrong_pointer]
        xor     ecx, ecx
        AT      0x100080
        div     ecx

on_divide_error:
        hlt                             ; never comes here

wrong_pointer:
        dw      1                       ; one gate, but that is not what a limit is
        dq      idt

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_DE, on_divide_error
        IDT64_END

        section .bss
        resb    512
stack_top:
