; ---
; about = "CR4.PAE is cleared in long mode"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#GP at 0x100010: it clears CR4.PAE in long mode",
; ]
; ---
;
; The mistake: CR4 is set to what the kernel wants of it, without the bits that were there.
;
; What the processor does: long mode has no page tables without physical-address extension. Clearing
; CR4.PAE while EFER.LMA is set is #GP (SDM 3A 5.1.2, 2.5; APM 2 3.1.3). There is no IDT.

%include "include/image.inc"

CR4_OSFXSR equ  1 << 9

        bits    64
        IMAGE_AT 0x100000

        mov     eax, CR4_OSFXSR         ; "switch SSE on"; `mov rax, cr4` and `or` would be right
        AT      0x100010
        mov     cr4, rax
