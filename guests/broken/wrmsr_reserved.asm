; ---
; about = "a write to EFER sets a reserved bit"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#GP at 0x100020: it sets the reserved bits 0x200 of EFER",
;   "wrmsr",
; ]
; ---
;
; The mistake: NXE is bit 11 of EFER, not 9.
;
; What the processor does: `wrmsr` to a register that doesn't exist, or with a reserved bit set, is #GP
; with error code 0 (SDM 2B "WRMSR"; the bits: SDM 3A 2.2.1, APM 2 3.1.7). There is no IDT.

%include "include/image.inc"

IA32_EFER equ   0xc0000080

        bits    64
        IMAGE_AT 0x100000

        mov     ecx, IA32_EFER
        rdmsr
        or      eax, 1 << 9
        AT      0x100020
        wrmsr
