; ---
; about = "a jump into a page that must not be executed"
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
; virt = 0x200000
; phys = 0x200000
; size = "4K"
; page = "4K"
; access = "rw"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF executing at 0x200000: the PTE at 0xc000 forbids execution (NX=1)",
; ]
; ---
;
; The mistake: code is made at run time, here a single `ret`, in a page that is for data.
;
; What the processor does: the call itself succeeds, its target cannot be fetched. Bit 63 of a page
; table entry forbids it once EFER.NXE is set: #PF at the target, not at the call (SDM 3A 5.6.1). There
; is no IDT. See guests/long_nx.asm for the same, survived.

%include "include/image.inc"

DATA    equ     0x200000

        bits    64
        IMAGE_AT 0x100000

        mov     rsp, 0x200000           ; a stack, just below
        mov     eax, DATA
        mov     byte [rax], 0xc3        ; ret
        call    rax
