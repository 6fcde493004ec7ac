; ---
; about = "an exception in ring 3, and no TSS that has a stack for ring 0"
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
; virt = 0x400000
; phys = 0x101000
; size = "4K"
; page = "4K"
; access = "rxu"
; [[machine.paging.map]]
; virt = 0x401000
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
;   "there is no TSS (TR is null)",
;   "#UD at 0x400000",
; ]
; ---
;
; The mistake: the kernel goes to ring 3 without ever having loaded a task register.
;
; What the processor does: an exception in ring 3 changes to the stack that RSP0 in the TSS names (SDM 3A
; 7.14.4). The task register has its state from reset: base 0, so that RSP0 is what happens to lie at
; address 4, here 0. Pushing the frame below that is #PF.

%include "include/idt64.inc"
%include "include/ring3.inc"

USER_PAGE equ   0x400000                ; code: this image's second page, as ring 3 sees it
USER_STACK equ  0x402000

        bits    64
        IMAGE_AT 0x100000

        mov     esp, kernel_stack
        LOAD_GDT64
        LOAD_IDT64
        ENTER_RING3 USER_PAGE, USER_STACK

on_exception:
        hlt                             ; never comes here

        GDT64_WITH_RING3
        IDT64_BEGIN
        VECTOR  VECTOR_UD, on_exception
        VECTOR  VECTOR_DF, on_exception
        VECTOR  VECTOR_PF, on_exception
        IDT64_END

; ---- ring 3 ----
        AT      0x101000
        ud2

        section .bss
        resb    512
kernel_stack:
