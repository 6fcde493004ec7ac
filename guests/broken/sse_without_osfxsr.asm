; ---
; about = "an SSE instruction, and CR4.OSFXSR is clear"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#UD at 0x100010: it is an SSE instruction, and CR4.OSFXSR is clear",
;   "movaps xmm0,[rsi]",
; ]
; ---
;
; The mistake: the compiler was not told that a kernel does without SSE (for Rust a target without it,
; for C -mgeneral-regs-only), nor was SSE switched on.
;
; What the processor does: until CR4.OSFXSR says that the system knows how to save the SSE registers, an
; instruction that uses them is #UD (SDM 3A 14.1, table 14-1). It looks like a bad opcode and is a good
; one. There is no IDT.

%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esi, numbers
        AT      0x100010
        movaps  xmm0, [rsi]

        align   16
numbers: dd     1, 2, 3, 4
