; ---
; about = "an exception in ring 3, and a TSS whose stack for ring 0 is not mapped"
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
;   "pushing the frame of #UD on the stack at 0xffff800000010000 failed: the PML4E at 0x9800 is not present (P=0)",
;   "RSP0 in the TSS at 0x102038 is 0xffff800000010000",
;   "#UD at 0x400000",
; ]
; ---
;
; The mistake: RSP0 in the TSS is the address of a kernel stack that is not mapped.
;
; What the processor does: RSP0 isn't looked at when the task register is loaded, nor on the way to ring
; 3. The first exception from there takes it (SDM 3A 7.14.4), and pushing the frame is #PF. The #PF
; comes from ring 3 as well, and so does the #DF after it: they take the same stack.

%include "include/idt64.inc"
%include "include/ring3.inc"

USER_PAGE equ   0x400000                ; code: this image's second page, as ring 3 sees it
USER_STACK equ  0x402000
kernel_stack equ 0xffff800000010000     ; becomes RSP0

        bits    64
        IMAGE_AT 0x100000

        mov     esp, early_stack
        LOAD_GDT64
        LOAD_IDT64
        LOAD_TSS
        ENTER_RING3 USER_PAGE, USER_STACK

on_exception:
        hlt                             ; never comes here

        IDT64_BEGIN
        VECTOR  VECTOR_UD, on_exception
        VECTOR  VECTOR_DF, on_exception
        VECTOR  VECTOR_PF, on_exception
        IDT64_END

; ---- ring 3 ----
        AT      0x101000
        ud2

        AT      0x102000
        GDT64_WITH_RING3                ; the TSS follows at 0x102038

        section .bss
        resb    512
early_stack:
