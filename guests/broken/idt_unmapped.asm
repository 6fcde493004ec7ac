; ---
; about = "an IDT at an address that is not mapped"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "the IDT's page cannot be read: the PML4E at 0x9800 is not present (P=0)",
;   "#UD at 0x100080",
; ]
; ---
;
; The mistake: IDTR has the address that the IDT will have once the kernel is mapped in the upper half.
; It is not yet.
;
; What the processor does: `lidt` looks at nothing but whether the address is canonical. IDTR's base is a
; linear address and goes through the page tables whenever a gate is read (SDM 3A 7.10). Reading gate 6
; is #PF; so is reading gate 14 for that, which makes it a double fault, and reading gate 8.

%include "include/idt64.inc"

UPPER_HALF equ  0xffff800000000000      ; PML4 entry 256

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        lidt    [early_pointer]
        AT      0x100080
        ud2

on_exception:
        hlt                             ; never comes here

        GDT64
        AT      0x101000
        IDT64_BEGIN
        VECTOR  VECTOR_UD, on_exception
        VECTOR  VECTOR_DF, on_exception
        VECTOR  VECTOR_PF, on_exception
        IDT64_END

early_pointer:
        dw      idt_pointer - idt - 1
        dq      UPPER_HALF + 0x101000

        section .bss
        resb    512
stack_top:
