; ---
; about = "a write through a null pointer, and no IDT to catch it"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x100000
; phys = 0x100000
; size = "4K"
; page = "4K"
; access = "rx"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF at 0x100010 writing 0x0: the PTE at 0xc000 is not present (P=0)",
;   "IDT entry 14 lies beyond the IDT's limit 0x0",
; ]
; ---
;
; The mistake: a pointer is used without a look at whether it is null. Only the image's own page is
; mapped, and page 0 is not: what most systems do on purpose, so that this mistake is seen at once.
;
; What the processor does: the write to address 0 is #PF (SDM 3A 5.7, 7.15 "Interrupt 14"). There is
; no IDT, so no gate for it: that is #GP, and a #GP while a #PF is delivered is a double fault, #DF
; (SDM 3A 7.15 "Interrupt 8", table 7-5). That has no gate either: triple fault.

%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        xor     edi, edi                ; what a search that found nothing returned
        AT      0x100010
        mov     dword [rdi], 1
