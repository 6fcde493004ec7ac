; ---
; about = "the handler of #UD raises #UD itself, until its stack is used up"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x0
; size = "2M"
; page = "2M"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0x201000
; phys = 0x201000
; size = "4K"
; page = "4K"
; access = "rw"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#UD at 0x100100: it is an SSE instruction, and CR4.OSFXSR is clear",
;   "pushing the frame of #UD on the stack at 0x201018 failed: the PTE at 0xc000 is not present (P=0)",
;   "the handler of #UD raises #UD itself, again and again",
;   "movaps [rsp-",
; ]
; ---
;
; The mistake: the handler saves an SSE register before anything else, and CR4.OSFXSR is clear: that is
; #UD, for which the handler is called, which saves an SSE register ...
;
; What the processor does: each round is one exception, delivered without fault; there is no limit to
; how deep they nest. Each takes 48 bytes of stack (SDM 3A 7.14.2): five words, and RSP aligned to 16. One
; page holds 85 of them. Then the push is #PF, and so is the next.

%include "include/idt64.inc"

STACK   equ     0x201000                ; one page; the one below it is not mapped

        bits    64
        IMAGE_AT 0x100000

        mov     esp, STACK + 0x1000
        LOAD_GDT64
        LOAD_IDT64
        ud2

        AT      0x100100
on_exception:
        movaps  [rsp - 24], xmm0        ; aligned: the frame is five words below a multiple of 16
        hlt                             ; never comes here

        GDT64
        AT      0x101000
        IDT64_BEGIN
        VECTOR  VECTOR_UD, on_exception
        VECTOR  VECTOR_DF, on_exception
        VECTOR  VECTOR_PF, on_exception
        IDT64_END
