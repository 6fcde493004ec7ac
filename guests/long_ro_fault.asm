; ---
; about = "a write to a read-only page passes with CR0.WP clear, and is #PF, error code 3, with it set"
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
; access = "r"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"written with WP clear\\n\"",
;   "out 0x3f8/1 <- \"#PF error 0x0003 at 0x00200124\\n\"",
;   "hlt",
; ]
; output = "written with WP clear\n#PF error 0x0003 at 0x00200124\n"
; memory = { "0x200123" = "11 00" }
; stop = "halted"
; exit_code = 10
; ---
;
; Who may write where a page table entry says "read-only"? Ring 3 never. Ring 0 may, unless CR0.WP
; is set (SDM 3A 5.6.1). The error code of a page fault says what was tried: bit 0 the page is
; present, bit 1 it was a write, bit 2 from ring 3, bit 3 reserved bits, bit 4 an instruction fetch.
; CR2 says where.

%include "include/idt64.inc"
%include "include/serial.inc"

CR0_WP  equ     1 << 16
PAGE    equ     0x200000

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64

        mov     rax, cr0
        and     eax, ~CR0_WP
        mov     cr0, rax
        mov     byte [PAGE + 0x123], 0x11
        PRINT   "written with WP clear", 10

        mov     rax, cr0
        or      eax, CR0_WP
        mov     cr0, rax
        mov     byte [PAGE + 0x124], 0x22
        PRINT   "no fault", 10
after_write:
        hlt

on_page_fault:
        PRINT   "#PF error 0x"
        pop     rax
        PRINT_HEX 4
        PRINT   " at 0x"
        mov     rax, cr2
        PRINT_HEX 8
        PRINT   10
        mov     qword [rsp], after_write
        iretq

        USES_PRINT_HEX

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_PF, on_page_fault
        IDT64_END

        section .bss
        resb    512
stack_top:
