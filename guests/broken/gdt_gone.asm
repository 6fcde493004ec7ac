; ---
; about = "the GDT is overwritten, and the next exception has no code segment"
; needs = ["delivery-checks"]
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IDT entry 6 names selector 0x8, which is not a code segment",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: low memory is cleared, and the GDT that the kernel was entered with lies there. A kernel
; does well to load one of its own first thing.
;
; What the processor does: at first nothing, since it has a copy of each segment's descriptor (SDM 3A
; 3.4.3). An exception loads CS anew. The descriptor is all zero now, not one of a code segment: #GP,
; whose own gate names the same one.

%include "include/idt64.inc"

GDT_AT_ENTRY equ 0x500                  ; where Strata puts it; another loader has another place

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_IDT64
        mov     edi, GDT_AT_ENTRY
        mov     ecx, 4
        xor     eax, eax
        rep     stosq
        AT      0x100080
        ud2

on_exception:
        hlt                             ; never comes here

        AT      0x101000
        IDT64_BEGIN
        VECTOR  VECTOR_UD, on_exception
        VECTOR  VECTOR_DF, on_exception
        VECTOR  VECTOR_GP, on_exception
        IDT64_END

        section .bss
        resb    512
stack_top:
