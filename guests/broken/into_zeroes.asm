; ---
; about = "a jump into empty memory, which is taken for instructions"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF at 0x180000 writing 0xffff800000000000: the PML4E at 0x9800 is not present (P=0)",
;   "the guest runs zeroes",
;   "add [rax],al",
;   "00 00",
; ]
; ---
;
; The mistake: a call through a pointer to a function that is still to be loaded there.
;
; What the processor does: it does not know empty memory. Two bytes of zero are `add [rax],al`, and so
; it reads and writes wherever RAX points, again and again, until something is not mapped. Here that is
; at once. A fault at `add [rax],al` is nearly always a jump that went wrong. There is no IDT.

%include "include/image.inc"

LATER   equ     0x180000                ; RAM, all zero

        bits    64
        IMAGE_AT 0x100000

        mov     ecx, LATER
        mov     rax, 0xffff800000000000 ; whatever was left there
        jmp     rcx
