; ---
; about = "a data segment is loaded with a selector beyond the GDT's limit"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#GP at 0x100080: selector 0x48 lies beyond the GDT's limit 0x17",
; ]
; ---
;
; The mistake: a selector of another kernel's GDT.
;
; What the processor does: loading a segment register reads the descriptor, and one beyond the GDT's
; limit is #GP with the selector as error code (SDM 3A 7.15 "Interrupt 13"). There is no IDT.

%include "include/gdt64.inc"
%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        mov     eax, 0x48
        AT      0x100080
        mov     ds, eax

        GDT64

        section .bss
        resb    512
stack_top:
