; ---
; about = "an SSE instruction with an operand that is not aligned: #GP, not a word of alignment"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#GP at 0x100020 reading 0x6008: 0x6008 is not a multiple of 16",
;   "movaps xmm0,[rsp]",
; ]
; ---
;
; The mistake: compiled code is called with a stack that is off by 8. By the calling convention RSP is a
; multiple of 16 before each `call`; a handler or an entry point in assembler easily forgets.
;
; What the processor does: `movaps` and its like want their operand at a multiple of 16, and say so by
; #GP with error code 0 (SDM 3A 7.15 "Interrupt 13"; SDM 2B "MOVAPS"). There is no IDT.

%include "include/image.inc"

CR4_OSFXSR equ  1 << 9

        bits    64
        IMAGE_AT 0x100000

        mov     rax, cr4
        or      eax, CR4_OSFXSR
        mov     cr4, rax
        mov     esp, 0x6008
        AT      0x100020
        movaps  xmm0, [rsp]
