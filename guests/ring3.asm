; ---
; about = "to ring 3 by iretq, where a computation runs; back by the #GP of a privileged instruction"
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
; access = "rwx"                 # no "u": ring 3 can't touch it
; [[machine.paging.map]]
; virt = 0x400000
; phys = 0x101000                # the image's second page
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
; exits = [
;   "out 0x3f8/1 <- \"#GP error 0x0000 from ring 3\\n\"",
;   "out 0x3f8/1 <- \"sum 0x00001388\\n\"",
;   "out 0x3f8/1 <- \"#PF error 0x0005 from ring 3\\n\"",
;   "hlt",
; ]
; output = "#GP error 0x0000 from ring 3\nsum 0x00001388\n#PF error 0x0005 from ring 3\n"
; memory = { "0x200000" = "88 13 00 00" }
; stop = "halted"
; exit_code = 10
; ---
;
; Twice to ring 3 and back:
;
; - the first time it adds 5 a thousand times, stores the sum in its own page, and tries `cli`. Only
;   ring 0 may do that: #GP, error code 0 (SDM 3A 6.9);
; - the second time it reads a byte of ring 0's memory. The page is there, but not for ring 3: #PF,
;   error code 5 (present, read, from ring 3).
;
; On the way back the CPU changes to the stack in the TSS and saves where ring 3 was. The handlers
; do not return there.

%include "include/idt64.inc"
%include "include/ring3.inc"
%include "include/serial.inc"

USER_PAGE equ   0x400000                ; code: this image's second page, as ring 3 sees it
USER_RAM equ    0x401000
USER_STACK equ  USER_RAM + 0x1000

        bits    64
        IMAGE_AT 0x100000

        mov     esp, kernel_stack
        LOAD_GDT64
        LOAD_IDT64
        LOAD_TSS
        ENTER_RING3 USER_PAGE, USER_STACK

; On entry: [rsp] error code, +8 RIP, +16 CS of where it happened.
on_general_protection:
        PRINT   "#GP error 0x"
        mov     eax, [rsp]
        PRINT_HEX 4
        PRINT   " from ring "
        mov     eax, [rsp + 16]
        and     eax, 3                  ; the saved CS ends in the privilege level
        PRINT_HEX 1
        PRINT   10, "sum 0x"
        mov     eax, [USER_RAM]         ; ring 0 may read ring 3's pages (CR4.SMAP forbids it)
        PRINT_HEX 8
        PRINT   10
        ENTER_RING3 USER_PAGE + (user_peek - user_start), USER_STACK

on_page_fault:
        PRINT   "#PF error 0x"
        mov     eax, [rsp]
        PRINT_HEX 4
        PRINT   " from ring "
        mov     eax, [rsp + 16]
        and     eax, 3
        PRINT_HEX 1
        PRINT   10
        hlt

        USES_PRINT_HEX

        GDT64_WITH_RING3
        IDT64_BEGIN
        VECTOR  VECTOR_GP, on_general_protection
        VECTOR  VECTOR_PF, on_page_fault
        IDT64_END

; ---- ring 3: everything relative to RIP, since it runs at another address than it was assembled for ----
        align   4096
%if $ - $$ != 0x1000
%error "the user page is not the image's second: see the header"
%endif
user_start:
        xor     eax, eax
        mov     ecx, 1000
.add:   add     eax, 5
        loop    .add
        mov     [USER_RAM], eax
        cli
        jmp     $

user_peek:
        mov     al, [0x100000]          ; the kernel's first byte
        jmp     $

        section .bss
        resb    512
kernel_stack:
