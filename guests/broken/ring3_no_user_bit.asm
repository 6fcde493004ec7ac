; ---
; about = "a program enters ring 3 in a page that is not for ring 3"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x100000
; phys = 0x100000
; size = "512K"
; page = "4K"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0x200000
; phys = 0x200000
; size = "4K"
; page = "4K"
; access = "rwu"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF executing at 0x101000: the PDE at 0xb000 is a supervisor page (U=0), and the guest was in ring 3",
; ]
; ---
;
; The mistake: the page tables were made for the kernel, and nobody has set the U bit for the program.
;
; What the processor does: `iretq` succeeds, since it only loads registers. Then the first instruction of
; ring 3 can't be fetched: a page is for ring 3 if U is set in each entry that leads to it (SDM 3A 5.6.1);
; the first that lacks it is the PDE.
; Error code 0x15: present, ring 3, fetch. There is a good
; TSS, but no IDT.

%include "include/idt64.inc"
%include "include/ring3.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, kernel_stack
        LOAD_GDT64
        LOAD_TSS
        ENTER_RING3 0x101000, 0x201000

        GDT64_WITH_RING3

; ---- ring 3 ----
        AT      0x101000
        jmp     $

        section .bss
        resb    512
kernel_stack:
